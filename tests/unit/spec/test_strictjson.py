"""JSON from outside: what vectors cannot show."""

import json

import pytest

from bpfpack.spec import strictjson
from bpfpack.spec.errors import LimitExceeded, SpecError
from bpfpack.spec.limits import LIMITS

DEPTH = LIMITS.json_depth


@pytest.mark.parametrize(
    ("text", "deep"),
    [
        (b"[" * DEPTH + b"]" * DEPTH, False),
        (b"[" * (DEPTH + 1) + b"]" * (DEPTH + 1), True),
        (b'{"a":' * (DEPTH + 1) + b"1" + b"}" * (DEPTH + 1), True),
        (b"[" + b"[]," * 1000 + b"[]]", False),
        (b'["' + b"[" * 1000 + b'"]', False),
        (b'["\\"' + b"[" * 1000 + b'"]', False),
        (b'["\\\\",' + b"[" * DEPTH + b"]" * (DEPTH + 1), True),
        (b'["\\\\\\"' + b"[" * 1000 + b'"]', False),
        (b'["a","b' + b"{" * 1000 + b'",' + b"[" * (DEPTH - 1) + b"]" * DEPTH, False),
    ],
)
def test_depth_counts_brackets_outside_strings(text: bytes, deep: bool) -> None:
    if deep:
        with pytest.raises(LimitExceeded, match="nested deeper"):
            strictjson.loads(text, LIMITS.manifest)
    else:
        assert strictjson.loads(text, LIMITS.manifest) == json.loads(text)


@pytest.mark.parametrize(
    "text",
    [
        b"[" * (1 << 20),
        b'"' + b"\\" * (1 << 20),
        b'["' * (1 << 19),
        b"]" * (1 << 20),
        b'"\\',
        b"[" * 100 + b'"' + b"[" * (1 << 20),
    ],
)
def test_what_never_ends_is_refused(text: bytes) -> None:
    with pytest.raises(SpecError):
        strictjson.loads(text, LIMITS.manifest)


def test_the_size_is_looked_at_first() -> None:
    with pytest.raises(LimitExceeded, match="3 bytes of JSON, 2 allowed"):
        strictjson.loads(b"\xff\xff\xff", 2)


@pytest.mark.parametrize("text", [b"[]", b"1", b'"a"', b"null"])
def test_an_object_is_asked_for(text: bytes) -> None:
    with pytest.raises(SpecError, match="not a JSON object"):
        strictjson.loads_object(text, 10)


def test_one_spelling_is_written() -> None:
    assert strictjson.dumps({"b": "é\n", "a": [1, None]}) == '{"b":"é\\n","a":[1,null]}'.encode()
    with pytest.raises(ValueError, match="not JSON compliant"):
        strictjson.dumps(float("nan"))
