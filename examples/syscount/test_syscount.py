"""syscount builds with every clang and counts the calls that this test makes."""

import json
import os
import struct
from pathlib import Path

import pytest

from bpfpack.spec.config import Output
from bpfpack.spec.displays import FieldDisplay
from tests.kit.exampleruns import attached, set_global, shown
from tests.kit.objects import CLANGS
from tests.kit.sources import EXAMPLES, example

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
def test_it_counts_calls(clang: str) -> None:
    result = example("syscount", clang)
    key = struct.pack("=I", GETPGID[os.uname().machine])
    with attached(result, **set_global(result, "target_pid", os.getpid())) as session:
        for _ in range(1000):
            os.getpgid(0)
        counts = session.map("counts")
        found = counts.lookup(key)
        assert found is not None
        assert sum(struct.unpack("=Q", slot)[0] for slot in counts.slots(found)) == 1000


@pytest.mark.kernel
def test_the_command_shows_it(tmp_path: Path) -> None:
    samples = shown(
        tmp_path / "home",
        EXAMPLES / "syscount",
        f"--pid={os.getpid()}",
        run=("--timeout=1s",),
        cause=lambda: [os.getpgid(0) for _ in range(1000)],
    )
    assert "getpgid" in json.dumps(samples)
