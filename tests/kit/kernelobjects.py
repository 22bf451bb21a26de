"""Objects for the runner's kernel tests: compiled from a few lines, admitted, opened."""

import contextlib
import functools
import json
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

from bpfpack.runner.journal import Journal
from bpfpack.runner.kernel import Kernel, LiveKernel
from bpfpack.runner.plan import Plan, plan
from bpfpack.runner.session import Session
from bpfpack.spec.config import Config, EventType, Output, Program
from bpfpack.spec.objectspec import ObjectSpec
from bpfpack.spec.origin import Origin
from bpfpack.spec.package import build_package
from bpfpack.spec.policy import Policy
from bpfpack.spec.trust import InsecureSkip, Mark, RemoteArtifact, VerifiedArtifact, admit
from tests.kit.objects import run, tool

PRELUDE: Final = """
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>
char LICENSE[] SEC("license") = "GPL";
typedef unsigned int u32;
typedef unsigned long long u64;
struct event { u64 sequence; u32 pid; u32 tag; };
static u32 __attribute__((unused)) caller(void) { return bpf_get_current_pid_tgid() >> 32; }
"""
_BPF_ID: Final = re.compile(r"^(prog|map|link)_id:\s+(\d+)$", re.MULTILINE)
EVENTS: Final = Output(name="events", map="events", kind="events", types=(EventType(type="event"),))


@functools.cache
def compile_text(source: str, clang: str = "clang") -> bytes:
    """Compile C, after `PRELUDE`, for the BPF target and return the object."""
    with tempfile.TemporaryDirectory() as scratch:
        code, out = Path(scratch, "test.bpf.c"), Path(scratch, "test.o")
        code.write_text(PRELUDE + source)
        run(
            *(tool(clang), "-target", "bpf", "-g", "-O2", "-Wall", "-Werror"),
            *("-I", f"/usr/include/{sys.implementation._multiarch}"),
            *("-c", code, "-o", out),
        )
        return out.read_bytes()


class _NoMarks:
    def newest(self, repository: str, tag: str | None = None) -> Mark | None:
        return None

    def tags(self, repository: str) -> tuple[str, ...]:
        return ()


class _NoCheck:
    def verify(self, key_pem: str, signed: bytes, signature: bytes) -> None:
        raise AssertionError("nothing is signed here")


def admitted(object_: bytes, config: Config) -> VerifiedArtifact:
    """Pass an unsigned package through the real gate, with its own opt-out."""
    package = build_package(config, object_, file_name="test.bpf.o")
    remote = RemoteArtifact(
        origin=Origin(kind="source", reference=None, location="a test"),
        manifest=package.manifest,
        config=config.to_bytes(),
        object=object_,
    )
    return admit(
        remote,
        Policy(),
        _NoCheck(),
        now=datetime.now(UTC),
        marks=_NoMarks(),
        skip=InsecureSkip(reason="a test"),
    )


def prepared(
    source: str | bytes,
    *,
    outputs: tuple[Output, ...] = (),
    programs: tuple[Program, ...] = (),
    values: Mapping[str, bytes] | None = None,
    map_sizes: Mapping[str, int] | None = None,
    attach: Sequence[str] = (),
    kernel: Kernel | None = None,
) -> tuple[VerifiedArtifact, Plan]:
    """Compile, admit and plan on the running kernel, or on one that says it is another."""
    object_ = compile_text(source) if isinstance(source, str) else source
    config = Config(name="test", outputs=outputs, programs=programs)
    spec = ObjectSpec.from_bytes(object_)
    found = kernel or LiveKernel()
    made = plan(spec, config, found, values=values, map_sizes=map_sizes, attach=attach)
    return admitted(object_, config), made


def opened(
    source: str | bytes,
    *,
    outputs: tuple[Output, ...] = (),
    programs: tuple[Program, ...] = (),
    values: Mapping[str, bytes] | None = None,
    map_sizes: Mapping[str, int] | None = None,
    attach: Sequence[str] = (),
    kernel: Kernel | None = None,
    journal: Journal | None = None,
) -> Session:
    """Compile, admit, plan and load; nothing is attached yet."""
    artifact, made = prepared(
        source,
        outputs=outputs,
        programs=programs,
        values=values,
        map_sizes=map_sizes,
        attach=attach,
        kernel=kernel,
    )
    return Session.open(artifact, made, kernel, journal)


def count(session: Session) -> int:
    """The first global of ``.bss``, a u64."""
    value = session.map(".bss").lookup(bytes(4))
    assert value is not None
    return int.from_bytes(value[:8], sys.byteorder)


def descriptors() -> list[str]:
    """The open descriptors of this process."""
    return sorted(entry.name for entry in Path("/proc/self/fd").iterdir())


def held(pid: int | str = "self") -> set[tuple[str, int]]:
    """The programs, maps and links that a process holds by descriptor, as (kind, id)."""
    found: set[tuple[str, int]] = set()
    for info in Path(f"/proc/{pid}/fdinfo").iterdir():
        with contextlib.suppress(FileNotFoundError):  # the listing's own descriptor
            for name, number in _BPF_ID.findall(info.read_text()):
                found.add((name, int(number)))
    return found


def in_kernel(*kinds: str) -> set[tuple[str, int]]:
    """The programs, maps and links that bpftool shows, as (kind, id)."""
    found = set()
    for kind in kinds or ("prog", "map", "link"):
        found |= {(kind, int(item["id"])) for item in _listed(kind)}
    return found


def _listed(kind: str) -> list[dict[str, Any]]:
    """What bpftool lists; it gives up when something goes away while it looks at it."""
    for _ in range(10):
        done = subprocess.run(
            [tool("bpftool"), "-j", kind, "show"],
            capture_output=True,
            text=True,
            timeout=30,
            check=False,
        )
        if done.returncode == 0:
            return list(json.loads(done.stdout))
    raise AssertionError(done.stdout + done.stderr)


def eventually(holds: Callable[[], bool], seconds: float = 5.0) -> bool:
    """Ask until it holds; the kernel frees what is closed a moment later."""
    end = time.monotonic() + seconds
    while not holds():
        if time.monotonic() > end:
            return False
        time.sleep(0.02)
    return True
