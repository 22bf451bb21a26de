"""A batch owns its memory, and says so when it is over."""

import gc
import struct
import subprocess
import sys
from typing import Any

import pytest

import bpfpack.runner as runner
from bpfpack.runner.api.batches import Decoders, RecordBatch
from bpfpack.runner.api.taking import Records
from bpfpack.runner.events.formatter import EventOutput, Known, RecordType
from tests.kit.records import FixedClock, field, layout

LAYOUT = layout(field("a", "uint", 0, 4), field("b", "uint", 4, 4))


def batch() -> RecordBatch:
    output = EventOutput(name="events", types=(RecordType(layout=LAYOUT),))
    memory = struct.pack("<6I", 1, 2, 3, 4, 5, 6)
    places = ((0, 8), (8, 8), (16, 8))
    records = Records(memory=memory, count=3, places=places, fill=0.5)
    return RecordBatch(records, Decoders(Known(output, FixedClock())), lost=3)


def test_what_a_batch_gives() -> None:
    with batch() as found:
        assert len(found) == 3 and found.lost == 3 and found.fill == 0.5
        assert [struct.unpack("<2I", view) for view in found.views()] == [(1, 2), (3, 4), (5, 6)]
        assert list(found) == list(found.dicts()) == [{"a": n, "b": n + 1} for n in (1, 3, 5)]
        assert found.json() == b'{"a":1,"b":2}\n{"a":3,"b":4}\n{"a":5,"b":6}\n'
        assert all(view.readonly for view in found.views())


def test_every_use_after_the_end_is_an_error() -> None:
    with batch() as found:
        views, rest = found.views(), found.dicts()
        next(rest)
    gc.collect()
    for use in (
        lambda: views[0][0],
        lambda: bytes(views[2]),
        lambda: next(rest),
        found.views,
        found.json,
        found.to_arrow,
        lambda: list(found),
        found.__enter__,
    ):
        with pytest.raises(ValueError):
            use()
    found.close()
    assert found.closed and "ended" in repr(found)


def test_what_was_made_of_a_view_stays_valid() -> None:
    """It holds memory of Python's own, so that nothing can be read that is gone."""
    with batch() as found:
        (first, *_) = found.views()
        numbers, part = first.cast("I"), first[4:]
        with memoryview(first) as held:
            found.close()
            assert bytes(held) == struct.pack("<2I", 1, 2)
    gc.collect()
    assert list(numbers) == [1, 2] and bytes(part) == struct.pack("<I", 2)


def test_a_view_outlives_a_batch_that_nobody_ended() -> None:
    (view, *_) = batch().views()
    gc.collect()
    assert bytes(view) == struct.pack("<2I", 1, 2)


def test_an_artifact_that_was_not_verified_is_refused() -> None:
    unverified: Any = b"\x7fELF"
    with pytest.raises(TypeError, match="VerifiedArtifact"):
        runner.open(unverified)


def test_everything_that_is_exported_is_there() -> None:
    assert sorted(runner.__all__) == runner.__all__
    for name in runner.__all__:
        assert getattr(runner, name).__doc__
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        runner.nothing  # noqa: B018


def test_nothing_of_it_is_imported_before_it_is_used() -> None:
    code = "import sys, bpfpack.runner.session; print([m for m in sys.modules if '.api' in m])"
    told = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert told.stdout == "[]\n"
