"""Where in the source a tag, a global or a type stands, for messages.

It is read from the preprocessor's output, where the macros of bpfpack.h are spelled out and
each line knows its file.  Tags that the object turns out not to have are found here too:
a compiler drops those on what nothing refers to, silently.
"""

import ast
import re
import sys
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Final

from bpfpack.spec.value import valuetype

_MARKER: Final = re.compile(r'#\s+(\d+)\s+"((?:[^"\\]|\\.)*)"')
_TAG: Final = re.compile(r'btf_decl_tag\(((?:\s*"(?:[^"\\]|\\.)*")+)\s*\)')
#: A character by its number, or any other escape.
_UNIVERSAL: Final = re.compile(r"\\(?:[uU]((?<=u)[0-9a-fA-F]{4}|(?<=U)[0-9a-fA-F]{8})|.)")
_STRING: Final = re.compile(r'"(?:[^"\\]|\\.)*"')


@valuetype(kw_only=False)
class Place:
    """A line of a source; its file is relative to the project."""

    file: str
    line: int

    def __str__(self) -> str:
        return f"{self.file}:{self.line}"


class Places:
    """Lines of one preprocessed source that lie in the project ``root``."""

    def __init__(self, preprocessed: str, root: Path) -> None:
        self._lines = list(_project_lines(preprocessed, f"{root}/"))
        self._tags = list(_tags(self._lines))

    def tag(self, text: str) -> Place | None:
        """Return the first place of a tag."""
        return next((place for place, tag in self._tags if tag == text), None)

    def name(self, name: str) -> Place | None:
        """Return the first place of an identifier."""
        shape = re.compile(rf"(?<!\w){re.escape(name)}(?!\w)")
        return next((place for place, line in self._lines if shape.search(line)), None)

    def missing(self, present: Mapping[str, int]) -> dict[Place, str]:
        """Return the tags that are fewer in the object, ``present``, than here."""
        wanted = Counter(tag for _, tag in self._tags)
        return {p: tag for p, tag in self._tags if present.get(tag, 0) < wanted[tag]}


def _project_lines(text: str, root: str) -> Iterator[tuple[Place, str]]:
    file, number = "", 0
    for line in text.splitlines():
        if marker := _MARKER.match(line):
            file, number = marker[2], int(marker[1])
            continue
        if file.startswith(root) and line.strip():
            yield Place(file.removeprefix(root), number), line
        number += 1


def _tags(lines: list[tuple[Place, str]]) -> Iterator[tuple[Place, str]]:
    for place, line in lines:
        for match in _TAG.finditer(line):
            # A character may be spelled over two strings.
            said = b"".join(_unquoted(s) for s in _STRING.findall(match[1]))
            yield place, said.decode(errors="replace")


def _unquoted(literal: str) -> bytes:
    r"""Return what a C string literal says; Python's escapes are C's, near enough to search.

    >>> _unquoted(r'"\xe2\x80\xa6 \u2026"').decode()
    '… …'
    """
    plain = _UNIVERSAL.sub(_character, literal)
    ascii_only = b"".join(b"\\x%02x" % b if b > 0x7F else b"%c" % b for b in plain.encode())
    try:
        return bytes(ast.literal_eval(f"b{ascii_only.decode()}"))
    except (SyntaxError, ValueError):
        return literal[1:-1].encode()


def _character(escape: re.Match[str]) -> str:
    number = int(escape[1] or "0", 16)
    wrong = not escape[1] or 0xD800 <= number < 0xE000 or number > sys.maxunicode
    return escape[0] if wrong else chr(number)
