"""Where the password of a key comes from; never the command line.

In this order: a file, a descriptor, the terminal, ``BPFPACK_PASSWORD``, ``COSIGN_PASSWORD``.
The two variables are removed from the environment, whichever source is used, so that no child
process inherits them.
"""

import os
from collections.abc import Callable, MutableMapping
from pathlib import Path
from typing import Final

from bpfpack.spec.errors import LimitExceeded, UsageError

VARIABLES: Final = ("BPFPACK_PASSWORD", "COSIGN_PASSWORD")
_MOST: Final = 4096


def obtain(
    environ: MutableMapping[str, str],
    *,
    file: Path | None = None,
    fd: int | None = None,
    prompt: Callable[[], str] | None = None,
    why: str = "the key has a password",
) -> bytes:
    """Return the password; an empty one is legal.

    ``prompt`` is given when there is a terminal to ask on.  A file or descriptor holds it in
    its first line; ``why`` says what it is for.  Raises UsageError when there is no source, or
    it cannot be read.
    """
    held = take(environ)
    if file is not None:
        return _first_line(_read_file(file))
    if fd is not None:
        return _first_line(_read_fd(fd))
    if prompt is not None:
        return prompt().encode()
    if held is not None:
        return held
    raise UsageError(f"{why}, and there is no terminal to ask for it").with_hint(
        "give --password-file FILE, --password-fd N, or set BPFPACK_PASSWORD"
    )


def take(environ: MutableMapping[str, str]) -> bytes | None:
    """Remove the variables from the environment and return the first that was set."""
    found = [environ.pop(name, None) for name in VARIABLES]
    return next(
        (text.encode("utf-8", "surrogateescape") for text in found if text is not None), None
    )


def _read_file(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            return file.read(_MOST + 1)
    except OSError as e:
        raise UsageError(f"cannot read the password file {path}: {e.strerror}") from e


def _read_fd(fd: int) -> bytes:
    data = b""
    try:
        while len(data) <= _MOST and (chunk := os.read(fd, _MOST + 1 - len(data))):
            data += chunk
    except OSError as e:
        raise UsageError(f"cannot read the password from descriptor {fd}: {e.strerror}") from e
    return data


def _first_line(data: bytes) -> bytes:
    line = data.partition(b"\n")[0].removesuffix(b"\r")
    if len(line) > _MOST:
        raise LimitExceeded(f"a password of more than {_MOST} bytes")
    return line
