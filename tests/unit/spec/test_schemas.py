"""The JSON Schemas say what the Python model does, as far as a schema can."""

import json
from typing import Any, Final

import pytest
from jsonschema import Draft202012Validator

from bpfpack.spec import config, displays, mediatypes
from bpfpack.spec.config import Config, Map, Output, Param, Program, Requirements
from bpfpack.spec.displays import FieldDisplay
from bpfpack.spec.limits import LIMITS
from bpfpack.spec.package import LAYER_LIMITS
from tests.kit import schemas
from tests.kit.vectors import Vector, of_kind

KINDS: Final = ("descriptor", "manifest", "index", "package", "config")
UNEXPRESSED: Final = "cannot express"


def value(vector: Vector) -> Any:
    """The document of a vector, as a reader that is not ours takes it in."""
    return json.loads(vector.bytes)


@pytest.mark.parametrize("vector", of_kind(*KINDS), ids=str)
def test_vectors(vector: Vector) -> None:
    accepted = schemas.accepts(vector.kind, value(vector))
    assert accepted == (vector.valid or vector.data.get("schema") == UNEXPRESSED)


@pytest.mark.parametrize("vector", [v for v in of_kind("agreement") if v.valid], ids=str)
def test_configs_of_other_vectors(vector: Vector) -> None:
    assert schemas.accepts("config", value(vector))


@pytest.mark.parametrize("name", schemas.names())
def test_each_is_a_schema(name: str) -> None:
    Draft202012Validator.check_schema(schemas.schema(name))
    assert schemas.schema(name)["$id"] == f"urn:bpfpack:schema:{name}:v1"
    assert name in KINDS


def properties(*path: str) -> set[str]:
    """The names that the schema of the config knows at a place."""
    at = schemas.schema("config")
    for step in path:
        at = at["properties"][step]["items"]
    return set(at["properties"])


@pytest.mark.parametrize(
    ("path", "full"),
    [
        (
            ("programs",),
            Program(
                name="a", section="b", optional=True, alternative="c", attach=("d",), option="e"
            ),
        ),
        (("maps",), Map(name="a", type="b", key_size=0, value_size=0, max_entries=0)),
        (
            ("params",),
            Param(
                variable="a", option="a", type="b", short="c", help="d", default=1,
                choices={"a": 1}, unit="B", role="target-pid",
            ),
        ),
        (
            ("outputs",),
            Output(
                name="a", map="b", kind="events", types=(config.EventType(type="a"),),
                discriminator="c", scale="linear", step=1, unit="us", slots="d",
                interval_ms=10, sort="e", traces="f", kernel="g", user="h", process="i",
            ),
        ),
    ],
)  # fmt: skip
def test_it_knows_every_member(path: tuple[str, ...], full: Any) -> None:
    assert properties(*path) == set(full.to_dict())


def test_it_knows_every_display() -> None:
    full = FieldDisplay(
        title="a", format="dec", hidden=True, unit="ns", clock="mono", order="net", labels={1: "a"}
    )
    display = schemas.schema("config")["properties"]["fields"]["additionalProperties"]
    known = display["additionalProperties"]["properties"]
    assert set(known) == set(full.to_dict())
    assert tuple(known["format"]["enum"]) == displays.FORMATS
    assert tuple(known["clock"]["enum"]) == displays.CLOCKS
    assert tuple(known["unit"]["enum"]) == displays.TIME_UNITS


def test_it_knows_all_of_the_config() -> None:
    top = set(schemas.schema("config")["properties"])
    assert top == set(config._TOP_LEVEL)
    least = Config(name="a", requirements=Requirements(byte_order="little"))
    assert set(schemas.schema("config")["required"]) == set(least.to_dict())


def test_its_bounds_are_the_limits() -> None:
    known = schemas.schema("config")["properties"]
    assert known["programs"]["maxItems"] == LIMITS.programs
    assert known["maps"]["maxItems"] == known["outputs"]["maxItems"] == LIMITS.maps
    assert known["params"]["maxItems"] == LIMITS.params
    assert known["fields"]["additionalProperties"]["maxProperties"] == LIMITS.fields
    notes = schemas.schema("descriptor")["$defs"]["annotations"]
    assert notes["maxProperties"] == LIMITS.annotations
    assert notes["additionalProperties"]["maxLength"] == LIMITS.annotation_value
    assert schemas.schema("index")["properties"]["manifests"]["maxItems"] == LIMITS.index_children


@pytest.mark.parametrize("media_type", [*LAYER_LIMITS, "application/x-new"])
def test_the_largest_layer_of_each_type(media_type: str) -> None:
    most = LAYER_LIMITS.get(media_type, LIMITS.layer)
    for size, accepted in ((most, True), (most + 1, False)):
        layers = [layer(media_type, size)]
        if media_type != mediatypes.OBJECT:
            layers.append(layer(mediatypes.OBJECT, 1))
        manifest = {
            "schemaVersion": 2,
            "artifactType": mediatypes.ARTIFACT,
            "config": layer(mediatypes.CONFIG, LIMITS.config),
            "layers": layers,
        }
        assert schemas.accepts("package", manifest) == accepted


def layer(media_type: str, size: int) -> dict[str, Any]:
    return {"mediaType": media_type, "digest": "sha256:" + "0" * 64, "size": size}
