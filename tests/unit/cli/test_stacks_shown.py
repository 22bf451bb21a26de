"""Stacks on the command line: which formats they have, and what naming their functions takes."""

from typing import Any

import pytest

from bpfpack.cli.showing import choose
from bpfpack.runner.plan import plan
from bpfpack.spec.config import Config, EventType, Output
from bpfpack.spec.errors import UsageError
from tests.unit.runner.test_plan import RecordedKernel, _spec

EVENTS = Output(name="events", map="events", kind="events", types=(EventType(type="e"),))


def stacks(**more: Any) -> Output:
    return Output(name="counts", map="counts", kind="stacks", traces="stacks", **more)


@pytest.mark.parametrize("shape", ["table", "json", "csv", "folded"])
def test_forms_of_stacks(shape: str) -> None:
    (one,) = choose("profile", (stacks(kernel="k"),), (shape,))
    assert (one.shape, one.every) == (shape, None)


@pytest.mark.parametrize(
    ("outputs", "words", "said"),
    [
        ((EVENTS,), ("folded",), "folded is for stacks; events shows events"),
        ((stacks(kernel="k"),), ("raw",), "raw is for events"),
        ((stacks(kernel="k"), EVENTS), ("counts:folded", "events:json"), "is for one output"),
    ],
)
def test_forms_that_there_are_not(
    outputs: tuple[Output, ...], words: tuple[str, ...], said: str
) -> None:
    with pytest.raises(UsageError, match=said):
        choose("profile", outputs, words)


@pytest.mark.parametrize(
    ("output", "more"),
    [
        (stacks(kernel="k"), {"CAP_SYSLOG"}),
        (stacks(user="u", process="p"), {"CAP_SYS_PTRACE"}),
        (stacks(kernel="k", user="u", process="p"), {"CAP_SYSLOG", "CAP_SYS_PTRACE"}),
    ],
)
def test_what_naming_functions_takes(output: Output, more: set[str]) -> None:
    def needs(*outputs: Output) -> set[str]:
        config = Config(name="x", outputs=outputs)
        return set(plan(_spec("raw_tp/sys_enter"), config, RecordedKernel()).capabilities)

    assert needs(output) - needs() == more
