"""Console blocks of Markdown documents, run as they stand and compared with what they show.

A line that begins with ``$ `` is a command; what follows it is its output, both streams
together.  Numbers, times and digests stand for any others, ``…`` for the rest of a line,
a line ``...`` for any lines, and a row that begins with a time of day for any such row.
Lines that ask for something are only seen on a terminal.  ``<!-- on another machine -->``
before a block changes the host from there on; a comment that begins with ``console`` holds
commands that a reader need not see, whose output is not looked at.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

ANOTHER: Final = "<!-- on another machine -->"
_FENCE: Final = re.compile(
    rf"^(?:{re.escape(ANOTHER)}|```console\n(?P<block>.*?)^```$"
    r"|<!-- console\n(?P<hidden>.*?)^-->$)",
    re.MULTILINE | re.DOTALL,
)
_ASKS: Final = re.compile(r"^(?:Password|The same again|Username).*:(?: \w+)?$")
_ROW: Final = re.compile(r"^\d\d:\d\d:\d\d(?:\.\d+)?\s")
_VOLATILE: Final = (
    (re.compile(r"(sha256|SHA256)[:-][0-9a-f]+"), r"\1:H"),
    (re.compile(r"\b[0-9a-f]{12}\b"), "H"),
    (re.compile(r"\d+(?:\.\d+)*"), "N"),
    (re.compile(r"[ \t]+"), " "),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """A command and what the document says it prints; ``host`` counts machines from 0."""

    command: str
    output: str | None
    host: int


def steps(markdown: str) -> Iterator[Step]:
    """Every command of a document, in order."""
    host = 0
    for found in _FENCE.finditer(markdown):
        block, hidden = found["block"], found["hidden"]
        if block is None and hidden is None:
            host += 1
            continue
        for part in re.split(r"^\$ ", block or hidden, flags=re.MULTILINE)[1:]:
            lines = part.splitlines()
            command = [lines.pop(0)]
            while command[-1].endswith("\\") and lines:
                command.append(lines.pop(0))
            shown = [line for line in lines if not _ASKS.match(line)]
            output = None if block is None else "\n".join(shown)
            yield Step(command="\n".join(command), output=output, host=host)


def normal(text: str) -> str:
    """Text without what differs from one run to the next."""
    return "\n".join(_line(line) for line in text.strip("\n").splitlines())


def _line(line: str) -> str:
    if _ROW.match(line):
        return "ROW"
    for pattern, put in _VOLATILE:
        line = pattern.sub(put, line)
    return line.strip()


def matches(expected: str, got: str) -> bool:
    """Whether ``got`` is what a document promises."""
    pattern = ""
    for line in normal(expected).splitlines():
        if line == "...":
            pattern += r"(?:.*\n)*?"
        else:
            pattern += ".*?".join(map(re.escape, line.split("…"))) + r"\n"
    text = normal(got)
    return re.fullmatch(pattern, f"{text}\n" if text else "") is not None
