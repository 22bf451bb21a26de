"""Runs what was built: loads it, drains its buffers and reads its maps, as rows of JSON."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from bpfpack.builder.build import BuildResult
from bpfpack.runner.events.formatter import EventOutput, RecordType, make_formatter
from bpfpack.runner.mounts import ensure_tracefs
from bpfpack.runner.session import Session
from bpfpack.spec.agreement import event_layout
from bpfpack.spec.objectspec import ObjectSpec
from tests.kit.kernelobjects import opened
from tests.kit.sources import object_of


@contextmanager
def attached(result: BuildResult, **values: bytes) -> Iterator[Session]:
    """Load and attach a package, its globals set by their C names."""
    ensure_tracefs()
    config = result.config
    with opened(
        object_of(result), outputs=config.outputs, programs=config.programs, values=values
    ) as session:
        session.attach()
        yield session


def events(session: Session, result: BuildResult) -> list[dict[str, Any]]:
    """What came out of the one events output so far."""
    (output,) = result.config.outputs
    spec = ObjectSpec.from_bytes(object_of(result))
    types = tuple(
        RecordType(layout=event_layout(spec, result.config, t), when=t.when) for t in output.types
    )
    formatter = make_formatter("json", EventOutput(name=output.name, types=types))
    found: list[dict[str, Any]] = []
    while batch := session.sources[output.name].drain(4096):
        found += [json.loads(line) for line in formatter.format(batch).splitlines()]
    return found


def set_global(result: BuildResult, name: str, value: int | str) -> dict[str, bytes]:
    """The bytes of a global, for `attached`."""
    spec = ObjectSpec.from_bytes(object_of(result))
    (variable,) = [v for v in spec.variables if v.name == name]
    if isinstance(value, str):
        return {name: value.encode().ljust(variable.size, b"\0")}
    return {name: value.to_bytes(variable.size, spec.byte_order, signed=value < 0)}
