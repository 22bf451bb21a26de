"""Where output bytes go: a descriptor that may be slow, stuck, shared or closed.

``os.write`` to a full pipe is restarted after a signal (PEP 475), so a plain write could
not be ended by Ctrl-C when the reader has stopped.  Here nothing blocks but `poll`, which
also watches a wake-up descriptor.  To a pipe, whole lines go out in pieces of at most
PIPE_BUF bytes, which the kernel writes completely or not at all (pipe(7)).
"""

import errno
import fcntl
import os
import select
import stat
import time
from collections.abc import Callable
from typing import Final

from bpfpack.spec.errors import BpfpackError, UsageError

#: Bytes that wait at most before the loop must flush.
FULL: Final = 64 * 1024
#: Seconds that output waits at most while events keep coming.
MAX_AGE: Final = 0.1
#: Seconds that one wait takes at most: poll(2) counts milliseconds in an int, 24 days of them.
LONGEST_WAIT: Final = 3600.0
_PIPE_BUF: Final = select.PIPE_BUF


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

    def write(self, data: bytes) -> None:
        """Append whole lines; nothing is written before `flush`."""
        if self.closed or not data:
            return
        if not self.waiting:
            self._since = time.monotonic()
        self._buffer += data

    def flush(self, deadline: float | None = None) -> bool:
        """Write what waits; say whether all of it went out, or the reader has gone.

        Returns False when the wake-up descriptor became readable or the monotonic
        ``deadline`` passed while the reader took nothing; what is left stays waiting.
        """
        while self.waiting:
            if not self._write_some() and not self._wait(deadline):
                return False
        return True

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
        with memoryview(self._buffer) as whole, whole[self._start : self._cut()] as piece:
            try:
                self._start += self._write(piece)
            except BlockingIOError:
                return False
            except (BrokenPipeError, ConnectionResetError):
                self.closed = True
            except OSError as e:
                # EIO: the terminal behind us has been closed.
                if e.errno != errno.EIO or not self.terminal:
                    raise BpfpackError(f"cannot write the output: {e.strerror}") from e
                self.closed = True
        if self.closed or not self.waiting:
            self._clear()
        return True

    def _cut(self) -> int:
        """The end of the next piece: the last line that still fits, if one does."""
        end = self._start + _PIPE_BUF
        if end >= len(self._buffer):
            return len(self._buffer)
        newline = self._buffer.rfind(b"\n", self._start, end) if self.lines else -1
        return newline + 1 if newline >= 0 else end

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


def _set_flags(fd: int, flags: int) -> None:
    fcntl.fcntl(fd, fcntl.F_SETFL, flags)


def refuse_raw_terminal(fd: int, *, force: bool) -> None:
    """Raise UsageError when raw records would reach a terminal unasked."""
    if os.isatty(fd) and not force:
        raise UsageError("raw records are not for a terminal").with_hint(
            "redirect the output, or add --force"
        )
