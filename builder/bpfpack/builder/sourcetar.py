"""The sources of a package as one archive, the same bytes for the same files."""

import gzip
import io
import tarfile
from collections.abc import Sequence
from pathlib import Path

from bpfpack.builder.release import FILE_NAME


def source_archive(project: Path, files: Sequence[Path], epoch: int) -> bytes:
    """Return a tar, compressed, of ``files`` and bpfpack.toml, all as of ``epoch``."""
    names = {*files, *([Path(FILE_NAME)] if (project / FILE_NAME).is_file() else [])}
    packed = io.BytesIO()
    with (
        gzip.GzipFile(fileobj=packed, mode="wb", filename="", mtime=epoch) as compressed,
        tarfile.open(fileobj=compressed, mode="w", format=tarfile.PAX_FORMAT) as archive,
    ):
        for name in sorted(names):
            data = (project / name).read_bytes()
            member = tarfile.TarInfo(str(name))
            member.size, member.mtime, member.mode = len(data), epoch, 0o644
            archive.addfile(member, io.BytesIO(data))
    return packed.getvalue()
