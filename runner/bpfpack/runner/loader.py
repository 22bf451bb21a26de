"""From verified bytes to programs in the kernel.

What libbpf does with section names, found out with 1.1.2: an unknown name fails neither
open nor load by itself; the program merely gets no type, and `bpf_object__load` then
fails the whole object with EINVAL if it is to be loaded.  A known name also installs a
handler that runs at load and attach and sets types and flags of its own.  Setting a
program's type explicitly makes libbpf forget that handler.  So every program that the plan
loads gets type, attach type, flags and BTF target from our own grammar
(`bpfpack.spec.sections`), every other one is switched off, and libbpf's table, whichever
version it is, decides nothing.
"""

import errno
import re
from typing import TYPE_CHECKING, Final, NoReturn

from bpfpack.runner import capabilities
from bpfpack.runner._native.libbpf import captured, describe, lib
from bpfpack.runner._native.objects import NativeObject, NativeProgram, VerifierLog
from bpfpack.runner.kernel import Answer, Kernel
from bpfpack.runner.links import Link, attach
from bpfpack.runner.maps import Map
from bpfpack.runner.plan import Plan, PlannedProgram
from bpfpack.runner.shortage import shortage
from bpfpack.runner.support import no_btf, unknown_tracepoint
from bpfpack.spec.errors import (
    ConfigMismatch,
    KernelError,
    ProgramRejected,
    SpecError,
    Unsupported,
)
from bpfpack.spec.trust import VerifiedArtifact

if TYPE_CHECKING:
    from bpfpack.runner.journal import Journal

#: BTF, and what libbpf holds at once while it probes for features.
_SPARE_DESCRIPTORS: Final = 4
_F_SLEEPABLE: Final = 1 << 4
_F_XDP_HAS_FRAGS: Final = 1 << 5
_FAILED_PROGRAM: Final = re.compile(r"prog '([^']*)': BPF program load failed")
_FAILED_MAP: Final = re.compile(r"map '([^']*)': failed to create: (.*)")


class _Object:
    """What an object is in either state: the C side, and the plan it follows."""

    def __init__(self, native: NativeObject, plan: Plan, kernel: Kernel) -> None:
        self._held: NativeObject | None = native
        self._plan, self._kernel = plan, kernel

    @property
    def _native(self) -> NativeObject:
        if self._held is None:
            raise ValueError(f"{type(self).__name__} is spent")
        return self._held

    def close(self) -> None:
        """Free it; what is loaded leaves the kernel once its links are closed too."""
        if self._held is not None:
            self._held.close()


class OpenObject(_Object):
    """Parsed and set up as planned, not loaded."""

    @classmethod
    def open(cls, artifact: VerifiedArtifact, plan: Plan, kernel: Kernel) -> "OpenObject":
        """Open the very bytes that were verified; raises SpecError, KernelError."""
        lib()  # that it is missing is no fault of the object
        with captured() as messages:
            try:
                native = NativeObject.open(artifact.config.name, artifact.object)
            except KernelError as e:
                e.add_note("\n".join(messages))
                raise SpecError(f"libbpf cannot read the object: {_first(messages, e)}") from e
        found = cls(native, plan, kernel)
        try:
            found._configure()
        except BaseException:
            found.close()
            raise
        return found

    def _configure(self) -> None:
        programs = {p.name: p for p in self._plan.programs}
        for program in self._native.programs():
            planned = programs.get(program.name)
            if planned is None:
                raise ConfigMismatch(f"libbpf sees a program {program.name!r} that we do not")
            program.set_autoload(planned.skipped is None)
            if planned.skipped is None:
                self._set_kind(program, planned)
        for found in self._native.maps():
            # A package leaves nothing behind, so nothing is pinned.
            found.unpin()
        for name, size in self._plan.map_sizes.items():
            self._native.map(name).set_max_entries(size)
        for write in self._plan.globals:
            self._native.map(write.section).write_initial(write.offset, write.data)

    def _set_kind(self, program: NativeProgram, planned: PlannedProgram) -> None:
        kind = planned.kind
        flags = _F_SLEEPABLE * kind.sleepable | _F_XDP_HAS_FRAGS * kind.frags
        program.set_kind(kind.prog_type, kind.attach_type or 0, flags)
        if kind.type in ("tp_btf", "iter"):
            self._set_target(program, planned)

    def _set_target(self, program: NativeProgram, planned: PlannedProgram) -> None:
        with captured() as messages:
            try:
                program.set_attach_target(planned.kind.target or "")
            except KernelError as e:
                e.add_note("\n".join(messages))
                if code := shortage(e, _SPARE_DESCRIPTORS):
                    raise KernelError(code, describe(code), f"load {planned.name}") from e
                fault = (
                    no_btf(planned.kind.type, self._kernel)
                    if self._kernel.has_btf() is not Answer.YES
                    else unknown_tracepoint(planned.kind, self._kernel)
                )
                raise fault.error(planned.name) from e

    def load(self) -> "LoadedObject":
        """Hand maps and programs to the kernel; ``self`` is spent afterwards.

        Raises ProgramRejected with the verifier's log, MissingCapability, Unsupported,
        KernelError; what libbpf said is in the error's notes.
        """
        native, self._held = self._native, None
        try:
            self._load(native)
        except BaseException:
            native.close()
            raise
        return LoadedObject(native, self._plan, self._kernel)

    def _load(self, native: NativeObject) -> None:
        with captured() as messages, VerifierLog() as log:
            try:
                native.load(log)
            except KernelError as e:
                e.add_note("\n".join(messages))
                _explain_shortage(e, self._plan, messages, sum(1 for _ in native.maps()))
                _explain(e, self._plan, self._kernel, messages, log.text())


