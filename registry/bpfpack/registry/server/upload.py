"""One unfinished upload: a file that grows, and the hash of what is in it.

The file alone is the state.  After a restart its size is the offset and it is hashed once
more when it is finished, as it is when the digest turns out to be of another algorithm
than the running hash.
"""

import asyncio
import hashlib
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final, Protocol

from bpfpack.registry.owned import mapped
from bpfpack.registry.server import files
from bpfpack.spec.digest import Digest
from bpfpack.spec.errors import DigestMismatch

_REHASH_CHUNK: Final = 1 << 20


class Run(Protocol):
    """Runs something that blocks, off the event loop."""

    async def __call__(self, work: Callable[[], None], /) -> None: ...


class DiskUpload:
    """An upload below a data directory; ``finish`` gives the file its name as a blob."""

    def __init__(
        self, path: Path, algorithm: str, run: Run, finish: Callable[[Digest, int], None]
    ) -> None:
        """Take up the file at ``path``; raises FileNotFoundError."""
        self.path, self.lock, self.gone = path, asyncio.Lock(), False
        self._offset = path.stat().st_size
        self._algorithm, self._hash = algorithm, hashlib.new(algorithm)
        self._hashed = 0
        self._run, self._finish = run, finish

    @property
    def offset(self) -> int:
        """How many bytes are here."""
        return self._offset

    async def write(self, chunks: Sequence[bytes]) -> None:
        """Append; raises StoreError."""
        await self._run(lambda: self._write(chunks))

    async def truncate(self, offset: int) -> None:
        """Forget what came after ``offset``; raises StoreError."""
        await self._run(lambda: self._truncate(offset))

    async def commit(self, digest: Digest) -> None:
        """Make it a blob; raises DigestMismatch, StoreError.  It is gone in both cases."""
        await self._run(lambda: self._commit(digest))

    async def abort(self) -> None:
        """Forget it altogether."""
        await self._run(self.remove)

    def remove(self) -> None:
        """Delete the file (blocking)."""
        self.gone = True
        self.path.unlink(missing_ok=True)

    def _write(self, chunks: Sequence[bytes]) -> None:
        with mapped(str(self.path)), self.path.open("r+b") as file:
            file.seek(self._offset)
            for chunk in chunks:
                file.write(chunk)
        for chunk in chunks:
            if self._hashed == self._offset:
                self._hash.update(chunk)
                self._hashed += len(chunk)
            self._offset += len(chunk)

    def _truncate(self, offset: int) -> None:
        with mapped(str(self.path)):
            os.truncate(self.path, offset)
        self._offset = offset
        if self._hashed > offset:
            self._hash, self._hashed = hashlib.new(self._algorithm), 0

    def _commit(self, digest: Digest) -> None:
        try:
            with mapped(str(self.path)):
                found = self._digest(digest.algorithm)
                if found != digest:
                    raise DigestMismatch(f"the upload is {found}, not {digest}")
                # A write that failed half-way may have left more than was hashed.
                os.truncate(self.path, self._offset)
                files.sync_file(self.path)
                self._finish(digest, self._offset)
        finally:
            self.remove()

    def _digest(self, algorithm: str) -> Digest:
        if algorithm == self._algorithm and self._hashed == self._offset:
            return Digest(algorithm, self._hash.hexdigest())
        hasher, left = hashlib.new(algorithm), self._offset
        with self.path.open("rb") as file:
            while chunk := file.read(min(_REHASH_CHUNK, left)):
                hasher.update(chunk)
                left -= len(chunk)
        return Digest(algorithm, hasher.hexdigest())
