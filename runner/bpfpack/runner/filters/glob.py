"""Globs over bytes, in time linear in the text: ``*``, ``?`` and classes.

A pattern is a row of positions, each with the bytes that it takes; a state is how many were
taken, all states are the bits of one number (Baeza-Yates and Gonnet, "A new approach to text
searching", 1992), and each byte of the text moves all of them at once.  ``*`` lets a state
stay on any byte.  ``?`` and ``[!...]`` take a whole character of UTF-8: their first byte is
none that continues a character, and then the state stays on those that do.
"""

from typing import Final

from bpfpack.spec.errors import SpecError
from bpfpack.spec.value import valuetype

#: What fits into the 64 bits of the engine's states, with the one of nothing taken.
MOST: Final = 63
_CONTINUES: Final = frozenset(range(0x80, 0xC0))
_FIRST: Final = frozenset(range(256)) - _CONTINUES


@valuetype
class Glob:
    """A pattern, compiled.

    ``takes[byte]`` has the bit of each state that the byte leads to; ``stays`` those that stay
    on any byte, ``continues`` on those that continue a character; ``last`` is the state that
    has taken everything.
    """

    takes: tuple[int, ...]
    stays: int
    continues: int
    last: int

    def matches(self, text: bytes) -> bool:
        """Say whether the whole text is taken.

        >>> glob(b"s?h*[0-9]").matches(b"sshd-1"), glob(b"s?h").matches(b"sshd")
        (True, False)
        """
        states = 1
        for byte in text:
            stays = self.stays | (self.continues if byte in _CONTINUES else 0)
            states = ((states << 1) & self.takes[byte]) | (states & stays)
            if not states:
                return False
        return bool(states & self.last)


def glob(pattern: bytes) -> Glob:
    """Compile a pattern; raises SpecError for one that is none, or too long.

    A backslash makes the next byte a plain one.
    """
    positions, stays, continues, at = list[frozenset[int]](), 0, 0, 0
    while at < len(pattern):
        taken, wide, at = _position(pattern, at)
        if taken is None:
            stays |= 1 << len(positions)
            continue
        positions.append(taken)
        if len(positions) > MOST:
            raise SpecError(f"a pattern of more than {MOST} bytes")
        if wide:
            continues |= 1 << len(positions)
    takes = tuple(
        sum(1 << i + 1 for i, taken in enumerate(positions) if byte in taken) for byte in range(256)
    )
    return Glob(takes=takes, stays=stays, continues=continues, last=1 << len(positions))


def _position(pattern: bytes, at: int) -> tuple[frozenset[int] | None, bool, int]:
    """The bytes that one position takes (None for a star), whether they are a character's first
    ones, and where the next position begins."""
    byte = pattern[at : at + 1]
    if byte == b"*":
        return None, False, at + 1
    if byte == b"?":
        return _FIRST, True, at + 1
    if byte == b"[":
        return _class(pattern, at + 1)
    if byte == b"\\":
        at, byte = at + 1, pattern[at + 1 : at + 2]
        if not byte:
            raise SpecError("a backslash at the end of a pattern")
    return frozenset(byte), False, at + 1


def _class(pattern: bytes, at: int) -> tuple[frozenset[int], bool, int]:
    inverse = pattern[at : at + 1] in (b"!", b"^")
    begin = at = at + inverse
    found = set[int]()
    # A bracket that closes right after the one that opens is one of the characters.
    while pattern[at : at + 1] != b"]" or at == begin:
        if at == len(pattern):
            raise SpecError("a [ without its ]")
        low = high = pattern[at]
        at += 1
        if pattern[at : at + 1] == b"-" and pattern[at + 1 : at + 2] not in (b"", b"]"):
            high = pattern[at + 1]
            at += 2
        if low > high or high > 0x7F:
            raise SpecError("a class is made of ASCII characters and rising ranges")
        found.update(range(low, high + 1))
    if inverse:
        return _FIRST - found, True, at + 1
    return frozenset(found), False, at + 1


def plain(pattern: bytes) -> tuple[str, bytes] | None:
    """Return the cheaper test that says the same as a pattern, None where there is none.

    >>> plain(b"ssh*"), plain(b"*.so"), plain(b"*tmp*"), plain(b"a?")
    (('startswith', b'ssh'), ('endswith', b'.so'), ('contains', b'tmp'), None)
    """
    before, after = pattern.startswith(b"*"), pattern.endswith(b"*")
    inner = pattern.strip(b"*")
    if any(byte in inner for byte in b"*?[\\"):
        return None
    if before and after:
        return "contains", inner
    return ("endswith" if before else "startswith" if after else "=="), inner
