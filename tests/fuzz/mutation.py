"""Damages real inputs: bytes, JSON documents, objects; one seed, one damage."""

import copy
import json
import random
import struct
from collections.abc import Callable, Sequence
from typing import Any, Final

from bpfpack.spec.elf import Elf
from bpfpack.spec.errors import SpecError

_WORDS: Final = (0, 1, 2, 0x7F, 0x80, 0xFF, 0x7FFF, 0xFFFF, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF)
_STRINGS: Final = (
    "",
    "\x00",
    "\x1b]52;c;aGk=\x07",
    "\u202e\u200b",
    "\ud800",
    "a" * 300,
    "../../etc/passwd",
    "sha256:" + "0" * 64,
    "sha512:" + "f" * 128,
    "r.example/other:1",
    "latest",
    "-1",
    "1e999",
    "[bold]x[/bold]",
)
_VALUES: Final[tuple[Any, ...]] = (
    *(None, True, False, 0, 1, -1, 2**31, 2**63, 2**64, -(2**63), 10**400, 0.5, 1e300),
    *([], {}, [[]], [None] * 2000, {"a": {}}),
    *_STRINGS,
)

# What grows further with each change would fill the memory.
_LARGE, _LONG = 1 << 14, 64


class Mutator:
    """One source of damage."""

    def __init__(self, seed: object) -> None:
        self._random = random.Random(str(seed))
        self.choose = self._random.choice
        self.chance = self._random.random
        self.below = self._random.randrange

    def bytes_(self, data: bytes, within: tuple[int, int] | None = None) -> bytes:
        """Change some bytes, of a part when ``within`` says so."""
        found = bytearray(data)
        start, end = within or (0, len(data))
        for _ in range(self.choose((1, 1, 1, 2, 4, 16))):
            if end <= start or not found:
                break
            at = min(start + self.below(end - start), len(found) - 1)
            self._change(found, at)
        return bytes(found)

    def _change(self, data: bytearray, at: int) -> None:
        what = self.below(8)
        if what < 2:
            data[at] ^= 1 << self.below(8)
        elif what < 3:
            data[at] = self.below(256)
        elif what < 5:
            order = self.choose(("<I", ">I", "<H", "<Q"))
            word = struct.pack(order, self.choose(_WORDS) & (0xFFFF if order == "<H" else -1))
            data[at : at + len(word)] = word
        elif what < 6:
            other = self.below(len(data))
            data[at : at + 4], data[other : other + 4] = data[other : other + 4], data[at : at + 4]
        elif what < 7:
            del data[at : at + self.choose((1, 4, 512, 4096))]
        else:
            piece = data[at : at + self.choose((1, 8, 512))]
            data[at:at] = piece * self.choose((1, 2, 16))

    def cut(self, data: bytes) -> bytes:
        """Leave the end out."""
        return data[: self.below(len(data) + 1)]

    def document(self, data: bytes) -> bytes:
        """Change a JSON document in one to three places; now and then its bytes."""
        if self.chance() < 0.15 or len(data) > _LARGE:
            return self.bytes_(data)
        found = json.loads(data)
        for _ in range(self.choose((1, 1, 2, 3))):
            found = self._document(found)
        text = json.dumps(found, separators=(",", ":"))
        if self.chance() < 0.05:
            return self._odd_text(text)
        return text.encode()

    def _document(self, document: Any) -> Any:
        places = _places(document)
        if not places:
            return self.choose(_VALUES)
        holder, key = self.choose(places)
        what = self.below(7)
        if what < 2:
            holder[key] = copy.deepcopy(self.choose(_VALUES))
        elif what < 3:
            del holder[key]
        elif what < 4:
            other, from_ = self.choose(places)
            holder[key] = copy.deepcopy(other[from_])
        elif what < 5 and isinstance(holder, dict):
            holder[self.choose((*_STRINGS, str(key).upper(), f"{key}s"))] = copy.deepcopy(
                holder[key]
            )
        elif what < 6 and isinstance(holder[key], str):
            holder[key] = self._string(holder[key])
        elif isinstance(holder, list) and len(holder) < _LONG:
            holder += copy.deepcopy(holder) * self.choose((1, 2, 70))
        return document

    def _string(self, text: str) -> str:
        at = self.below(len(text) + 1)
        return text[:at] + self.choose((*_STRINGS, "/", ":", "@", "%", " ", "\n")) + text[at:]

    def _odd_text(self, text: str) -> bytes:
        odd: tuple[Callable[[], str], ...] = (
            lambda: text + text,
            lambda: "[" * 5000 + text,
            lambda: text.replace("{", '{"a":1,"a":2,', 1),
            lambda: text.replace(":", ": 1" + "0" * 5000 + ",", 1),
            lambda: "\ufeff" + text,
            lambda: text.replace('"', "'"),
        )
        return self.choose(odd)().encode()

    def object(self, data: bytes) -> bytes:
        """Change an object where it has an effect: in its headers and in one of its sections."""
        if self.chance() < 0.1:
            return self.cut(data)
        return self.bytes_(data, self.choose(spans(data)))


def spans(data: bytes) -> Sequence[tuple[int, int]]:
    """The parts of an object that somebody reads: headers, and each section."""
    table = int.from_bytes(data[40:48], "little")
    found = [(0, 64), (table, len(data))]
    try:
        sections = Elf.parse(data).sections
    except SpecError:  # damaged before
        return [*found, (0, len(data))]
    for section in sections:
        at = data.find(section.data) if section.data else -1
        if at > 0:
            found.append((at, at + len(section.data)))
    return found


def _places(value: Any) -> list[tuple[Any, Any]]:
    """Every place inside a document at which something stands."""
    found: list[tuple[Any, Any]] = []
    entries: Any = ()
    if isinstance(value, dict):
        entries = value.items()
    elif isinstance(value, list):
        entries = enumerate(value)
    for key, inner in entries:
        found += [(value, key), *_places(inner)]
    return found
