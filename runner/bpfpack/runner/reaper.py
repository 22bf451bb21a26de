"""A child that undoes the journal of this process, however this process ends.

It is forked before anything is loaded, so that it holds no program, map or memory of a
ring, and before the first thread is started.  It leaves the process group and ignores what
ends a job, holds one socket and the journals' directory, and waits.  A number on the socket
asks for that entry to be undone: the child keeps the privileges that its parent drops once
everything is attached.  The end of the socket is the end of the parent; then all is undone.
"""

import contextlib
import errno
import gc
import os
import signal
import socket
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Final, NoReturn, Self

from bpfpack.runner import recovery
from bpfpack.runner.journal import Journal
from bpfpack.spec.errors import BpfpackError, KernelError

_NUMBER: Final = struct.Struct("=i")
_IGNORED: Final = (
    *(signal.SIGHUP, signal.SIGINT, signal.SIGQUIT, signal.SIGTERM, signal.SIGPIPE),
    *(signal.SIGUSR1, signal.SIGUSR2, signal.SIGALRM, signal.SIGTSTP),
)
_COMM: Final = "/proc/self/comm"


@contextlib.contextmanager
def guarded(directory: int) -> Iterator[Journal]:
    """Give a journal that is undone at the end of the block, or of the process.

    ``directory`` is an open one that only its owner can write; it stays the caller's.
    Enter it before anything is loaded.  Raises StoreError, KernelError.
    """
    journal = Journal.create(directory)
    try:
        reaper = Reaper.start(journal)
    except BaseException:
        journal.discard()
        raise
    journal.undoer = reaper.undo
    try:
        yield journal
    finally:
        try:
            reaper.close()
        finally:
            journal.close()


class Reaper:
    """The parent's end."""

    def __init__(self, journal: Journal, pid: int, sock: socket.socket) -> None:
        self._journal, self.pid, self._socket = journal, pid, sock

    @classmethod
    def start(cls, journal: Journal) -> Self:
        """Fork the child; raises KernelError."""
        try:
            ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        except OSError as e:
            raise KernelError(e.errno or 0, str(e.strerror), "start the reaper") from e
        with theirs:
            # None may arrive between the fork and the child's ignoring them.
            before = signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
            try:
                pid = os.fork()
                if pid == 0:
                    _child(journal, theirs)
            except OSError as e:
                ours.close()
                raise KernelError(e.errno or 0, str(e.strerror), "start the reaper") from e
            finally:
                signal.pthread_sigmask(signal.SIG_SETMASK, before)
        return cls(journal, pid, ours)

    def undo(self, number: int) -> None:
        """Have one entry undone; raises KernelError."""
        code = self._ask(number)
        if code is None:
            # Somebody killed the child; without it what privileges are left must do.
            self._journal.undo_here(number)
        elif code:
            raise KernelError(code, os.strerror(code), "detach")

    def _ask(self, number: int) -> int | None:
        try:
            self._socket.send(_NUMBER.pack(number))
            answer = self._socket.recv(_NUMBER.size)
        except (BrokenPipeError, ConnectionResetError):
            return None
        except OSError as e:
            raise KernelError(e.errno or 0, str(e.strerror), "reaper") from e
        return int(_NUMBER.unpack(answer)[0]) if answer else None

    def close(self) -> None:
        """Have everything undone; raises KernelError when something could not be."""
        self._journal.unlock()
        self._socket.close()
        # Where SIGCHLD is ignored the kernel waits for it, and this until it did.
        with contextlib.suppress(ChildProcessError):
            os.waitpid(self.pid, 0)
        try:
            # Nothing is left but where the child was killed, or could not.
            recovery.undo_own(self._journal.directory, self._journal.name)
        except (BpfpackError, OSError) as e:
            raise KernelError(getattr(e, "errno", None) or errno.EIO, str(e), "detach").with_hint(
                "`bpfpack prune` tries again"
            ) from e


def _child(journal: Journal, sock: socket.socket) -> NoReturn:
    """All that the child ever does; nothing of the parent's may run in it."""
    try:
        gc.disable()  # pages that it would touch are shared with the parent
        _detach_from_parent(sock.fileno(), journal.directory)
        _serve(sock, journal.directory, journal.name)
    finally:
        os._exit(0)


def _detach_from_parent(*keep: int) -> None:
    signal.set_wakeup_fd(-1)
    for ignored in _IGNORED:
        signal.signal(ignored, signal.SIG_IGN)
    signal.pthread_sigmask(signal.SIG_SETMASK, ())
    os.setsid()
    os.chdir("/")
    null = os.open(os.devnull, os.O_RDWR)
    for number in range(3):
        os.dup2(null, number)
    # Those that are open, not all up to the limit: that can be a thousand millions.
    present = {int(entry.name) for entry in Path("/proc/self/fd").iterdir()}
    for number in present - {0, 1, 2, *keep}:
        with contextlib.suppress(OSError):  # the listing's own
            os.close(number)
    with contextlib.suppress(OSError):  # a name for `ps`, and no more
        Path(_COMM).write_text("bpfpack-reaper")


def _serve(sock: socket.socket, directory: int, name: str) -> None:
    try:
        while request := sock.recv(_NUMBER.size):
            sock.send(_NUMBER.pack(_answer(directory, name, _NUMBER.unpack(request)[0])))
    finally:
        # Waits for the journal's lock, that is for the parent to end or to let go of it.
        recovery.undo_own(directory, name)


def _answer(directory: int, name: str, number: int) -> int:
    """Undo one entry and return 0, or the errno of what went wrong."""
    try:
        entries = recovery.read_entries(directory, name)
        if not 0 <= number < len(entries):
            return errno.EINVAL
        entries[number].undo()
    except (BpfpackError, OSError) as e:
        return getattr(e, "errno", None) or errno.EIO
    return 0