class LoadedObject(_Object):
    """In the kernel; only `OpenObject.load` makes one."""

    def attach(self, planned: PlannedProgram, journal: "Journal | None" = None) -> list[Link]:
        """Attach one of the plan's programs to its targets; raises KernelError, explained."""
        program = next(p for p in self._native.programs() if p.name == planned.name)
        return attach(program, planned, self._kernel, journal)

    def map(self, name: str) -> Map:
        """A map by its name; raises KernelError."""
        return Map(self._native.map(name))


def _explain_shortage(error: KernelError, plan: Plan, messages: list[str], maps: int) -> None:
    """Raise what ran out, if anything did: then no program is to blame, whatever its log says."""
    code = shortage(error, len(plan.loaded) + maps + _SPARE_DESCRIPTORS)
    created = _FAILED_MAP.search("\n".join(messages))
    if code is not None:
        what = f"map {created[1]}" if created else f"load {plan.package}"
        raise KernelError(code, describe(code), what) from error


def _explain(
    error: KernelError, plan: Plan, kernel: Kernel, messages: list[str], log: str
) -> NoReturn:
    """Turn a failed load into what the user can act on."""
    code = error.errno or 0
    text = "\n".join(messages)
    program = _FAILED_PROGRAM.search(text)
    name = program[1] if program else plan.package
    if code in (errno.EPERM, errno.EACCES) and (
        denied := capabilities.denied(plan.capabilities, f"load {name}")
    ):
        raise denied from error
    if program and log.strip():
        rejected = ProgramRejected(code, name, log)
        if capabilities.missing(("CAP_PERFMON",)):
            # kernel/bpf/verifier.c, bpf_allow_ptr_leaks and bpf_bypass_spec_v1 among others.
            rejected.hint = "with CAP_PERFMON the verifier lets more pass"
        raise rejected from error
    if program and code == errno.EPERM:
        kind = next((p.kind.type for p in plan.programs if p.name == name), "program")
        raise Unsupported(
            kind, f"this system's policy refuses to load it (program {name})", errno=code
        ).with_hint("look at lockdown, SELinux or other security modules") from error
    if created := _FAILED_MAP.search(text):
        raise _map_error(code, created[1], created[2]) from error
    if "failed to find valid kernel BTF" in text or "Error loading vmlinux BTF" in text:
        raise no_btf("CO-RE", kernel).error() from error
    raise KernelError(code, _first(messages, error), f"load {name}") from error


def _map_error(code: int, name: str, why: str) -> KernelError:
    error = KernelError(code, f"cannot be created: {why}", f"map {name}")
    if code == errno.EPERM:
        # Before Linux 5.11 maps counted as locked memory (commit 80ee81e0403c).
        error.hint = "raise the limit of locked memory: ulimit -l unlimited"
    return error


def _first(messages: list[str], error: KernelError) -> str:
    """The first thing libbpf complained about, which is the cause of what follows."""
    return messages[0].removeprefix("libbpf: ") if messages else str(error.strerror)
