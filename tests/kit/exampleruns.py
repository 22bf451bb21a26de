"""Runs what was built: loads it, drains its buffers and reads its maps, as rows of JSON."""

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from bpfpack.builder.build import BuildResult
from bpfpack.runner.events.formatter import EventOutput, RecordType, make_formatter
from bpfpack.runner.mounts import ensure_tracefs
from bpfpack.runner.session import Session
from bpfpack.spec.agreement import event_layout
from bpfpack.spec.objectspec import ObjectSpec
from tests.kit.kernelobjects import opened
from tests.kit.sources import object_of, shared_cache


@contextmanager
def attached(result: BuildResult, **values: bytes) -> Iterator[Session]:
    """Load and attach a package, its globals set by their C names."""
    with attached_to((), result, **values) as session:
        yield session


@contextmanager
def attached_to(targets: Sequence[str], result: BuildResult, **values: bytes) -> Iterator[Session]:
    """Load a package and attach it to targets, its globals set by their C names."""
    ensure_tracefs()
    config = result.config
    with opened(
        object_of(result),
        outputs=config.outputs,
        programs=config.programs,
        values=values,
        attach=targets,
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


def environment(home: Path) -> dict[str, str]:
    """A user's directories below ``home``, but for one cache that all share."""
    dirs = {f"BPFPACK_{n}_DIR": str(home / n.lower()) for n in ("CONFIG", "DATA", "STATE", "RUN")}
    return {**os.environ, **dirs, "BPFPACK_CACHE_DIR": str(shared_cache())}


def shown(
    home: Path, package: Path, *options: str, cause: Callable[[], object], run: Sequence[str] = ()
) -> list[dict[str, Any]]:
    """What ``bpfpack run -o json`` prints, with ``cause`` called once it is attached.

    ``run`` are the command's own options, among them what ends it; ``options`` the package's.
    """
    command = [sys.executable, "-m", "bpfpack", "run", "-o", "json", *run, f"{package}/", *options]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment(home)
    ) as process:
        assert process.stdout and process.stderr
        said = ""
        while (line := process.stderr.readline()) and not line.startswith("attached "):
            said += line
        assert line, said
        cause()
        out, rest = process.communicate(timeout=60)
    assert process.returncode == 0, said + rest
    return [json.loads(line) for line in out.splitlines()]
