"""The process that a run is about.

A process is held by a descriptor (pidfd_open(2), Linux 5.3), which becomes readable when it
ends and which no later process of the same number can take over.
"""

import errno
import fcntl
import os
import select
import struct
from pathlib import Path
from typing import Final, Self

from bpfpack.spec.errors import KernelError, Unsupported, UsageError

#: The initial PID namespace (include/linux/proc_ns.h, PROC_PID_INIT_INO).
_INITIAL_NAMESPACE: Final = "pid:[4026531836]"
#: Milliseconds that the parent of a process gets to ask how it ended.
_ASKING: Final = 200
_MOST_NAMED: Final = 3

# include/uapi/linux/pidfd.h: PIDFD_GET_INFO of the first struct pidfd_info, PIDFD_INFO_EXIT.
_INFO: Final = struct.Struct("=QQ11Ii")
_GET_INFO: Final = 3 << 30 | _INFO.size << 16 | 0xFF << 8 | 11
_INFO_EXIT: Final = 1 << 3


class Process:
    """A process by its number; raises UsageError when there is none, KernelError.

    ``fd`` is readable once it has ended; ``needs`` are the capabilities that ending it takes.
    """

    needs: tuple[str, ...] = ()

    def __init__(self, pid: int) -> None:
        self.pid = pid
        self.fd = _pidfd(pid)

    def exit_code(self) -> int:
        """How it ended, as a shell says it; 0 where the kernel does not say (before 6.15)."""
        # What its parent has not asked for yet is not told to anybody else.
        waiting = select.poll()
        waiting.register(self.fd, 0)
        waiting.poll(_ASKING)
        asked = bytearray(_INFO.pack(_INFO_EXIT, *[0] * 13))
        try:
            fcntl.ioctl(self.fd, _GET_INFO, asked)
        except OSError:
            return 0
        mask, *_, status = _INFO.unpack(asked)
        return shell_code(status) if mask & _INFO_EXIT else 0

    def release(self) -> None:
        """Let it run; nothing holds one that was there before."""

    def finish(self, number: int | None) -> int:
        """Return its exit code, 0 when something else, signal ``number``, ended the run."""
        return self.exit_code() if number is None else 0

    def give_up(self) -> None:
        """End it if it is ours, whatever it does."""

    def close(self) -> None:
        """Let go of it; it is none of ours to end."""
        os.close(self.fd)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()


def _pidfd(pid: int) -> int:
    try:
        return os.pidfd_open(pid)
    except OSError as e:
        if e.errno == errno.ESRCH:
            raise UsageError(f"-p: there is no process {pid}").with_hint(_namesakes(pid)) from e
        if e.errno in (errno.EINVAL, errno.ENOENT) and Path(f"/proc/{pid}").exists():
            raise UsageError(f"-p: {pid} is a thread, not a process").with_hint(
                f"its process is {_status(pid).get('Tgid', 'another')}"
            ) from e
        raise KernelError(e.errno or 0, str(e.strerror), f"pidfd_open({pid})") from e


def _namesakes(pid: int) -> str:
    """What to do about a number that nobody has here, but perhaps in a container."""
    found = []
    for path in Path("/proc").glob("[0-9]*"):
        status = _status(int(path.name))
        if (numbers := status.get("NSpid", "").split())[1:] and numbers[-1] == str(pid):
            found.append(f"-p {path.name} ({status.get('Name', '?')})")
    if not found:
        return "`ps -e` lists them"
    more = ", ..." if len(found) > _MOST_NAMED else ""
    return f"{pid} inside a container is, here, {' or '.join(found[:_MOST_NAMED])}{more}"


def _status(pid: int) -> dict[str, str]:
    """/proc/PID/status; empty for a process that has gone."""
    try:
        text = Path(f"/proc/{pid}/status").read_text(errors="replace")
    except OSError:
        return {}
    return {k: v.strip() for k, _, v in (line.partition(":") for line in text.splitlines())}


def require_host_numbers() -> None:
    """Raise Unsupported where processes have other numbers than programs see.

    A program compares with the number that a process has in the initial namespace.
    """
    if not sees_host_numbers():
        raise Unsupported(
            "-c and -p", "this is a PID namespace of its own, and programs see the host's numbers"
        ).with_hint("run it on the host, or the container with --pid host")


def sees_host_numbers() -> bool:
    """Whether processes have the same numbers here as programs see."""
    try:
        return str(Path("/proc/self/ns/pid").readlink()) == _INITIAL_NAMESPACE
    except OSError:
        # No /proc: nobody knows.
        return True


def shell_code(status: int) -> int:
    """A status of wait(2) as a shell's exit code.

    >>> shell_code(7 << 8), shell_code(9)
    (7, 137)
    """
    code = os.waitstatus_to_exitcode(status)
    return code if code >= 0 else 128 - code
