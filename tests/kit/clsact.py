"""Network namespaces with interfaces and foreign filters, and programs for tc."""

import contextlib
import functools
import itertools
import json
import os
import re
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

from bpfpack.runner._native.objects import NativeObject, VerifierLog
from tests.kit.kernelobjects import compile_text
from tests.kit.objects import tool

#: Ours, and somebody else's; both let every packet go on.
OURS: Final = 'SEC("tc") int bpfpack_ours(struct __sk_buff *skb) { return -1; }'
THEIRS: Final = 'SEC("tc") int foreign(struct __sk_buff *skb) { return -1; }'
#: Interfaces: with others' clsact and filters, with nothing, with others' empty clsact.
INTERFACES: Final = ("shared", "bare", "empty")
_SCHED_CLS: Final = 3
_ID: Final = re.compile(r"^prog_id:\s+(\d+)$", re.MULTILINE)
_NUMBER: Final = itertools.count()


@contextlib.contextmanager
def network(*, filters: bool = True) -> Iterator[str]:
    """A namespace with `INTERFACES`; gives its name for `ip netns exec`."""
    name = f"bpfpack-{os.getpid()}-{next(_NUMBER)}"
    sh("ip", "netns", "add", name)
    try:
        furnish("ip", "netns", "exec", name, filters=filters)
        yield name
    finally:
        sh("ip", "netns", "del", name)


def furnish(*prefix: str, filters: bool = True) -> None:
    """Make `INTERFACES`, and what others have on them."""
    for name in INTERFACES:
        sh(*prefix, "ip", "link", "add", name, "type", "veth", "peer", "name", f"{name}-peer")
    if filters:
        sh(*prefix, "tc", "qdisc", "add", "dev", "empty", "clsact")
        sh(*prefix, "tc", "qdisc", "add", "dev", "shared", "clsact")
        for priority in (49150, 49152):
            add_foreign(*prefix, interface="shared", direction="ingress", priority=priority)
        add_foreign(*prefix, interface="shared", direction="egress", priority=49152)


def add_foreign(
    *prefix: str,
    interface: str,
    direction: str,
    priority: int,
    handle: int = 1,
    verb: str = "add",
) -> None:
    """Put somebody else's program there, with tc."""
    with tempfile.NamedTemporaryFile(suffix=".o") as file:
        file.write(compile_text(THEIRS))
        file.flush()
        sh(
            *(*prefix, "tc", "filter", verb, "dev", interface, direction),
            *("prio", str(priority), "handle", str(handle)),
            *("bpf", "da", "obj", file.name, "sec", "tc"),
        )


def snapshot(*prefix: str) -> list[Any]:
    """All qdiscs and filters of `INTERFACES`, as tc shows them."""
    found = []
    for name in INTERFACES:
        found.append(sh(*prefix, "tc", "-j", "-d", "qdisc", "show", "dev", name))
        for direction in ("ingress", "egress"):
            found.append(sh(*prefix, "tc", "-j", "filter", "show", "dev", name, direction))
    return [json.loads(text or "[]") for text in found]


def in_network(name: str) -> tuple[str, ...]:
    """What goes before a command that is to run there."""
    return ("ip", "netns", "exec", name)


def sh(*command: str) -> str:
    """Run a command that must succeed and return what it prints."""
    done = subprocess.run(
        (tool(command[0]), *command[1:]), capture_output=True, text=True, timeout=30
    )
    assert done.returncode == 0, f"{command}: {done.stderr}"
    return done.stdout


class Loaded:
    """A program of ours in the kernel."""

    def __init__(self, data: bytes) -> None:
        self._object = NativeObject.open("ours", data)
        for program in self._object.programs():
            program.set_autoload(True)
            program.set_kind(_SCHED_CLS, 0, 0)
            self._program = program
        with VerifierLog() as log:
            self._object.load(log)
        self.fd = self._program.fd
        found = _ID.search(Path(f"/proc/self/fdinfo/{self.fd}").read_text())
        assert found is not None
        self.id = int(found[1])

    def close(self) -> None:
        """Give it back."""
        self._object.close()

    def __enter__(self) -> "Loaded":
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()


@functools.cache
def ours() -> bytes:
    """The object of `OURS`."""
    return compile_text(OURS)


def reapers(directory: Path) -> set[int]:
    """The processes that wait to undo journals of a directory."""
    found = set()
    for entry in Path("/proc").iterdir():
        with contextlib.suppress(OSError):
            if entry.name.isdigit() and (entry / "comm").read_text() == "bpfpack-reaper\n":
                held = {str(fd.readlink()) for fd in (entry / "fd").iterdir()}
                if str(directory) in held:
                    found.add(int(entry.name))
    return found
