"""``-o arrow`` and ``-o parquet``: events as columns, in a stream or in a file of their own."""

import os
import stat
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Final, Literal

from bpfpack.spec.errors import BpfpackError, SpecError, UsageError

if TYPE_CHECKING:
    from bpfpack.runner.columns.streams import ColumnOutput
    from bpfpack.runner.events.formatter import EventOutput

Columnar = Literal["arrow", "parquet"]
#: What a new file may be, but for what the umask takes away.
_MODE: Final = 0o666


def check(shape: Columnar, path: str | None) -> None:
    """Raise UsageError without pyarrow, or for Parquet without a file."""
    from bpfpack.runner.columns.library import load

    load(f"-o {shape}")
    if shape == "parquet" and (path is None or path == "-" or _is_special(path)):
        raise UsageError("-o parquet writes a regular file").with_hint(
            "-f FILE names it; -o arrow goes through pipes"
        )


def _is_special(path: str) -> bool:
    try:
        return not stat.S_ISREG(os.stat(path).st_mode)  # noqa: PTH116 - as the run opens it
    except OSError:
        return False  # it is not there yet, or opening it tells what is wrong


def column_output(shape: Columnar, about: "EventOutput") -> "ColumnOutput":
    """What writes an output; raises UsageError for one that is no table."""
    from bpfpack.runner.columns.schema import schema_of
    from bpfpack.runner.columns.streams import ColumnOutput

    try:
        return ColumnOutput(shape, schema_of(about))
    except SpecError as e:
        raise UsageError(f"-o {shape}: {e}") from e


@contextmanager
def whole_file(path: str) -> Iterator[int]:
    """A descriptor of what becomes the file at ``path`` when all went well: it is never half there.

    Raises BpfpackError.
    """
    # A link stays one.
    final = Path(path).resolve()
    try:
        fd, name = tempfile.mkstemp(prefix=f".{final.name[:100]}.", dir=final.parent)
    except OSError as e:
        raise BpfpackError(f"cannot write {path}: {e.strerror}") from e
    try:
        yield fd
        _finish(fd, name, final)
    except OSError as e:
        raise BpfpackError(f"cannot write {path}: {e.strerror}") from e
    finally:
        os.close(fd)
        with suppress(FileNotFoundError):
            Path(name).unlink()


def _finish(fd: int, name: str, final: Path) -> None:
    # No fsync: gigabytes on their way to a disk would hold up the end that a signal asks for.
    os.fchmod(fd, _MODE & ~_umask())
    Path(name).replace(final)


def _umask() -> int:
    mask = os.umask(0o077)
    os.umask(mask)
    return mask
