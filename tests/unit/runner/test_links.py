"""What is said of an attachment that the kernel refuses."""

import errno
from typing import cast

import pytest

from bpfpack.runner._native.objects import NativeProgram
from bpfpack.runner.links import attach
from bpfpack.runner.plan import PlannedProgram
from bpfpack.spec.errors import KernelError
from bpfpack.spec.sections import parse_section
from tests.unit.runner.test_plan import RecordedKernel


class Refused:
    """A program that no kernel attaches."""

    def attach_raw_tracepoint(self, name: str) -> None:
        raise KernelError(errno.ENOMEM, "no room", name).with_hint("make some")


def test_the_hint_of_an_attach_error_is_kept() -> None:
    section = "raw_tp/sys_enter"
    planned = PlannedProgram(name="p", section=section, kind=parse_section(section))
    program = cast("NativeProgram", Refused())
    with pytest.raises(KernelError, match="attach p to raw_tp sys_enter") as caught:
        attach(program, planned, RecordedKernel(), None)
    assert caught.value.hint == "make some"
