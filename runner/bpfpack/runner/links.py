"""Attaching programs: by links, owned by descriptors, so that nothing outlives the process.

What has no link is written into a journal first; a reaper undoes that.
"""

import errno
from collections.abc import Iterator
from typing import TYPE_CHECKING, NoReturn, Protocol

from bpfpack.runner import capabilities, mounts
from bpfpack.runner._native.libbpf import captured
from bpfpack.runner._native.objects import NativeProgram
from bpfpack.runner.kernel import Kernel
from bpfpack.runner.plan import PlannedProgram
from bpfpack.runner.support import NAMED, unknown_tracepoint
from bpfpack.spec.errors import KernelError, Unsupported

if TYPE_CHECKING:
    from bpfpack.runner.journal import Journal


class Attached(Protocol):
    """What holds a program where it is attached."""

    def close(self) -> None:
        """Detach; a second call does nothing."""


class Link:
    """One program attached at one place; detached by `close`, or by the end of the process."""

    def __init__(self, program: str, held: Attached) -> None:
        self.program, self.held = program, held

    def close(self) -> None:
        """Detach; a second call does nothing."""
        self.held.close()


def attach(
    program: NativeProgram, planned: PlannedProgram, kernel: Kernel, journal: "Journal | None"
) -> list[Link]:
    """Attach a loaded program everywhere as planned, or nowhere.

    ``journal`` is there where the plan `outlives`.  Raises KernelError, explained, StoreError,
    UsageError for a target that has gone meanwhile.
    """
    if planned.kind.type == "tracepoint":
        # libbpf remembers where tracefs was when it first looked.
        mounts.ensure_tracefs()
    made: list[Link] = []
    with captured() as messages:
        try:
            for held in _attach(program, planned, journal):
                made.append(Link(planned.name, held))
        except BaseException as e:
            for link in made:
                link.close()
            if isinstance(e, KernelError):
                e.add_note("\n".join(messages))
                _explain(e, planned, kernel)
            raise
    return made


def _attach(
    program: NativeProgram, planned: PlannedProgram, journal: "Journal | None"
) -> Iterator[Attached]:
    target = planned.kind.target or ""
    match planned.kind.type:
        case "tracepoint":
            category, _, event = target.partition("/")
            yield program.attach_tracepoint(category, event)
        case "raw_tp":
            yield program.attach_raw_tracepoint(target)
        case "tp_btf":
            yield program.attach_trace()
        case "iter":
            from bpfpack.runner.attach import iterators

            yield iterators.attach(program)
        case other:
            from bpfpack.runner.attach.families import attach_to

            returning = other == "uretprobe"
            for attachment in planned.attachments:
                yield from attach_to(program, attachment, returning=returning, journal=journal)


def _explain(error: KernelError, planned: PlannedProgram, kernel: Kernel) -> NoReturn:
    kind = planned.kind
    if isinstance(error, Unsupported):
        raise error
    if error.errno == errno.ENOENT and kind.type in NAMED:
        raise unknown_tracepoint(kind, kernel).error(planned.name) from error
    where = f"{kind.type} {kind.target}" if kind.target else kind.type
    if planned.attachments:
        where = f"{kind.type} {'; '.join(map(str, planned.attachments))}"
    what = f"attach {planned.name} to {where}"
    if error.errno in (errno.EACCES, errno.EPERM):
        if denied := capabilities.denied(planned.capabilities, what):
            raise denied from error
        raise Unsupported(
            kind.type, f"this system's policy refuses to {what}", errno=error.errno
        ).with_hint("look at lockdown, SELinux or other security modules") from error
    told = KernelError(error.errno or 0, str(error.strerror), what)
    told.hint = error.hint
    raise told from error
