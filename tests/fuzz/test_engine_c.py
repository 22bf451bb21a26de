"""The engine's C reads nothing but a record and writes nothing but what it asked room for."""

from pathlib import Path

from bpfpack.runner.engine.image import PROGRAM, TYPE
from tests.fuzz.sanitized import IMAGE, fuzz


def test_nothing_else_is_touched(tmp_path: Path) -> None:
    assert fuzz(tmp_path, seconds=120, seed="suite", runs=12_000) == 0


def test_a_bound_that_is_too_low_is_found(tmp_path: Path) -> None:
    def lower(image: bytes) -> bytes:
        found, types = bytearray(image), PROGRAM.unpack_from(image)[8]
        for at in range(types - IMAGE, types - IMAGE + TYPE.size * 2, TYPE.size):
            *head, fixed, factor, unused = TYPE.unpack_from(found, at)
            TYPE.pack_into(found, at, *head, min(fixed, 40), factor, unused)
        return bytes(found)

    assert fuzz(tmp_path, seconds=120, seed="suite", runs=20_000, change=lower) != 0
