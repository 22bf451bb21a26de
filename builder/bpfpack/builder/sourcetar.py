"""The sources of a package as one archive, the same bytes for the same files."""

import gzip
import io
import tarfile
from collections.abc import Mapping
from pathlib import Path


def source_archive(files: Mapping[Path, bytes], epoch: int) -> bytes:
    """Return a tar, compressed, of ``files``, all as of ``epoch``."""
    packed = io.BytesIO()
    with (
        gzip.GzipFile(fileobj=packed, mode="wb", filename="", mtime=epoch) as compressed,
        tarfile.open(fileobj=compressed, mode="w", format=tarfile.PAX_FORMAT) as archive,
    ):
        for name, data in sorted(files.items()):
            member = tarfile.TarInfo(str(name))
            member.size, member.mtime, member.mode = len(data), epoch, 0o644
            archive.addfile(member, io.BytesIO(data))
    return packed.getvalue()
