"""What outlives its descriptor, written down before it is attached, and undone from there.

A journal is a file of JSON lines in a directory that only its owner can write: one that
says whose it is, then one for each attachment, on the disk before the kernel knows of it.
Its writer holds a lock on it for as long as it lives.  A last line without its end was
being written when the writer died: nothing was attached for it.

Nothing in a journal is believed further than the kernel confirms it: an entry names a
filter by place, handle and program, and what is not all three is somebody else's.
"""

import contextlib
import errno
import fcntl
import os
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, Final, Protocol, Self, TypeVar

from bpfpack.runner.attach.clsact import ClsactEntry
from bpfpack.runner.tracepipe import TraceInstance
from bpfpack.spec import fields, strictjson
from bpfpack.spec.errors import BpfpackError, KernelError, LimitExceeded, SpecError, StoreError
from bpfpack.spec.limits import LIMITS
from bpfpack.spec.value import valuetype

T = TypeVar("T")

_VERSION: Final = 1
SUFFIX: Final = ".journal"
_MAKE: Final = os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC


class Entry(Protocol):
    """One attachment that outlives the descriptors of its owner."""

    @property
    def kind(self) -> str:
        """What `_KINDS` calls it."""

    def to_dict(self) -> dict[str, Any]:
        """As JSON."""

    def undo(self) -> bool:
        """Remove it if it is still the very one; returns whether it was.  Raises KernelError."""


#: How the entries of each kind are parsed; what attaches in a new way adds its kind.
_KINDS: Final[Mapping[str, Callable[[Mapping[str, Any]], Entry]]] = {
    "clsact": ClsactEntry.from_dict,
    "trace-instance": TraceInstance.from_dict,
}


@valuetype
class Owner:
    """A process, told from others that had or will have its number."""

    pid: int
    started: int
    boot: str

    @classmethod
    def me(cls) -> Self:
        """This process; raises KernelError."""
        pid = os.getpid()
        started = _started(pid)
        if started is None:
            raise KernelError(errno.ESRCH, "shows no process of ours", "/proc")
        return cls(pid=pid, started=started, boot=_boot())

    @property
    def lives(self) -> bool:
        """Whether the process has not ended."""
        return self.is_of_this_boot and _started(self.pid) == self.started

    @property
    def is_of_this_boot(self) -> bool:
        """Whether the kernel that it ran on is this one."""
        return self.boot == _boot()

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Self:
        """Parse; raises SpecError."""
        return cls(
            pid=fields.integer(data, "pid", low=1),
            started=fields.integer(data, "started"),
            boot=fields.required_text(data, "boot", most=64),
        )


