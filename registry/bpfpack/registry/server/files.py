"""Files that are whole or absent, also after a power cut."""

import os
from pathlib import Path


def sync_file(path: Path) -> None:
    """Make a file's bytes durable."""
    _sync(path, os.O_RDONLY)


def sync_directory(path: Path) -> None:
    """Make a directory's entries durable."""
    _sync(path, os.O_RDONLY | os.O_DIRECTORY)


def publish(source: Path, target: Path) -> None:
    """Rename a durable file to its final name, durably; raises OSError.

    The name's directory is made when it is missing; the one above it must be there.
    """
    if not target.parent.is_dir():
        target.parent.mkdir(mode=0o700, exist_ok=True)
        sync_directory(target.parent.parent)
    source.replace(target)
    sync_directory(target.parent)


def _sync(path: Path, flags: int) -> None:
    descriptor = os.open(path, flags)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
