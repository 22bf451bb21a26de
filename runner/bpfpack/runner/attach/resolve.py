"""From what was said to what is there: interfaces, cgroups, events and code of this host.

Every fault is found here, before anything is loaded.
"""

import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from bpfpack.runner import mounts
from bpfpack.runner.attach import files
from bpfpack.runner.attach.attachments import (
    Attachment,
    CgroupAttachment,
    CodeAttachment,
    Interface,
    Located,
    MarkerAttachment,
    SocketAttachment,
    TcAttachment,
    XdpAttachment,
)
from bpfpack.runner.attach.events import find_event
from bpfpack.runner.attach.symbols import ElfFile
from bpfpack.runner.kernel import Answer, Kernel
from bpfpack.spec.errors import SpecError, Unsupported, UsageError
from bpfpack.spec.sections import ATTACH_TYPES, ProgramKind
from bpfpack.spec.targets import (
    CgroupTarget,
    CodeTarget,
    EventTarget,
    MarkerTarget,
    SocketTarget,
    Target,
    TcTarget,
    XdpTarget,
)

_SHOWN: Final = 8


def resolve(kind: ProgramKind, target: Target, kernel: Kernel) -> Attachment:
    """Find a target on this host; raises UsageError with cause and cure, Unsupported."""
    match target:
        case XdpTarget():
            return XdpAttachment(interface=_interface(target.interface), mode=target.mode)
        case TcTarget():
            return _tc(target, kernel)
        case SocketTarget():
            return SocketAttachment(interface=_interface(target.interface))
        case CgroupTarget():
            return _cgroup(kind, target)
        case EventTarget():
            return find_event(target)
        case CodeTarget():
            return _code(target)
        case MarkerTarget():
            return _marker(target)


def _tc(target: TcTarget, kernel: Kernel) -> TcAttachment:
    return TcAttachment(
        interface=_interface(target.interface),
        direction=target.direction,
        # Linux 6.6; a kernel that does not say has clsact in any case.
        link=kernel.has_type("tcx_link") is Answer.YES,
    )


def _interface(name: str) -> Interface:
    try:
        return Interface(name=name, index=socket.if_nametoindex(name))
    except OSError as e:
        there = [found for _, found in socket.if_nameindex()]
        more = ", ..." if len(there) > _SHOWN else ""
        raise UsageError(f"there is no interface {name!r}").with_hint(
            f"interfaces here: {', '.join(there[:_SHOWN])}{more}"
        ) from e


def _cgroup(kind: ProgramKind, target: CgroupTarget) -> CgroupAttachment:
    roots = sorted(mounts.mount_points("cgroup2"), key=len)
    if not roots:
        raise Unsupported("cgroup", "no cgroup2 file system is mounted").with_hint(
            "as root: mount -t cgroup2 none /sys/fs/cgroup"
        )
    path = Path(roots[0], target.path)
    try:
        inode = path.stat().st_ino
    except (OSError, ValueError) as e:
        told = getattr(e, "strerror", None) or str(e)
        raise UsageError(f"cgroup {path}: {told}").with_hint(
            f"give its path, or its name below {roots[0]}"
        ) from e
    # A file that cgroups of version 2 have and those of version 1 have not (cgroups(7)).
    if not (path / "cgroup.controllers").is_file():
        raise UsageError(f"{path} is no cgroup of version 2").with_hint(
            f"those are below {roots[0]}"
        )
    attach_type = kind.attach_type
    if target.direction is not None:
        attach_type = ATTACH_TYPES.index(f"cgroup_inet_{target.direction}")
    return CgroupAttachment(path=str(path), inode=inode, attach_type=attach_type or 0)


def _code(target: CodeTarget) -> CodeAttachment:
    place = files.locate(target.file, target.pid)
    with files.opened(place) as fd:
        identity = files.identity(fd)
        with _read(place):
            offset = ElfFile(fd).function(target.function, target.offset)
            if offset >= identity.size:
                raise SpecError(f"ends at {identity.size:#x}, before {offset:#x}")
        return CodeAttachment(
            place=place,
            function=target.function,
            offset=offset,
            identity=identity,
            pid=target.pid,
        )


def _marker(target: MarkerTarget) -> MarkerAttachment:
    place = files.locate(target.file, target.pid)
    with files.opened(place) as fd:
        with _read(place):
            ElfFile(fd).require_marker(target.provider, target.name)
        return MarkerAttachment(
            place=place,
            provider=target.provider,
            name=target.name,
            identity=files.identity(fd),
            pid=target.pid,
        )


@contextmanager
def _read(place: Located) -> Iterator[None]:
    """Say of a fault in the block which file has it."""
    try:
        yield
    except SpecError as e:
        error = UsageError(f"{place} {e.reason}")
        raise (error.with_hint(e.hint) if e.hint else error) from e
