"""Run a tool of the tool chain on hostile input: no privileges, little to read, bounded."""

import os
import pwd
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Final

from bpfpack.builder import confine
from bpfpack.spec.errors import BuildError
from bpfpack.spec.limits import LIMITS
from bpfpack.spec.value import field, valuetype

#: What tools themselves need: their code, their libraries, the system's headers.
_SYSTEM: Final = ("/usr", "/lib", "/lib32", "/lib64", "/libx32", "/bin", "/etc/ld.so.cache")
_DEVICES: Final = ("/dev/null", "/dev/urandom")


@valuetype
class Identity:
    """Who a tool runs as; the caller itself unless that is root."""

    uid: int
    gid: int

    @classmethod
    def current(cls) -> "Identity":
        """Return the caller; for root whoever called sudo, else nobody."""
        if os.geteuid() != 0:
            return cls(uid=os.geteuid(), gid=os.getegid())
        uid, gid = os.environ.get("SUDO_UID", ""), os.environ.get("SUDO_GID", "")
        if uid.isdecimal() and gid.isdecimal() and 0 < int(uid) < 2**32 - 1 and int(gid) > 0:
            return cls(uid=int(uid), gid=int(gid))
        nobody = pwd.getpwnam("nobody")
        return cls(uid=nobody.pw_uid, gid=nobody.pw_gid)


@valuetype
class Finished:
    """What a tool left: exit code, both streams, and whether the kernel confined it."""

    code: int
    output: bytes = field(repr=False)
    messages: str
    confined: bool


def run(
    command: Sequence[str],
    *,
    readable: Sequence[Path],
    identity: Identity,
    cwd: Path,
    environment: Mapping[str, str] | None = None,
    files: Sequence[int] = (),
    seconds: int = LIMITS.tool_seconds,
    most: int = LIMITS.object,
) -> Finished:
    """Run ``command``, whose first word is an absolute path.

    It reads ``readable`` and the system's own files and writes to its standard streams and
    the descriptors ``files`` only, and does not outlive this thread.  Raises BuildError when
    it takes more than ``seconds`` or writes more than ``most`` bytes.
    """
    tool = Path(command[0])
    prefix = tool.resolve().parent.parent
    places = [*_SYSTEM, *_DEVICES, *map(str, (prefix / "bin", prefix / "lib", *readable))]
    status_read, status_write = os.pipe()
    output, messages = os.memfd_create("output"), os.memfd_create("messages")
    try:
        code = _wait(
            [
                *(sys.executable, "-I", "-S", str(Path(confine.__file__))),
                *map(str, (os.getpid(), status_write, identity.uid, identity.gid, most)),
                *places,
                "--",
                *command,
            ],
            tool.name,
            cwd=cwd,
            env={"PATH": "/usr/bin:/bin", "LC_ALL": "C.UTF-8", **(environment or {})},
            streams=(output, messages),
            pass_fds=(status_write, *files),
            bounds=(seconds, most),
        )
        os.close(status_write)
        status_write = -1
        return Finished(
            code=code,
            output=_read(output, most),
            messages=_read(messages, LIMITS.tool_messages).decode(errors="replace"),
            confined=os.read(status_read, 64) == b"",
        )
    finally:
        for descriptor in (status_read, status_write, output, messages):
            if descriptor >= 0:
                os.close(descriptor)


def _wait(
    command: list[str],
    name: str,
    *,
    cwd: Path,
    env: dict[str, str],
    streams: tuple[int, int],
    pass_fds: tuple[int, ...],
    bounds: tuple[int, int],
) -> int:
    seconds, most = bounds
    with subprocess.Popen(
        command,
        stdin=subprocess.DEVNULL,
        stdout=streams[0],
        stderr=streams[1],
        cwd=cwd,
        env=env,
        pass_fds=pass_fds,
        start_new_session=True,
    ) as process:
        try:
            code = process.wait(timeout=seconds)
        except BaseException as e:
            # It may have ended of itself: waiting goes on for a moment after Ctrl-C.
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()
            if isinstance(e, subprocess.TimeoutExpired):
                raise BuildError(f"{name} took more than {seconds} s") from e
            raise
    if code == -signal.SIGXFSZ:
        raise BuildError(f"{name} wrote more than {most} bytes")
    return code


def _read(descriptor: int, most: int) -> bytes:
    """Return the first ``most`` bytes of a file in memory."""
    size = min(os.fstat(descriptor).st_size, most)
    return os.pread(descriptor, size, 0)
