"""Names of the functions that processes run."""

from collections import OrderedDict
from collections.abc import Sequence
from typing import Final

from bpfpack.runner.attach.attachments import Located
from bpfpack.runner.attach.files import identity, opened
from bpfpack.runner.symbols.frame import Frame
from bpfpack.runner.symbols.functions import FunctionTable, read_functions
from bpfpack.runner.symbols.mappings import Mapping, Mappings
from bpfpack.spec.errors import KernelError, UsageError
from bpfpack.spec.limits import LIMITS

#: What a file costs beside its symbols, in symbols.
_PER_FILE: Final = 100


class UserSymbols:
    """Names for the addresses of processes.

    The functions of a file are read once, whichever processes have it mapped; those used
    longest ago are forgotten when all together are too many.
    """

    def __init__(self) -> None:
        self._mappings = Mappings()
        self._tables: OrderedDict[object, FunctionTable | None] = OrderedDict()
        self._by_mapping: dict[tuple[bytes, str | None], object] = {}

    def look(self, pid: int) -> None:
        """Remember what a process has mapped, for when it has ended."""
        self._mappings.look(pid)

    def frames(self, pid: int, addresses: Sequence[int]) -> tuple[Frame, ...]:
        """Return what is at the addresses of a stack, the innermost first.

        All but the first are where calls return to.
        """
        if not self._mappings.known(pid):
            self.look(pid)
        return tuple(self._frame(pid, address, i > 0) for i, address in enumerate(addresses))

    def _frame(self, pid: int, address: int, called: bool) -> Frame:
        mapping = self._mappings.find(pid, address)
        if mapping is None:
            return Frame(address)
        table = self._table(mapping)
        offset = address - mapping.start + mapping.offset
        found = None if table is None else table.find(offset, called=called)
        if found is None:
            return Frame(address, file=mapping.name)
        return Frame(address, *found, mapping.name)

    def _table(self, mapping: Mapping) -> FunctionTable | None:
        """The functions of a mapped file.

        Device and inode tell files apart for as long as one of them is there; the file that
        is opened by its path is asked for its own, so that none is taken for another.
        """
        if mapping.file is None:
            return None
        key = (mapping.identity, mapping.name)
        known = self._by_mapping.get(key)
        if known is None or known not in self._tables:
            known = self._read(mapping.file, key)
            self._by_mapping[key] = known
        self._tables.move_to_end(known)
        return self._tables[known]

    def _read(self, file: Located, otherwise: object) -> object:
        """Have the functions of a file among the tables, and return under which key."""
        try:
            with opened(file) as fd:
                key = identity(fd)
                if key not in self._tables:
                    self._keep(key, read_functions(fd))
                return key
        except (UsageError, KernelError):
            self._keep(otherwise, None)
            return otherwise

    def _keep(self, key: object, table: FunctionTable | None) -> None:
        self._tables[key] = table
        while len(self._tables) > 1 and self._size() > LIMITS.stack_symbols:
            self._tables.popitem(last=False)

    def _size(self) -> int:
        return sum(_PER_FILE if t is None else _PER_FILE + t.count for t in self._tables.values())
