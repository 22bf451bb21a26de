"""How large the terminal is that output goes to."""

import os
from typing import Final, Protocol

from bpfpack.spec.value import valuetype

#: For a terminal that does not know (it says 0 by 0) or that is gone.
_COLUMNS: Final = 80
_LINES: Final = 24


class Screen(Protocol):
    """A size, in characters."""

    @property
    def columns(self) -> int:
        """The longest line that is not broken in two."""
        ...

    @property
    def lines(self) -> int:
        """The lines that are seen at once."""
        ...


@valuetype
class Terminal:
    """A size that stays."""

    columns: int
    lines: int


class LiveTerminal:
    """The size of the terminal behind a descriptor, as it is at each moment: it may change."""

    def __init__(self, fd: int) -> None:
        self._fd = fd

    @property
    def columns(self) -> int:
        """See `Screen`."""
        return self._size()[0] or _COLUMNS

    @property
    def lines(self) -> int:
        """See `Screen`."""
        return self._size()[1] or _LINES

    def _size(self) -> tuple[int, int]:
        try:
            return os.get_terminal_size(self._fd)
        except OSError:  # hung up: nobody reads the next line
            return _COLUMNS, _LINES
