"""Aligned columns for a terminal or a log."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Final

from bpfpack.runner.events.rows import Column
from bpfpack.spec.safetext import fit, printable, width

if TYPE_CHECKING:
    from bpfpack.runner.events.terminal import Screen

#: Columns that no cell may make wider, so that one long path does not spread the rest.
_WIDEST: Final = 64


class Columns:
    """Widths that begin with what the type suggests and grow with what is seen.

    Numbers stand right, the rest left.  Lines are cut where ``terminal`` ends when that
    is given.  Where rows are of several ``kinds``, these are a first column of their own.
    """

    def __init__(
        self,
        columns: Sequence[Column],
        terminal: "Screen | None",
        *,
        kinds: Sequence[str] = (),
    ) -> None:
        self._titles = [printable(c.field.title.upper(), _WIDEST) for c in columns]
        #: How wide each column is by now.
        self.widths = [
            max(width(title), c.width) for title, c in zip(self._titles, columns, strict=True)
        ]
        self._right = [c.right for c in columns]
        if kinds:
            self._titles.insert(0, "TYPE")
            self.widths.insert(0, min(_WIDEST, max(map(width, (*kinds, "TYPE")))))
            self._right.insert(0, False)
        self._terminal = terminal

    def header(self) -> str:
        """The line of titles."""
        return self.line(self._titles)

    def widen(self, cells: Sequence[str]) -> list[int]:
        """Make room for a row, now or later; return how wide its cells are."""
        sizes = [width(cell) for cell in cells]
        self.widths = [
            room if size <= room else max(room, min(size, _WIDEST))
            for size, room in zip(sizes, self.widths, strict=True)
        ]
        return sizes

    def line(self, cells: Sequence[str]) -> str:
        """One aligned line, without its newline."""
        sizes = self.widen(cells)
        padded = [
            " " * (room - size) + cell if right else cell + " " * (room - size)
            for cell, size, room, right in zip(cells, sizes, self.widths, self._right, strict=True)
        ]
        text = " ".join(padded).rstrip(" ")
        return text if self._terminal is None else fit(text, self._terminal.columns)
