"""What this kernel can do, asked and never guessed from its version.

Answers are three-valued: a probe that was itself refused says nothing about the feature.
"""

import enum
import functools
import os
import zlib
from pathlib import Path
from typing import TYPE_CHECKING, Final, Protocol

from bpfpack.runner import capabilities, mounts, privileges
from bpfpack.runner._native import btf
from bpfpack.spec.errors import KernelError, Unsupported
from bpfpack.spec.sections import PROG_TYPES, ProgramKind

if TYPE_CHECKING:
    from bpfpack.runner.attach.attachments import Attachment
    from bpfpack.spec.targets import Target

_CONFIG_BYTES: Final = 4 * 1024 * 1024
_BY_TARGET: Final = tuple(PROG_TYPES.index(t) for t in ("tracing", "struct_ops", "ext", "lsm"))


class Answer(enum.Enum):
    """Yes, no, or that the question could not be answered."""

    YES = "yes"
    NO = "no"
    UNKNOWN = "unknown"

    @classmethod
    def of(cls, known: bool) -> "Answer":
        """YES or NO."""
        return cls.YES if known else cls.NO


class Kernel(Protocol):
    """What `plan` asks; tests answer from a record."""

    @property
    def machine(self) -> str:
        """As uname(2) spells it."""

    @property
    def page_size(self) -> int:
        """In bytes."""

    def has_btf(self) -> Answer:
        """Whether the kernel describes its own types."""

    def has_type(self, name: str) -> Answer:
        """Whether its BTF has a type of that name."""

    def has_function(self, name: str) -> Answer:
        """Whether its BTF has a function of that name."""

    def has_tracepoint(self, category: str, name: str) -> Answer:
        """Whether tracefs has that event."""

    def has_raw_tracepoint(self, name: str) -> Answer:
        """Whether there is a raw tracepoint of that name."""

    def probe(self, program_type: int) -> Answer:
        """Whether it takes programs of that type (``enum bpf_prog_type``)."""

    def option(self, name: str) -> str | None:
        """The value of a build option, ``n`` when not set, None when unknown."""

    def near(self, name: str) -> tuple[str, ...]:
        """Tracepoints that are spelled like ``name``, as ``category/name``."""

    def find(self, kind: ProgramKind, target: "Target") -> "Attachment":
        """Where a target is on this host; raises UsageError with cause and cure, Unsupported."""


class LiveKernel:
    """The running kernel.

    Reading and searching its BTF through libbpf takes a few milliseconds, so answers
    are kept in memory only: a file of them would have to be guarded against others.
    """

    @functools.cached_property
    def machine(self) -> str:
        """As uname(2) spells it."""
        return os.uname().machine

    @functools.cached_property
    def page_size(self) -> int:
        """In bytes."""
        return os.sysconf("SC_PAGE_SIZE")

    @functools.cached_property
    def _btf(self) -> btf.KernelBtf | None:
        try:
            return btf.KernelBtf.load()
        except KernelError:
            return None

    @functools.cached_property
    def _tracefs(self) -> Path | None:
        try:
            return mounts.ensure_tracefs()
        except Unsupported:
            return None

    def has_btf(self) -> Answer:
        """Whether the kernel describes its own types."""
        if self._btf is not None:
            return Answer.YES
        # Without sysfs the kernel has not said no.
        hidden = not Path("/sys/kernel").exists()
        there = Path("/sys/kernel/btf/vmlinux").exists()
        return Answer.UNKNOWN if there or hidden else Answer.NO

    def has_type(self, name: str) -> Answer:
        """Whether its BTF has a type of that name."""
        return Answer.UNKNOWN if self._btf is None else Answer.of(self._btf.has(name))

    def has_function(self, name: str) -> Answer:
        """Whether its BTF has a function of that name."""
        if self._btf is None:
            return Answer.UNKNOWN
        return Answer.of(self._btf.has(name, btf.KIND_FUNC))

    def has_tracepoint(self, category: str, name: str) -> Answer:
        """Whether tracefs has that event; UNKNOWN where tracefs cannot be read."""
        if self._tracefs is None or not os.access(self._tracefs / "events", os.X_OK):
            return Answer.UNKNOWN
        return Answer.of((self._tracefs / "events" / category / name / "id").exists())

    def has_raw_tracepoint(self, name: str) -> Answer:
        """Whether there is a raw tracepoint of that name.

        The kernel declares ``typedef void (*btf_trace_NAME)(...)`` for each
        (include/trace/bpf_probe.h); those of modules are not looked for.
        """
        if self._btf is None:
            return Answer.UNKNOWN
        known = self._btf.has(f"btf_trace_{name}", btf.KIND_TYPEDEF)
        return Answer.YES if known else self._absent_unless_modules()

    @staticmethod
    def _absent_unless_modules() -> Answer:
        try:
            known = [found.name for found in Path("/sys/kernel/btf").iterdir()]
        except OSError:
            return Answer.UNKNOWN
        return Answer.NO if known == ["vmlinux"] else Answer.UNKNOWN

    def probe(self, program_type: int) -> Answer:
        """Whether it takes programs of that type: libbpf loads an empty one.

        UNKNOWN where loading is refused as such, and for types that need a BTF target:
        libbpf tries one attach type of several, and takes every refusal for a no.
        """
        if capabilities.denied(privileges.to_load(program_type), "probe"):
            return Answer.UNKNOWN
        try:
            known = btf.probe_program_type(program_type)
        except KernelError:
            return Answer.UNKNOWN
        return Answer.UNKNOWN if not known and program_type in _BY_TARGET else Answer.of(known)

    def option(self, name: str) -> str | None:
        """The value of a build option, ``n`` when not set, None when unknown."""
        text = self._config
        if text is None:
            return None
        start = text.find(f"\n{name}=")
        if start < 0:
            return "n"
        return text[start + len(name) + 2 :].split("\n", 1)[0].strip('"')

    @functools.cached_property
    def _config(self) -> str | None:
        for path in ("/proc/config.gz", f"/boot/config-{os.uname().release}"):
            try:
                raw = Path(path).read_bytes()
            except OSError:
                continue
            if path.endswith(".gz"):
                raw = zlib.decompressobj(wbits=31).decompress(raw, _CONFIG_BYTES)
            return "\n" + raw.decode(errors="replace")
        return None

    def near(self, name: str) -> tuple[str, ...]:
        """Tracepoints that are spelled like ``name``, as ``category/name``; at most three."""
        import difflib  # for one error message

        events = self._events()
        close = difflib.get_close_matches(name.rpartition("/")[2], events, n=3, cutoff=0.7)
        return tuple(events[event] for event in close)

    def find(self, kind: ProgramKind, target: "Target") -> "Attachment":
        """Where a target is on this host; raises UsageError with cause and cure, Unsupported."""
        from bpfpack.runner.attach.resolve import resolve  # most programs need no target

        return resolve(kind, target, self)

    def _events(self) -> dict[str, str]:
        if self._tracefs is None:
            return {}
        found = {}
        for place in (self._tracefs / "events").glob("*/*/id"):
            event = place.parent
            found[event.name] = f"{event.parent.name}/{event.name}"
        return found
