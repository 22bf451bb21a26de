"""The compiler lays out a record, the formatter reads it back: the same from either byte order."""

import json
from typing import Any

import pytest

from bpfpack.spec.displays import FieldDisplay
from bpfpack.spec.objectspec import ObjectSpec
from bpfpack.spec.record import RecordLayout
from tests.kit.objects import CLANGS, TARGETS, compiled
from tests.kit.records import shown

SHOWN: dict[str, Any] = {
    "byte": 200,
    "signed_byte": -100,
    "pid": 0xFEDCBA9876543210,
    "ret": -2,
    "word": 0x01010101,
    "octet": 1,
    "at": {"x": 1, "y": -1},
    "path": [{"x": 2, "y": -2}, {"x": 3, "y": -3}],
    "grid": [[1, 2, 3], [4, 5, 60000]],
    "low": 5,
    "middle": -200,
    "high": 0x8123456789,
    "yes": True,
    "state": "STATE_NEW",
    "unknown": 77,
    "bad": "STATE_BAD",
    "large": "LARGE",
    "real": 0.25,
    "ratio": -1e300,
    "huge": "-1",
    "pointer": "0x1234",
    "comm": 'a"b\\c',
    "names": ["one", "four"],
    "raw": "00abff",
    "tail": 7,
}


@pytest.mark.parametrize("clang", CLANGS)
@pytest.mark.parametrize("target", TARGETS)
def test_what_the_compiler_laid_out_is_read_back(clang: str, target: str) -> None:
    spec = ObjectSpec.from_bytes(compiled("shown", clang, target).read_bytes())
    (variable,) = (v for v in spec.variables if v.name == "shown")
    display = {"raw": FieldDisplay(format="hex"), "ret": FieldDisplay(format="errno")}
    layout = RecordLayout.of(spec.types("a test"), variable.type_id, display)
    (line,) = shown("json", layout, variable.initial)
    # BTF has 64-bit enumerators (ENUM64) since clang 16; before, the name is not to be known.
    expected = SHOWN if clang != "clang-14" else {**SHOWN, "large": 5_000_000_000}
    assert json.loads(line) == expected
    (row,) = shown("table", layout, variable.initial)
    assert "ENOENT" in row.split()
    # The same fields, one record after the other cut off a byte earlier: never an exception,
    # and what is there does not change.
    for length in range(len(variable.initial)):
        (line,) = shown("json", layout, variable.initial[:length])
        for key, value in json.loads(line).items():
            if isinstance(value, int | bool):
                assert value == expected[key]
