"""Reads tar archives that anybody may have made: an index of members, nothing unpacked.

Python's tarfile believes what headers say about the size of other headers and follows
links; this reader takes regular files and directories of ustar, pax and GNU long names,
and refuses everything else.  Format: POSIX.1-2017, pax, "ustar Interchange Format".
"""

import re
from collections.abc import Mapping
from typing import Final, Protocol

from bpfpack.spec.errors import LimitExceeded, SpecError
from bpfpack.spec.limits import LIMITS
from bpfpack.spec.value import valuetype

BLOCK: Final = 512

_OCTAL: Final = re.compile(rb" *([0-7]+)[ \0]*")
_PAX_LENGTH: Final = re.compile(rb"([1-9][0-9]{0,5}) ")
_FILE, _DIRECTORY = b"0\0", b"5"
_PAX, _PAX_GLOBAL, _LONG_NAME = b"x", b"g", b"L"


class ReadsAt(Protocol):
    """Random access to the archive's bytes; short only at its end."""

    def read_at(self, offset: int, size: int) -> bytes: ...


@valuetype
class Member:
    """Where the bytes of one file are."""

    offset: int
    size: int


def index(archive: ReadsAt, total: int) -> Mapping[str, Member]:
    """Return every regular file of an archive of ``total`` bytes by its safe relative name.

    Raises SpecError: links, devices, names that leave the archive, duplicates, a member
    that ends after the archive does; LimitExceeded for too many of them.
    """
    return _Reader(archive, total).read()


class _Reader:
    """One pass over the headers."""

    def __init__(self, archive: ReadsAt, total: int) -> None:
        self._archive, self._total = archive, total
        self._found: dict[str, Member] = {}
        self._headers, self._offset = 0, 0
        # What an extension header said about the member after it.
        self._name: str | None = None
        self._size: int | None = None

    def read(self) -> Mapping[str, Member]:
        while (block := self._archive.read_at(self._offset, BLOCK)) and block.strip(b"\0"):
            self._headers += 1
            if self._headers > 2 * LIMITS.archive_members:
                raise LimitExceeded(f"more than {LIMITS.archive_members} members in the archive")
            self._member(block)
        if self._name is not None or self._size is not None:
            raise SpecError("the archive ends after an extension header")
        return self._found

    def _member(self, block: bytes) -> None:
        _check_header(block, first=self._headers == 1)
        kind = block[156:157]
        extension = kind in (_PAX, _PAX_GLOBAL, _LONG_NAME)
        stated = None if extension else self._size
        size = _number(block[124:136]) if stated is None else stated
        start = self._offset + BLOCK
        if start + size > self._total:
            raise SpecError("the archive is truncated")
        self._offset = start + -(-size // BLOCK) * BLOCK
        if extension:
            self._extension(kind, start, size)
            return
        name = self._name if self._name is not None else _header_name(block)
        self._name = self._size = None
        if kind == _DIRECTORY or (kind in _FILE and name.endswith("/")):
            _safe(name.rstrip("/") or ".")
        elif kind in _FILE:
            self._file(_safe(name), Member(offset=start, size=size))
        else:
            raise SpecError(f"{name[:80]!r} is neither a file nor a directory (type {kind!r})")

    def _file(self, name: str, member: Member) -> None:
        if name in self._found:
            raise SpecError(f"{name[:80]!r} is in the archive twice")
        self._found[name] = member

    def _extension(self, kind: bytes, start: int, size: int) -> None:
        if size > LIMITS.archive_header:
            raise LimitExceeded(f"an extension header of {size} bytes in the archive")
        data = self._archive.read_at(start, size)
        if kind == _LONG_NAME:
            self._name = _text(data.rstrip(b"\0"))
            return
        pairs = _pax(data)
        if any(key.startswith("GNU.sparse") for key in pairs):
            raise SpecError("a sparse file in the archive")
        if kind == _PAX_GLOBAL:
            if "path" in pairs or "size" in pairs:
                raise SpecError("a global header names a file")
            return
        self._name = pairs.get("path", self._name)
        if (text := pairs.get("size")) is not None:
            if not re.fullmatch(r"[0-9]{1,15}", text):
                raise SpecError("not a size in an extension header")
            self._size = int(text)


def _check_header(block: bytes, *, first: bool) -> None:
    """Raise SpecError for a header that does not hold; a ``first`` may be none at all."""
    if first and block[257:262] != b"ustar" and not _OCTAL.fullmatch(block[148:156]):
        raise SpecError("neither an OCI archive (tar) nor one in gzip")
    if len(block) < BLOCK:
        raise SpecError("the archive is truncated")
    if _number(block[148:156]) != sum(block) - sum(block[148:156]) + 8 * 0x20:
        raise SpecError("the archive is damaged: a header has a wrong checksum")


def _number(field: bytes) -> int:
    if field[0] == 0x80:  # GNU: base 256 for what octal cannot hold
        return int.from_bytes(field[1:], "big")
    if not field.strip(b" \0"):
        return 0
    if not (match := _OCTAL.fullmatch(field)):
        raise SpecError("not a number in a tar header")
    return int(match[1], 8)


def _header_name(block: bytes) -> str:
    name = block[:100].split(b"\0", 1)[0]
    prefix = block[345:500].split(b"\0", 1)[0] if block[257:263] == b"ustar\0" else b""
    return _text(prefix + b"/" + name if prefix else name)


def _text(data: bytes) -> str:
    try:
        return data.decode()
    except UnicodeDecodeError as e:
        raise SpecError("a member's name is not UTF-8") from e


def _pax(data: bytes) -> Mapping[str, str]:
    """Parse ``LENGTH KEY=VALUE\\n`` records; LENGTH counts the whole record."""
    pairs: dict[str, str] = {}
    while data:
        match = _PAX_LENGTH.match(data)
        length = int(match[1]) if match else 0
        if not match or not match.end() < length <= len(data) or data[length - 1] != 0x0A:
            raise SpecError("a malformed extension header in the archive")
        key, equals, value = data[match.end() : length - 1].partition(b"=")
        if not equals:
            raise SpecError("a malformed extension header in the archive")
        # Only these decide anything; others may hold bytes of any kind.
        if key in (b"path", b"size") or key.startswith(b"GNU.sparse"):
            pairs[_text(key)] = _text(value)
        data = data[length:]
    return pairs


def _safe(name: str) -> str:
    """Return the name without ``./``; raises SpecError when it could leave the archive."""
    plain = name
    while plain.startswith("./"):
        plain = plain[2:]
    parts = plain.split("/")
    if plain != "." and any(part in ("", ".", "..") or "\0" in part for part in parts):
        raise SpecError(f"an unsafe name in the archive: {name[:80]!r}")
    return plain
