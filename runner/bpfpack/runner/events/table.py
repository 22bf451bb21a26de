"""Aligned columns for a terminal or a log."""

from collections.abc import Sequence
from typing import Final

from bpfpack.runner.events.rows import Column
from bpfpack.spec.safetext import fit, printable, width

#: Columns that no cell may make wider, so that one long path does not spread the rest.
_WIDEST: Final = 64


class Columns:
    """Widths that begin with what the type suggests and grow with what is seen.

    Numbers stand right, the rest left.  Lines are cut at ``terminal`` columns when that is
    given.
    """

    def __init__(self, columns: Sequence[Column], terminal: int | None) -> None:
        self._titles = [printable(c.field.title.upper(), _WIDEST) for c in columns]
        self._widths = [
            max(width(title), c.width) for title, c in zip(self._titles, columns, strict=True)
        ]
        self._right = [c.right for c in columns]
        self._terminal = terminal

    def header(self) -> str:
        """The line of titles."""
        return self.line(self._titles)

    def widen(self, cells: Sequence[str]) -> None:
        """Make room for a row that comes later."""
        for i, cell in enumerate(cells):
            self._widths[i] = max(self._widths[i], min(width(cell), _WIDEST))

    def line(self, cells: Sequence[str]) -> str:
        """One aligned line, without its newline."""
        self.widen(cells)
        padded = []
        for cell, room, right in zip(cells, self._widths, self._right, strict=True):
            space = " " * (room - width(cell))
            padded.append(space + cell if right else cell + space)
        text = " ".join(padded).rstrip(" ")
        return text if self._terminal is None else fit(text, self._terminal)
