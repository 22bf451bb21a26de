"""The functions of mapped files, each read once for all who have it mapped."""

import os
import time
from collections import OrderedDict
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Final
from weakref import WeakValueDictionary

from bpfpack.runner.attach.attachments import FileIdentity, Located
from bpfpack.runner.attach.files import identity, opened
from bpfpack.runner.attach.symbols import ElfFile
from bpfpack.runner.symbols.debugfiles import in_memory, stripped_symbols
from bpfpack.runner.symbols.functions import FileFunctions, FunctionTable, Symbols
from bpfpack.runner.symbols.mappings import MappedFile
from bpfpack.spec.errors import KernelError, SpecError, UsageError
from bpfpack.spec.limits import LIMITS

#: What a file costs beside its symbols, in bytes.
_PER_FILE: Final = 2048
#: Files of processes that are not looked for again.
_SEEN: Final = 8192
#: What /proc says behind the path of a file that has been removed.
_DELETED: Final = " (deleted)"


class Tables:
    """The functions of files; those used longest ago are forgotten first.

    A file is known by what it is, not by what it calls itself: a build ID is what its maker
    wrote, and says only which of several files is the one that was mapped.
    """

    def __init__(self) -> None:
        self._files: OrderedDict[FileIdentity, FileFunctions | None] = OrderedDict()
        self._tables: WeakValueDictionary[bytes, FunctionTable] = WeakValueDictionary()
        self._seen: OrderedDict[tuple[int, MappedFile], FileIdentity] = OrderedDict()
        self._vdso: FileFunctions | None = None
        self._spent = 0.0

    def of(self, file: MappedFile, pid: int, roots: Iterable[str]) -> FileFunctions | None:
        """The functions of a file that a process has mapped, None for one without.

        ``roots`` are directories that its path may begin at; where the file is in none of them
        any more, one of its build ID will do.
        """
        if file.path is None:
            return None
        known = self._seen.get((pid, file))
        if known is not None and known in self._files:
            self._files.move_to_end(known)
            return self._files[known]
        tried = [file.root] if file.root is not None else []
        tried += [root for root in roots if root not in tried]
        for place in _places(file.path, pid, tried):
            try:
                with opened(place) as fd:
                    key = identity(fd)
                    if self._is(file, fd, key):
                        self._see(pid, file, key)
                        return self._functions(fd, key, file.path, tried)
            except (UsageError, KernelError, SpecError):
                continue
        return self._named(file.build_id)

    def vdso(self, size: int) -> FileFunctions | None:
        """The functions that the kernel maps into all processes of our kind."""
        if self._vdso is None:
            self._vdso = _own_vdso(size)
        return self._vdso

    def _see(self, pid: int, file: MappedFile, key: FileIdentity) -> None:
        self._seen[pid, file] = key
        if len(self._seen) > _SEEN:
            self._seen.popitem(last=False)

    def _is(self, file: MappedFile, fd: int, key: FileIdentity) -> bool:
        """Whether an open file is the one that was mapped."""
        if file.build_id:
            if known := self._files.get(key):
                return known.build_id == file.build_id
            return ElfFile(fd).build_id() == file.build_id
        # File systems that stack others may add high bits.
        return not file.inode or (key.inode ^ file.inode) & 0xFFFFFFFF == 0

    def _functions(
        self, fd: int, key: FileIdentity, path: str, roots: list[str]
    ) -> FileFunctions | None:
        if key in self._files:
            self._files.move_to_end(key)
            return self._files[key]
        if self._spent > LIMITS.stack_seconds:
            return None
        began = time.thread_time()
        self._files[key] = found = self._read(fd, path, roots)
        self._spent += time.thread_time() - began
        while len(self._files) > 1 and self._size() > LIMITS.stack_tables:
            self._files.popitem(last=False)
        return found

    def _read(self, fd: int, path: str, roots: list[str]) -> FileFunctions | None:
        try:
            elf = ElfFile(fd)
            for symbols in _sources(elf, path, roots):
                table = self._table(symbols)
                if table.count:
                    return FileFunctions(table, elf.code, elf.build_id())
        except SpecError:
            pass  # a file that says nothing, or nothing that can be believed
        return None

    def _table(self, symbols: Symbols) -> FunctionTable:
        """A table, which is the same for files of the same symbols."""
        digest = symbols.digest
        table = self._tables.get(digest)
        if table is None:
            self._tables[digest] = table = FunctionTable(symbols)
        return table

    def _named(self, build_id: bytes) -> FileFunctions | None:
        """The functions of that build ID, unless two files that differ claim it."""
        if not build_id:
            return None
        found = [f for f in self._files.values() if f is not None and f.build_id == build_id]
        return found[0] if len({id(f.table) for f in found}) == 1 else None

    def _size(self) -> int:
        tables = {id(f.table): f.table.size for f in self._files.values() if f is not None}
        return sum(tables.values()) + _PER_FILE * len(self._files)


def _places(path: str, pid: int, roots: list[str]) -> Iterator[Located]:
    for root in roots:
        yield Located(root=root, path=path)
    if path.endswith(_DELETED):
        yield Located(root="/", path=f"/proc/{pid}/exe")


def _sources(elf: ElfFile, path: str, roots: list[str]) -> Iterator[Symbols]:
    """Tables of symbols, the one that tells most first."""
    if (own := Symbols.of(elf, exported=False)) is not None:
        yield own
    if (stripped := stripped_symbols(elf, path, roots)) is not None:
        yield stripped
    if (exported := Symbols.of(elf, exported=True)) is not None:
        yield exported


def read_functions(fd: int, path: str = "", roots: Iterable[str] = ()) -> FileFunctions | None:
    """Return the functions of an open file, None when it says none that can be read."""
    return Tables()._read(fd, path, list(roots))


def _own_vdso(size: int) -> FileFunctions | None:
    """That of this process, None when another's of ``size`` is of another kind."""
    try:
        with Path("/proc/self/maps").open("rb") as maps:
            line = next(line for line in maps if line.endswith(b"[vdso]\n"))
        start, end = (int(address, 16) for address in line.split()[0].split(b"-"))
        if end - start != size:
            return None
        with Path("/proc/self/mem").open("rb", buffering=0) as memory:
            data = os.pread(memory.fileno(), size, start)
    except (OSError, StopIteration):
        return None
    with in_memory(data) as fd:
        return read_functions(fd)
