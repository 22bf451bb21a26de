"""A command of the user's, traced from its first instruction to its last."""

import errno
import os
import select
import shlex
import signal
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Final, NoReturn

from bpfpack.runner._native import libc
from bpfpack.runner.target import Process, shell_code
from bpfpack.spec.errors import KernelError, NotFound, UsageError

#: Seconds that a command gets to end by itself after Ctrl-C, and after being told to.
_ITSELF: Final = 0.2
_PATIENCE: Final = 5.0
#: What Python ignores and a command must not (Popen's ``restore_signals``).
_RESTORED: Final = (signal.SIGPIPE, signal.SIGXFSZ)


class Command(Process):
    """A command of ours, held before its first instruction until `release`.

    It has our terminal, directory and environment.  `close` leaves nothing of it behind, nor
    does our end, whatever ends us, unless it executes what gains privileges (sudo).  Processes
    that it starts are its own: a group for them all would take the terminal from it.
    ``patience`` is in seconds.  Raises UsageError for what is no command line, NotFound and
    KernelError for what cannot be executed.
    """

    #: It may have become another user's.
    needs = ("CAP_KILL",)

    def __init__(self, text: str, *, patience: float = _PATIENCE) -> None:
        self._argv = _words(text)
        self._path = _find(self._argv[0])
        self._status: int | None = None
        self._patience = patience
        with ExitStack() as undo:
            held, self._go = _pipe(undo)
            self._failed, failing = _pipe(undo)
            parent = os.getpid()
            pid = os.fork()
            if not pid:
                os.close(self._go)
                _execute(self._path, self._argv, parent, held, failing)
            undo.callback(_end, pid)
            super().__init__(pid)
            undo.pop_all()
        os.close(held)
        os.close(failing)

    def release(self) -> None:
        """Let it run, unless a signal has ended it already.

        Raises KernelError when the kernel does not execute it.
        """
        # Ctrl-C ends all of the terminal's group: how it ended is told like any end.
        with suppress(BrokenPipeError):
            os.write(self._go, b"!")
        if failure := os.read(self._failed, 16):
            raise _not_executed(int(failure), self._argv[0])

    def give_up(self) -> None:
        """End it at once, whatever it does."""
        self._send(signal.SIGKILL)

    def finish(self, number: int | None) -> int:
        """Wait for its end and return its exit code.

        ``number`` is what ended the run before it: it gets that signal, too, and SIGKILL if it
        is still there when our patience has ended.
        """
        if number is not None and not self._ended(_ITSELF if number == signal.SIGINT else 0):
            self._send(number)
            if not self._ended(self._patience):
                self.give_up()
        return self.exit_code()

    def exit_code(self) -> int:
        """How it ended, as a shell says it; waits for the end."""
        if self._status is None:
            _, self._status = os.waitpid(self.pid, 0)
        return shell_code(self._status)

    def close(self) -> None:
        """End it if it is still there."""
        os.close(self._go)
        os.close(self._failed)
        if self._status is None:
            self.give_up()
            self.exit_code()
        super().close()

    def _ended(self, within: float) -> bool:
        waiting = select.poll()
        waiting.register(self.fd, select.POLLIN)
        return bool(waiting.poll(within * 1000))

    def _send(self, number: int) -> None:
        if self._status is None:
            # Until we ask how it ended its number is its own.
            os.kill(self.pid, number)


def _pipe(undo: ExitStack) -> tuple[int, int]:
    reading, writing = os.pipe2(os.O_CLOEXEC)
    undo.callback(os.close, reading)
    undo.callback(os.close, writing)
    return reading, writing


def _end(pid: int) -> None:
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)


def _words(text: str) -> list[str]:
    """Split as a shell would, which expands nothing."""
    try:
        words = shlex.split(text)
    except ValueError as e:
        raise UsageError(f"-c {text[:80]!r}: {e}") from e
    if not words:
        raise UsageError("-c: no command")
    return words


def _find(name: str) -> str:
    """Return the file that execvp(3) would run; raises NotFound, KernelError."""
    places = [""] if "/" in name else os.get_exec_path()
    found = [path for place in places if (path := Path(place, name)).is_file()]
    for path in found:
        if os.access(path, os.X_OK):
            return str(path)
    if found:
        raise _not_executed(errno.EACCES, name)
    where = "no such file" if "/" in name else "not in any directory of PATH"
    raise NotFound(f"-c: command {name[:80]!r}: {where}").with_hint(
        "what only a shell knows is run by one: -c 'sh -c \"...\"'"
    )


def _not_executed(code: int, name: str) -> KernelError:
    error = KernelError(code, os.strerror(code), f"-c: cannot execute {name[:80]!r}")
    if code == errno.ENOEXEC:
        error.hint = "it is no program of this machine, and a script must begin with #!"
    elif code == errno.ENOENT:
        error.hint = "it is there: what its first line (#!) names, or its loader, is not"
    return error


def _execute(path: str, argv: list[str], parent: int, held: int, failing: int) -> NoReturn:
    """Wait for one byte and become the command; the child's side of the fork."""
    try:
        for number in _RESTORED:
            signal.signal(number, signal.SIG_DFL)
        libc.die_with_parent()
        # Nothing but the end of the file comes from a parent that has ended.
        # One that ended before we asked to die with it has left us to another.
        if os.read(held, 1) and os.getppid() == parent:
            os.execve(path, argv, os.environ)  # noqa: S606 - no shell is what is wanted
    except OSError as e:
        os.write(failing, str(e.errno).encode())
    finally:
        os._exit(127)
