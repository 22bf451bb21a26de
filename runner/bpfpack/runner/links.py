"""Attaching programs; a link is owned by its descriptor, so nothing outlives the process."""

import errno
from typing import NoReturn

from bpfpack.runner import capabilities, mounts
from bpfpack.runner._native.libbpf import captured
from bpfpack.runner._native.objects import NativeLink, NativeProgram
from bpfpack.runner.kernel import Kernel
from bpfpack.runner.plan import PlannedProgram
from bpfpack.runner.support import SUPPORTED, unknown_tracepoint
from bpfpack.spec.errors import KernelError, Unsupported


class Link:
    """One program attached; detached by `close`, or by the end of the process."""

    def __init__(self, program: str, native: NativeLink) -> None:
        self.program, self._native = program, native

    @property
    def fd(self) -> int:
        """The link's descriptor; raises ValueError once it is closed."""
        return self._native.fd

    def close(self) -> None:
        """Detach; a second call does nothing."""
        self._native.close()


def attach(program: NativeProgram, planned: PlannedProgram, kernel: Kernel) -> Link:
    """Attach a loaded program to the target of its section; raises KernelError, explained."""
    kind = planned.kind
    if kind.type == "tracepoint":
        # libbpf remembers where tracefs was when it first looked.
        mounts.ensure_tracefs()
    with captured() as messages:
        try:
            return Link(planned.name, _attach(program, planned))
        except KernelError as e:
            e.add_note("\n".join(messages))
            _explain(e, planned, kernel)


def _attach(program: NativeProgram, planned: PlannedProgram) -> NativeLink:
    target = planned.kind.target or ""
    match planned.kind.type:
        case "tracepoint":
            category, _, event = target.partition("/")
            return program.attach_tracepoint(category, event)
        case "raw_tp":
            return program.attach_raw_tracepoint(target)
        case "tp_btf":
            return program.attach_trace()
        case other:
            raise Unsupported(other, "not supported yet by bpfpack").with_hint(
                f"what can be attached: {', '.join(SUPPORTED)}"
            )


def _explain(error: KernelError, planned: PlannedProgram, kernel: Kernel) -> NoReturn:
    kind = planned.kind
    if isinstance(error, Unsupported):
        raise error
    if error.errno == errno.ENOENT:
        raise unknown_tracepoint(kind, kernel).error(planned.name) from error
    what = f"attach {planned.name} to {kind.type} {kind.target}"
    if error.errno in (errno.EACCES, errno.EPERM):
        needed = ["CAP_BPF", "CAP_PERFMON"]
        needed += ["CAP_DAC_READ_SEARCH"] if kind.type == "tracepoint" else []
        if denied := capabilities.denied(needed, what):
            raise denied from error
        raise Unsupported(
            kind.type, f"this system's policy refuses to {what}", errno=error.errno
        ).with_hint("look at lockdown, SELinux or other security modules") from error
    raise KernelError(error.errno or 0, str(error.strerror), what) from error
