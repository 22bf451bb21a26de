"""syscount builds with every clang and counts the calls that this test makes."""

import os
import struct

import pytest

from bpfpack.spec.config import FieldDisplay, Output
from tests.kit.exampleruns import attached, set_global
from tests.kit.objects import CLANGS
from tests.kit.sources import example

#: getpgid(2) on x86_64, which nothing else here calls.
GETPGID = {"x86_64": 121, "aarch64": 155}


@pytest.mark.parametrize("clang", CLANGS)
def test_it_builds(clang: str) -> None:
    result = example("syscount", clang)
    assert result.warnings == ()
    assert result.config.outputs == (
        Output(name="counts", map="counts", kind="table", interval_ms=1000, sort="calls"),
    )
    assert result.config.fields == {"call": {"syscall": FieldDisplay(format="syscall")}}


@pytest.mark.kernel
@pytest.mark.parametrize("clang", CLANGS)
@pytest.mark.parametrize("by_process", [0, 1])
def test_it_counts_calls(clang: str, by_process: int) -> None:
    result = example("syscount", clang)
    values = {
        **set_global(result, "target_pid", os.getpid()),
        **set_global(result, "by_process", by_process),
    }
    key = struct.pack("=iI", os.getpid() * by_process, GETPGID[os.uname().machine])
    with attached(result, **values) as session:
        for _ in range(1000):
            os.getpgid(0)
        counts = session.map("counts")
        found = counts.lookup(key)
        assert found is not None
        assert sum(struct.unpack("=Q", slot)[0] for slot in counts.slots(found)) == 1000
