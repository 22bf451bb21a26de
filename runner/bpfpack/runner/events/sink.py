"""Where output bytes go: a descriptor that may be slow, stuck, shared or closed.

``os.write`` to a full pipe is restarted after a signal (PEP 475), so a plain write could
not be ended by Ctrl-C when the reader has stopped.  Here nothing blocks but `poll`, which
also watches a wake-up descriptor.  To a pipe, whole lines go out in pieces that the kernel
writes completely or not at all: of PIPE_BUF bytes (pipe(7)), or of as many pages as are free
where nobody else writes.
"""

import errno
import fcntl
import mmap
import os
import select
import stat
import sys
import time
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from typing import Final, Protocol

from bpfpack.spec.errors import BpfpackError, UsageError

#: Bytes that wait at most before the loop must flush.
FULL: Final = 64 * 1024
#: Seconds that output waits at most while events keep coming.
MAX_AGE: Final = 0.1
#: Seconds that one wait takes at most: poll(2) counts milliseconds in an int, 24 days of them.
LONGEST_WAIT: Final = 3600.0
_PIPE_BUF: Final = select.PIPE_BUF
#: What a pipe is enlarged to: more than this only root may ask for (pipe(7), pipe-max-size).
_PIPE_BYTES: Final = 1 << 20
#: A file, or a device that swallows, takes whatever it is given.
_ANY: Final = 1 << 62


class _Room(Protocol):
    """How much may be written at once so that no line is torn."""

    def room(self) -> int:
        """Bytes that go out completely, or not at all."""
        ...

    def wrote(self, size: int) -> None:
        """Note what went out."""
        ...


class _Fixed:
    """As much each time."""

    def __init__(self, size: int) -> None:
        self._size = size

    def room(self) -> int:
        """See `_Room`."""
        return self._size

    def wrote(self, size: int) -> None:
        """See `_Room`."""


