"""Names of the functions that processes run."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Final

from bpfpack.runner.symbols.demangle import Demangler
from bpfpack.runner.symbols.frame import Frame
from bpfpack.runner.symbols.jit import JitMaps
from bpfpack.runner.symbols.mappings import Mapping, Mappings
from bpfpack.runner.symbols.tables import Tables

if TYPE_CHECKING:
    from bpfpack.runner.symbols.feed import TaskFeed

_VDSO: Final = "[vdso]"
#: What the file of a function is called that is in none.
_JIT: Final = "[jit]"


class UserSymbols:
    """Names for the addresses of processes.

    With ``follow`` the kernel tells from now on what processes map, where it can, so that also
    those that have ended have names, after `catch_up`.  ``feed`` is to be drained when it is
    readable.
    """

    def __init__(self, *, follow: bool = False, demangler: Demangler | None = None) -> None:
        self.feed: TaskFeed | None = None
        self._mappings = Mappings()
        if follow:
            self._follow()
        self._tables, self._jit = Tables(), JitMaps()
        self._demangler = demangler or Demangler()

    def _follow(self) -> None:
        from bpfpack.runner.attach.events import online
        from bpfpack.runner.symbols.feed import open_feed

        mappings = Mappings(fed=True)
        self.feed = open_feed(mappings, online())
        if self.feed is not None:
            self._mappings = mappings

    @property
    def lost(self) -> int:
        """What the kernel had no room to tell."""
        return 0 if self.feed is None else self.feed.lost

    def catch_up(self) -> None:
        """Learn of what the kernel told until now: of all stacks that were seen before."""
        if self.feed is not None:
            self.feed.drain()

    def look(self, pid: int) -> None:
        """Remember what a process has mapped, for when it has ended."""
        self._mappings.look(pid)

    def frames(self, pid: int, addresses: Sequence[int]) -> tuple[Frame, ...]:
        """Return what is at the addresses of a stack, the innermost first.

        All but the first are where calls return to.
        """
        if not self._mappings.known(pid):
            self._mappings.look(pid)
        return tuple(self._frame(pid, address, i > 0) for i, address in enumerate(addresses))

    def close(self) -> None:
        """Let go of the kernel's rings and of the process that demangles."""
        if self.feed is not None:
            self.feed.close()
        self._demangler.close()

    def _frame(self, pid: int, address: int, called: bool) -> Frame:
        mapping = self._mappings.find(pid, address)
        if mapping is not None and (found := self._in_file(pid, mapping, address, called)):
            return Frame(address, self._demangler.name(found[0]), found[1], mapping.name)
        if made := self._jit.find(pid, address - called):
            return Frame(address, made[0], made[1] + called, _JIT)
        return Frame(address, file=None if mapping is None else mapping.name)

    def _in_file(
        self, pid: int, mapping: Mapping, address: int, called: bool
    ) -> tuple[str, int] | None:
        if mapping.name == _VDSO:
            functions = self._tables.vdso(mapping.end - mapping.start)
        else:
            functions = self._tables.of(mapping.file, pid, self._mappings.roots(pid))
        if functions is None:
            return None
        return functions.find(address - mapping.start + mapping.offset, called=called)
