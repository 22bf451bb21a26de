"""Writes the tables of ``bpfpack.spec.widths``: ``python -m tests.kit.unicodewidths``."""

import re
import textwrap
import unicodedata
from collections.abc import Callable, Sequence
from pathlib import Path

from bpfpack.spec import widths

#: EastAsianWidth.txt: what is not assigned yet is wide in these.
_IDEOGRAPHS = (
    *((0x3400, 0x4DBF), (0x4E00, 0x9FFF), (0xF900, 0xFAFF)),
    *((0x20000, 0x2FFFD), (0x30000, 0x3FFFD)),
)


def is_combining(c: str) -> bool:
    """Say whether a character takes no column."""
    return unicodedata.combining(c) != 0


def is_doubled(c: str) -> bool:
    """Say whether a character takes two."""
    if unicodedata.category(c) == "Cn":  # unassigned: Python to 3.11 calls these full width
        return any(first <= ord(c) <= last for first, last in _IDEOGRAPHS)
    return unicodedata.east_asian_width(c) in "WF" and not is_combining(c)


def ranges(has: Callable[[str], bool]) -> Sequence[tuple[int, int]]:
    """The ranges of code points that have something, both ends in them."""
    found: list[tuple[int, int]] = []
    for code in range(0x110000):
        if not has(chr(code)):
            continue
        if found and found[-1][1] == code - 1:
            found[-1] = (found[-1][0], code)
        else:
            found.append((code, code))
    return found


def _table(has: Callable[[str], bool]) -> str:
    words = [f"{a:x}" if a == b else f"{a:x}-{b:x}" for a, b in ranges(has)]
    lines = textwrap.wrap(" ".join(words), 92, break_on_hyphens=False)
    return "\n".join(f"    {line}" for line in lines)


def main() -> None:
    """Put the tables of this Python's Unicode into the module."""
    path = Path(widths.__file__)
    text = path.read_text()
    for name, has in (("_COMBINING", is_combining), ("_DOUBLED", is_doubled)):
        table = f'{name}: Final = """\n{_table(has)}\n"""'
        text = re.sub(rf'{name}: Final = """.*?"""', table, text, flags=re.DOTALL)
    text = re.sub(r"from Unicode [\d.]+\d", f"from Unicode {unicodedata.unidata_version}", text)
    path.write_text(text)


if __name__ == "__main__":
    main()
