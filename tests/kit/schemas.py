"""The JSON Schemas of the specification, ready to ask."""

import json
from functools import cache
from pathlib import Path
from typing import Any, Final

from jsonschema import Draft202012Validator
from referencing import Registry, Resource

SCHEMAS: Final = Path(__file__).parents[2] / "spec/bpfpack/spec/schema"


@cache
def schema(name: str) -> Any:
    """The schema of that name."""
    return json.loads((SCHEMAS / f"{name}.schema.json").read_bytes())


def names() -> list[str]:
    """The names of all schemas."""
    return sorted(path.name.removesuffix(".schema.json") for path in SCHEMAS.iterdir())


@cache
def validator(name: str) -> Draft202012Validator:
    """What accepts or refuses a value; the schemas refer to each other."""
    registry = Registry().with_resources(
        (schema(each)["$id"], Resource.from_contents(schema(each))) for each in names()
    )
    return Draft202012Validator(schema(name), registry=registry)


def accepts(name: str, value: object) -> bool:
    """Say whether a schema accepts a value."""
    return bool(validator(name).is_valid(value))
