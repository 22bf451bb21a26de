"""Typed access: the type, the bound, and where it went wrong."""

from collections.abc import Callable, Mapping
from typing import Any

import pytest

from bpfpack.spec import fields
from bpfpack.spec.errors import LimitExceeded, SpecError

DATA: Mapping[str, Any] = {
    "text": "a", "int": 1, "true": True, "none": None, "list": ["a", "b"],
    "map": {"a": "b"}, "mixed": ["a", 1], "numbers": {"a": 1}, "real": 1.0,
}  # fmt: skip


@pytest.mark.parametrize(
    ("read", "expected"),
    [
        (lambda: fields.string(DATA, "text"), "a"),
        (lambda: fields.optional_string(DATA, "absent"), None),
        (lambda: fields.integer(DATA, "int", low=1, high=1), 1),
        (lambda: fields.optional_integer(DATA, "absent"), None),
        (lambda: fields.boolean(DATA, "true"), True),
        (lambda: fields.boolean(DATA, "absent"), False),
        (lambda: fields.boolean(DATA, "absent", default=True), True),
        (lambda: fields.mapping(DATA, "absent"), {}),
        (lambda: fields.string_map(DATA, "map", most=1, longest=1), {"a": "b"}),
        (lambda: fields.strings(DATA, "list", most=2), ("a", "b")),
        (lambda: fields.strings(DATA, "absent", most=0), ()),
        (lambda: fields.nested(DATA, "map", len), 1),
        (lambda: fields.nested(DATA, "absent", len), 0),
    ],
)
def test_values(read: Callable[[], Any], expected: Any) -> None:
    assert read() == expected


@pytest.mark.parametrize(
    ("read", "fault", "path"),
    [
        (lambda: fields.required(DATA, "absent"), "missing", ("absent",)),
        (lambda: fields.string(DATA, "int"), "not a string", ("int",)),
        (lambda: fields.string(DATA, "none"), "not a string", ("none",)),
        (lambda: fields.integer(DATA, "true"), "not an integer", ("true",)),
        (lambda: fields.integer(DATA, "real"), "not an integer", ("real",)),
        (lambda: fields.integer(DATA, "int", low=2), "not between 2", ("int",)),
        (lambda: fields.integer(DATA, "int", high=0), "not between 0 and 0", ("int",)),
        (lambda: fields.boolean(DATA, "int"), "not a boolean", ("int",)),
        (lambda: fields.mapping(DATA, "list"), "not an object", ("list",)),
        (lambda: fields.strings(DATA, "text", most=9), "not a list", ("text",)),
        (lambda: fields.strings(DATA, "mixed", most=9), "not a string", ("mixed[1]",)),
        (lambda: fields.string_map(DATA, "numbers", most=9), "not a string", ("numbers", "a")),
        (lambda: fields.nested(DATA, "text", len), "not an object", ("text",)),
        (lambda: fields.only(DATA, *(set(DATA) - {"map"})), "unknown field", ("map",)),
        (
            lambda: fields.objects(DATA, "list", most=9, parse=len),
            "not an object",
            ("list[0]",),
        ),
    ],
)
def test_faults(read: Callable[[], Any], fault: str, path: tuple[str, ...]) -> None:
    with pytest.raises(SpecError, match=fault) as caught:
        read()
    assert caught.value.path == path
    assert not isinstance(caught.value, LimitExceeded)


@pytest.mark.parametrize(
    "read",
    [
        lambda: fields.strings(DATA, "list", most=1),
        lambda: fields.string_map(DATA, "map", most=0),
        lambda: fields.string_map({"m": {"a": "bb"}}, "m", most=1, longest=1),
    ],
)
def test_bounds(read: Callable[[], Any]) -> None:
    with pytest.raises(LimitExceeded):
        read()


def test_a_fault_keeps_its_class_its_hint_and_its_cause() -> None:
    cause = LimitExceeded("too much", path=("b",)).with_hint("take less")
    with pytest.raises(LimitExceeded) as caught, fields.inside("a"):
        raise cause
    assert (caught.value.path, caught.value.hint) == (("a", "b"), "take less")
    assert caught.value.__cause__ is cause
