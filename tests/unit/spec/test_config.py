"""The config: what vectors cannot show."""

import pytest

from bpfpack.spec.config import Config, Requirements, check_name
from bpfpack.spec.errors import SpecError
from tests.kit.vectors import Vector, of_kind, outcome

VALID = [v for v in of_kind("config", "agreement", "metadata") if v.valid]


@pytest.mark.parametrize("vector", [v for v in VALID if v.kind == "config"], ids=str)
def test_one_spelling_for_one_value(vector: Vector) -> None:
    found = Config.from_bytes(vector.bytes)
    assert Config.from_bytes(found.to_bytes()) == found
    assert Config.from_bytes(found.to_bytes()).to_bytes() == found.to_bytes()


@pytest.mark.parametrize("vector", [v for v in VALID if v.kind == "metadata"], ids=str)
def test_what_is_built_can_be_read(vector: Vector) -> None:
    built = outcome(vector)
    assert Config.from_dict(built).to_dict() == built


def test_the_order_of_fields_does_not_matter() -> None:
    one = {
        "schemaVersion": 1,
        "name": "x",
        "fields": {"b": {"y": {}, "x": {}}, "a": {}},
        "requirements": {"byteOrder": "big"},
    }
    other = {
        "requirements": {"byteOrder": "big"},
        "fields": {"a": {}, "b": {"x": {}, "y": {}}},
        "name": "x",
        "schemaVersion": 1,
    }
    assert Config.from_dict(one).to_bytes() == Config.from_dict(other).to_bytes()


def test_a_newer_version_is_told_as_such() -> None:
    with pytest.raises(SpecError) as caught:
        Config.from_dict({"schemaVersion": 2, "sandbox": "strict"})
    assert caught.value.hint == "the package was made for a newer bpfpack"


def test_defaults_are_not_written() -> None:
    assert Config(name="x", requirements=Requirements(byte_order="little")).to_bytes() == (
        b'{"schemaVersion":1,"name":"x","requirements":{"byteOrder":"little"}}'
    )


def test_names() -> None:
    assert check_name("a.b_c-1") == "a.b_c-1"
    for name in ("", "A", "-a", "a/b", "a\n", "a" * 129):
        with pytest.raises(SpecError, match="not a package name"):
            check_name(name)