class _Pipe:
    """The pages of a pipe.

    A write takes at most the pages that its bytes fill (fs/pipe.c, pipe_write: a page is given
    back once all of it was read), and what waits is what was written last.
    """

    def __init__(self, fd: int) -> None:
        import termios  # what only output in bulk needs

        self._unread, self._fd = termios.FIONREAD, fd
        with suppress(OSError):  # the user has as much of pipes as one may have
            fcntl.fcntl(fd, fcntl.F_SETPIPE_SZ, _PIPE_BYTES)
        self._pages = fcntl.fcntl(fd, fcntl.F_GETPIPE_SZ) // mmap.PAGESIZE
        self._writes: deque[int] = deque()
        self._bytes = self._used = 0

    def room(self) -> int:
        """See `_Room`."""
        waits = int.from_bytes(fcntl.ioctl(self._fd, self._unread, bytes(4)), sys.byteorder)
        while self._writes and self._bytes - self._writes[0] >= waits:
            size = self._writes.popleft()
            self._bytes -= size
            self._used -= -(-size // mmap.PAGESIZE)
        if waits > self._bytes:
            return _PIPE_BUF  # somebody else wrote, too
        return max(_PIPE_BUF, (self._pages - self._used) * mmap.PAGESIZE)

    def wrote(self, size: int) -> None:
        """See `_Room`."""
        self._writes.append(size)
        self._bytes += size
        self._used += -(-size // mmap.PAGESIZE)


class Sink:
    """Buffered, never blocking output to ``fd``, which stays the caller's.

    ``lines`` says that a newline ends each event: what is dropped is then counted in
    lines, otherwise in bytes.  Call `close` in the end: it takes back what was changed of a
    descriptor that is shared with other processes.  Writing raises BpfpackError when there is
    no more room, or the device fails.
    """

    def __init__(self, fd: int, *, wake_fd: int | None = None, lines: bool = True) -> None:
        self.lines = lines
        #: The reader has gone: all that comes is thrown away, and that is no error.
        self.closed = False
        #: Lines (or bytes) given up by `drop`.
        self.dropped = 0
        self.terminal = os.isatty(fd)
        self._buffer = bytearray()
        self._start = 0
        self._since = 0.0
        self._undo: Callable[[], None] | None = None
        self.fd = fd
        self._write: Callable[[memoryview], int] = self._write_file
        self._bulk: _Room | None = None
        self._make_nonblocking(fd)
        self._wake_fd = wake_fd
        self._writable, self._writable_or_woken = select.poll(), select.poll()
        self._writable.register(self.fd, select.POLLOUT)
        self._writable_or_woken.register(self.fd, select.POLLOUT)
        if wake_fd is not None:
            self._writable_or_woken.register(wake_fd, select.POLLIN)

    @property
    def waiting(self) -> int:
        """Bytes not yet written."""
        return len(self._buffer) - self._start

    @property
    def due(self) -> bool:
        """Whether what waits should go out even though more is coming."""
        waiting = self.waiting
        return waiting >= FULL or (waiting > 0 and time.monotonic() - self._since >= MAX_AGE)

    def write(self, data: "bytes | memoryview") -> None:
        """Append whole lines; nothing is written before `flush`."""
        if self.closed or not data:
            return
        if not self.waiting:
            self._since = time.monotonic()
        self._buffer += data

    def send(self, data: "bytes | memoryview", deadline: float | None = None) -> None:
        """Write many whole lines out of memory that may change afterwards; few are kept.

        Waits like `flush`; what a signal or the deadline leaves is kept as well.
        """
        if len(data) + self.waiting < FULL or not self.flush(deadline):
            self.write(data)
            return
        if self._bulk is None:
            self._bulk = self._room()
        sent = 0
        while sent < len(data) and not self.closed:
            wrote = self._write_from(data, sent, self._bulk.room())
            if wrote is not None:
                self._bulk.wrote(wrote)
                sent += wrote
            elif not self._wait(deadline):
                self.write(data[sent:])
                return

    def flush(self, deadline: float | None = None) -> bool:
        """Write what waits; say whether all of it went out, or the reader has gone.

        Returns False when the wake-up descriptor became readable or the monotonic
        ``deadline`` passed while the reader took nothing; what is left stays waiting.
        """
        while self.waiting:
            if not self._write_some() and not self._wait(deadline):
                return False
        return True

    def has_room(self) -> bool:
        """Whether more may be sent without keeping more than a little, once what waits went out."""
        self.flush(0.0)
        return self.closed or self.waiting < FULL

    def finish(self, grace: float) -> bool:
        """Write what waits, wake-up or not; False once nothing went out for ``grace`` seconds."""
        while self.waiting:
            if not self._write_some() and not self._writable.poll(grace * 1000):
                return False
        return True

    def drop(self) -> None:
        """Give up what waits, and count it."""
        rest = self._buffer[self._start :]
        self.dropped += rest.count(b"\n") if self.lines else len(rest)
        self._clear()

    def restore(self) -> None:
        """Take back what was changed of the descriptor; may be called more than once."""
        if self._undo is not None:
            undo, self._undo = self._undo, None
            undo()

    def close(self) -> None:
        """Count what still waits as dropped, and restore the descriptor."""
        self.drop()
        self.restore()

    def _write_some(self) -> bool:
        with memoryview(self._buffer) as whole:
            wrote = self._write_from(whole, self._start, _PIPE_BUF)
        if wrote is None:
            return False
        self._start += wrote
        if self._bulk is not None:
            self._bulk.wrote(wrote)
        if self.closed or not self.waiting:
            self._clear()
        return True

    def _write_from(self, data: "bytes | memoryview", start: int, most: int) -> int | None:
        """Write the next piece; None when the reader takes none."""
        with memoryview(data) as whole, whole[start : self._cut(data, start, most)] as piece:
            try:
                return self._write(piece)
            except BlockingIOError:
                return None
            except (BrokenPipeError, ConnectionResetError):
                self.closed = True
            except OSError as e:
                # EIO: the terminal behind us has been closed.
                if e.errno != errno.EIO or not self.terminal:
                    raise BpfpackError(f"cannot write the output: {e.strerror}") from e
                self.closed = True
            return 0

    def _cut(self, data: "bytes | memoryview", start: int, most: int) -> int:
        """The end of the next piece: the last line that still fits, if one does."""
        end = start + most
        if end >= len(data):
            return len(data)
        newline = _last_newline(data, start, end) if self.lines else -1
        return newline + 1 if newline >= 0 else end

    def _room(self) -> _Room:
        mode = os.fstat(self.fd).st_mode
        if stat.S_ISFIFO(mode):
            return _Pipe(self.fd)
        return _Fixed(_PIPE_BUF if self.terminal or stat.S_ISSOCK(mode) else _ANY)

    def _wait(self, deadline: float | None) -> bool:
        ready: dict[int, int] = {}
        left = LONGEST_WAIT
        while not ready and left > 0:
            if deadline is not None:
                left = max(0.0, deadline - time.monotonic())
            ready = dict(self._writable_or_woken.poll(min(left, LONGEST_WAIT) * 1000))
        # A stop comes before more output: the reader may take a little for ever.
        return self.fd in ready and self._wake_fd not in ready

    def _clear(self) -> None:
        self._buffer.clear()
        self._start = 0

    def _write_file(self, piece: memoryview) -> int:
        return os.write(self.fd, piece)

    def _make_nonblocking(self, fd: int) -> None:
        mode = os.fstat(fd).st_mode
        if stat.S_ISSOCK(mode):
            self._use_socket(fd)
        elif stat.S_ISFIFO(mode) or stat.S_ISCHR(mode):
            self._reopen(fd)

    def _use_socket(self, fd: int) -> None:
        import socket  # 2 ms that hardly any run needs

        peer = socket.socket(fileno=os.dup(fd))
        self._write = lambda piece: peer.send(piece, socket.MSG_DONTWAIT)
        self._undo = peer.close

    def _reopen(self, fd: int) -> None:
        # O_NONBLOCK belongs to the open file description, which a terminal or pipe shares
        # with the shell and whatever else writes there: they would see EAGAIN, and after
        # kill -9 for ever.  A description of our own harms nobody.
        if fcntl.fcntl(fd, fcntl.F_GETFL) & os.O_ACCMODE == os.O_RDONLY:
            # It could be opened anew for writing all the same: /dev/null, for one.
            raise BpfpackError(f"cannot write the output: {os.strerror(errno.EBADF)}")
        try:
            self.fd = os.open(f"/proc/self/fd/{fd}", os.O_WRONLY | os.O_NONBLOCK | os.O_NOCTTY)
        except OSError:
            # No /proc, or a terminal that belongs to another user: change it, and undo that.
            self._set_flag(fd)
            return
        self._undo = lambda: os.close(self.fd)

    def _set_flag(self, fd: int) -> None:
        before = fcntl.fcntl(fd, fcntl.F_GETFL)
        fcntl.fcntl(fd, fcntl.F_SETFL, before | os.O_NONBLOCK)
        self._undo = lambda: _set_flags(fd, before)


def _last_newline(data: "bytes | memoryview", start: int, end: int) -> int:
    """The place of the last newline between two places, -1 for none.

    Looked for from the end, a bit at a time: a memoryview has no rfind.
    """
    while end > start:
        begin = max(start, end - _PIPE_BUF)
        found = bytes(data[begin:end]).rfind(b"\n")
        if found >= 0:
            return begin + found
        end = begin
    return -1


def _set_flags(fd: int, flags: int) -> None:
    fcntl.fcntl(fd, fcntl.F_SETFL, flags)


def refuse_raw_terminal(fd: int, *, force: bool, what: str = "raw records") -> None:
    """Raise UsageError when raw records, or ``what``, would reach a terminal unasked."""
    if os.isatty(fd) and not force:
        raise UsageError(f"{what} are not for a terminal").with_hint(
            "-f FILE writes to a file; or add --force"
        )