class Journal:
    """The journal of this process; `reaper.guarded` makes one with a reaper behind it."""

    def __init__(self, directory: int, name: str, fd: int) -> None:
        self.directory, self.name, self._fd = directory, name, fd
        self._entries: list[Entry] = []
        #: Who undoes: this process, unless it has somebody with the privileges for it.
        self.undoer: Callable[[int], None] = self.undo_here

    @classmethod
    def create(cls, directory: int) -> Self:
        """Begin one in an open directory that only its owner can write; raises StoreError.

        ``directory`` stays the caller's.
        """
        me = Owner.me()
        with _mapped("journal"):
            name, fd = _make(directory, me.pid)
            journal = cls(directory, name, fd)
            try:
                os.fsync(directory)
                journal._append(
                    {
                        "version": _VERSION,
                        "pid": me.pid,
                        "started": me.started,
                        "boot": me.boot,
                    }
                )
            except BaseException:
                journal.discard()
                raise
        return journal

    def record(self, entry: Entry) -> int:
        """Write an entry, durable on return, and give its number; raises StoreError."""
        if len(self._entries) >= LIMITS.journal_entries:
            raise StoreError(f"more than {LIMITS.journal_entries} attachments in one journal")
        with _mapped("journal"):
            self._append(entry.to_dict())
        self._entries.append(entry)
        return len(self._entries) - 1

    def undo(self, number: int) -> None:
        """Undo one entry; a second time does nothing.  Raises KernelError."""
        self.undoer(number)

    def undo_here(self, number: int) -> None:
        """Undo one entry with the privileges of this process; raises KernelError."""
        self._entries[number].undo()

    def unlock(self) -> None:
        """Let another process undo what is left."""
        fcntl.flock(self._fd, fcntl.LOCK_UN)

    def close(self) -> None:
        """Give the descriptor back; what was not undone is left to the next start."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1

    def discard(self) -> None:
        """Close and remove a journal of which everything is undone."""
        with contextlib.suppress(FileNotFoundError):
            os.unlink(self.name, dir_fd=self.directory)
        self.close()

    def _append(self, data: Mapping[str, Any]) -> None:
        line = memoryview(strictjson.dumps(data) + b"\n")
        before = os.fstat(self._fd).st_size
        try:
            while line:
                line = line[os.write(self._fd, line) :]
            os.fsync(self._fd)
        except OSError:
            # The next line must not go on where this one ended.
            os.ftruncate(self._fd, before)
            raise


@valuetype
class Content:
    """What a journal says.

    ``owner`` is None where not even that was written; ``faults`` are the lines that say
    nothing.
    """

    owner: Owner | None
    entries: tuple[Entry, ...]
    faults: tuple[SpecError, ...] = ()

    def undo(self) -> int:
        """Undo all, the last first, and return how many there still were.

        Each is tried; raises the first KernelError then.
        """
        undone, failed = 0, []
        for entry in reversed(self.entries):
            try:
                undone += entry.undo()
            except KernelError as e:
                failed.append(e)
        if failed:
            raise failed[0]
        return undone


class Newer(SpecError):
    """A journal of a later bpfpack, which has to undo it itself."""


def parse(data: bytes) -> Content:
    """Read the lines of a journal; raises LimitExceeded, Newer, and nothing for any other."""
    if len(data) > LIMITS.journal:
        raise LimitExceeded(f"larger than {LIMITS.journal} bytes")
    head, *lines = data.split(b"\n")[:-1] or [b""]
    if len(lines) > LIMITS.journal_entries:
        raise LimitExceeded(f"more than {LIMITS.journal_entries} entries")
    faults: list[SpecError] = []
    owner = _try(_owner, head, faults) if head else None
    found = [_try(_entry, line, faults) for line in lines]
    return Content(
        owner=owner, entries=tuple(e for e in found if e is not None), faults=tuple(faults)
    )


def _try(parse_: Callable[[bytes], T], line: bytes, faults: list[SpecError]) -> T | None:
    try:
        return parse_(line)
    except Newer:
        raise
    except SpecError as e:
        faults.append(e)
        return None


def _owner(line: bytes) -> Owner:
    data = strictjson.loads_object(line, LIMITS.journal)
    if fields.integer(data, "version") != _VERSION:
        raise Newer(f"version {data['version']}, which takes a newer bpfpack")
    return Owner.from_dict(data)


def _entry(line: bytes) -> Entry:
    data = strictjson.loads_object(line, LIMITS.journal)
    kind = fields.required_text(data, "kind", most=64)
    if kind not in _KINDS:
        raise Newer(f"an attachment of kind {kind!r}, which takes a newer bpfpack")
    return _KINDS[kind](data)


def _make(directory: int, pid: int) -> tuple[str, int]:
    """Make a locked file of a new name; one that was swept before it was locked is made anew."""
    while True:
        name = f"{pid}-{os.urandom(8).hex()}{SUFFIX}"
        fd = os.open(name, _MAKE, 0o600, dir_fd=directory)
        try:
            fcntl.flock(fd, fcntl.LOCK_EX)
            if os.fstat(fd).st_nlink:
                return name, fd
        except BaseException:
            os.close(fd)
            raise
        os.close(fd)


def _started(pid: int) -> int | None:
    """When a process began, in ticks since boot; None when there is none, or a dead one."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text(errors="replace")
    except (FileNotFoundError, ProcessLookupError):
        return None
    except OSError as e:
        raise KernelError(e.errno or 0, str(e.strerror), f"/proc/{pid}/stat") from e
    # proc_pid_stat(5); the name before them may hold anything, parentheses too.
    state, *numbers = text.rpartition(")")[2].split()
    return None if state in "ZXx" else int(numbers[18])


def _boot() -> str:
    path = "/proc/sys/kernel/random/boot_id"
    try:
        return Path(path).read_text().strip()
    except OSError as e:
        raise KernelError(e.errno or 0, str(e.strerror), path) from e


@contextlib.contextmanager
def _mapped(what: str) -> Iterator[None]:
    try:
        yield
    except BpfpackError:
        raise
    except OSError as e:
        raise StoreError(f"{what}: {e.strerror or e}") from e
