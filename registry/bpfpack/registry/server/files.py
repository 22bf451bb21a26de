"""Files that are whole or absent, also after a power cut."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from bpfpack.spec.errors import StoreError


@contextmanager
def mapped(what: str) -> Iterator[None]:
    """Turn the operating system's errors into StoreError; ``what`` was being done."""
    try:
        yield
    except OSError as e:
        raise StoreError(f"cannot {what}: {e.strerror or e}") from e


def sync_file(path: Path) -> None:
    """Make a file's bytes durable."""
    _sync(path, os.O_RDONLY)


def sync_directory(path: Path) -> None:
    """Make a directory's entries durable."""
    _sync(path, os.O_RDONLY | os.O_DIRECTORY)


def publish(source: Path, target: Path) -> None:
    """Rename a durable file to its final name, durably; raises OSError."""
    if not target.parent.is_dir():
        target.parent.mkdir(parents=True, exist_ok=True)
        sync_directory(target.parent.parent)
    source.replace(target)
    sync_directory(target.parent)


def _sync(path: Path, flags: int) -> None:
    descriptor = os.open(path, flags)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
