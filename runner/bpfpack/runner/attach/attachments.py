"""Targets found on this host: what a plan holds, and what is attached to.

As text each says what was found, for `run --dry-run`.
"""

from typing import TypeAlias

from bpfpack.spec.targets import Direction, Mode
from bpfpack.spec.value import valuetype


@valuetype
class Interface:
    """A network interface, by the number that the kernel knows it by."""

    name: str
    index: int

    def __str__(self) -> str:
        return f"{self.name} (index {self.index})"


@valuetype
class XdpAttachment:
    """XDP on an interface; without ``mode`` the kernel chooses."""

    interface: Interface
    mode: Mode | None = None

    def __str__(self) -> str:
        return f"{self.interface}" + (f", {self.mode} mode" if self.mode else "")


@valuetype
class TcAttachment:
    """tc on one direction of an interface: by a link, or a filter that outlives its owner."""

    interface: Interface
    direction: Direction
    link: bool

    def __str__(self) -> str:
        return f"{self.interface}, {self.direction}" + ("" if self.link else ", by clsact")


@valuetype
class SocketAttachment:
    """A socket that receives what passes an interface."""

    interface: Interface

    def __str__(self) -> str:
        return f"{self.interface}"


@valuetype
class CgroupAttachment:
    """A cgroup; ``inode`` is the number that the kernel knows it by."""

    path: str
    inode: int
    attach_type: int

    def __str__(self) -> str:
        return f"cgroup {self.path}"


@valuetype
class EventAttachment:
    """A perf event on every CPU; ``kind`` and ``config`` are those of perf_event_open(2)."""

    event: str
    kind: int
    config: int
    sample: int
    frequency: bool

    def __str__(self) -> str:
        if self.frequency:
            return f"{self.event}, {self.sample} times a second on each CPU"
        return f"{self.event}, every {self.sample} on each CPU"


@valuetype
class FileIdentity:
    """Which content was looked at; another one at the same path differs in one of these."""

    device: int
    inode: int
    size: int
    modified_ns: int


@valuetype
class Located:
    """A file: ``path`` from ``root``, the directory that is / for who named it."""

    root: str
    path: str

    def __str__(self) -> str:
        return self.path if self.root == "/" else self.root + self.path


@valuetype
class CodeAttachment:
    """Code at ``offset`` of a file, in one process or in all.

    ``identity`` is what was read there, so that the code of no other file is broken into.
    """

    place: Located
    function: str
    offset: int
    identity: FileIdentity
    pid: int | None = None

    def __str__(self) -> str:
        where = f"{self.place}:{self.function} (offset {self.offset:#x})"
        return where if self.pid is None else f"{where}, process {self.pid}"


@valuetype
class MarkerAttachment:
    """A statically defined tracepoint of a file, in one process or in all."""

    place: Located
    provider: str
    name: str
    identity: FileIdentity
    pid: int | None = None

    def __str__(self) -> str:
        where = f"{self.place}:{self.provider}:{self.name}"
        return where if self.pid is None else f"{where}, process {self.pid}"


Attachment: TypeAlias = (
    XdpAttachment
    | TcAttachment
    | SocketAttachment
    | CgroupAttachment
    | EventAttachment
    | CodeAttachment
    | MarkerAttachment
)

#: What is equal for two attachments that are at the same place.
Place: TypeAlias = tuple[object, ...]


def place_of(attachment: Attachment) -> Place:
    """Where a program would be attached twice, however each time it was said.

    An interface takes one XDP program in whatever mode; a file has many paths.
    """
    match attachment:
        case XdpAttachment():
            return (attachment.interface,)
        case CgroupAttachment():
            return (attachment.inode, attachment.attach_type)
        case CodeAttachment():
            return (attachment.identity, attachment.offset, attachment.pid)
        case MarkerAttachment():
            file = attachment.identity
            return (file, attachment.provider, attachment.name, attachment.pid)
        case _:
            return (attachment,)
