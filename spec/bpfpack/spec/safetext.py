"""The core of the one printer: text from outside, made safe for a terminal.

What could move the cursor, hide or reorder text, or start a line of its own is shown as an
escape (``\\xNN``, ``\\uNNNN``, ``\\UNNNNNNNN``): C0 and C1 controls, DEL, bidirectional
controls (CVE-2021-42574), zero-width and other invisible characters, line and paragraph
separators, lone surrogates.  Bytes that are not UTF-8 are shown as ``\\xNN``.
A backslash is left as it is: the result is for eyes, not for parsing.
"""

import re
from collections.abc import Iterator
from json.encoder import encode_basestring
from typing import Final

#: Longest text that `printable` shows unless told otherwise, in characters.
SHOWN: Final = 4096

# Unicode 15: the categories Cc, Cf, Cs, Zl and Zp, and what Default_Ignorable_Code_Point
# adds to them (fillers, variation selectors); U+FFFE and U+FFFF, which no YAML may contain.
_UNSAFE: Final = re.compile(
    "[\x00-\x1f\x7f-\x9f\xad\u034f\u0600-\u0605\u061c\u06dd\u070f\u0890\u0891\u08e2"
    "\u115f\u1160\u17b4\u17b5\u180b-\u180f\u200b-\u200f\u2028-\u202e\u2060-\u206f\u3164"
    "\ud800-\udfff\ufe00-\ufe0f\ufeff\uffa0\ufff0-\ufffb\ufffe\uffff"
    "\U000110bd\U000110cd\U00013430-\U0001343f\U0001bca0-\U0001bca3\U0001d173-\U0001d17a"
    "\U000e0000-\U000e0fff]"
)


def printable(text: str | bytes | bytearray | memoryview, limit: int = SHOWN) -> str:
    """Return one line that is safe to show, at most ``limit`` characters, cut with an ellipsis.

    >>> printable("a\\x1b[2Jb\\u202e")
    'a\\\\x1b[2Jb\\\\u202e'
    >>> printable(b"caf\\xc3\\xa9 \\xff")
    'café \\\\xff'
    >>> printable("abcdef", 4)
    'abc…'
    """
    if not isinstance(text, str):
        # Bytes beyond any that could be shown are not even decoded: 4 make a character.
        text = bytes(text[: 4 * limit + 4]).decode("utf-8", "backslashreplace")
    cut = text[: limit + 1]
    if not (cut.isascii() and cut.isprintable()):
        cut = _UNSAFE.sub(_escape, cut)
    return cut if len(cut) <= limit else cut[: max(limit - 1, 0)] + "…"[:limit]


def json_string(text: str) -> str:
    """Return ``text`` as a JSON string that is safe to show, whatever is in it.

    >>> json_string('say "hi"\x1b\u202e')
    '"say \\\\"hi\\\\"\\\\u001b\\\\u202e"'
    """
    quoted = encode_basestring(text)
    if quoted.isascii() and quoted.isprintable():
        return quoted
    return _UNSAFE.sub(_json_escape, quoted)


def unsafe_ranges() -> Iterator[tuple[int, int]]:
    """The code points that are escaped, both ends of a range in it.

    >>> next(unsafe_ranges())
    (0, 31)
    """
    inside = _UNSAFE.pattern[1:-1]
    for match in re.finditer("(.)-(.)|(.)", inside, re.DOTALL):
        first, last, single = match.groups()
        yield ord(first or single), ord(last or single)


def width(text: str) -> int:
    """The columns that printable ``text`` takes on a terminal.

    >>> width("abc"), width("日本"), width("e\\u0301")
    (3, 4, 1)
    """
    if text.isascii():
        return len(text)
    from bpfpack.spec.widths import columns  # few need it

    return sum(map(columns, text))


def fit(text: str, columns: int) -> str:
    """Cut printable ``text`` to at most ``columns`` columns, with an ellipsis when cut.

    >>> fit("日本語", 5)
    '日本…'
    """
    if width(text) <= columns:
        return text
    if text.isascii():
        return text[: max(columns - 1, 0)] + "…"[:columns]
    from bpfpack.spec.widths import columns as columns_of

    used = 0
    for i, c in enumerate(text):
        used += columns_of(c)
        if used > columns - 1:
            return text[:i] + "…"[:columns]
    return text


def _escape(match: re.Match[str]) -> str:
    code = ord(match[0])
    if code < 0x100:
        return f"\\x{code:02x}"
    return f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"


def _json_escape(match: re.Match[str]) -> str:
    code = ord(match[0])
    if code < 0x10000:
        return f"\\u{code:04x}"
    # RFC 8259, section 7: beyond the basic plane as a surrogate pair.
    code -= 0x10000
    return f"\\u{0xD800 + (code >> 10):04x}\\u{0xDC00 + (code & 0x3FF):04x}"
