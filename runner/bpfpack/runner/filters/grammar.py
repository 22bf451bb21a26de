"""The language of ``--filter``: from text to a tree that knows no types yet.

    expression = and-part { ("or" | "||") and-part }
    and-part   = not-part { ("and" | "&&") not-part }
    not-part   = ("not" | "!") not-part | "(" expression ")" | test
    test       = "exists" "(" field ")"
               | field
               | field compare value
               | field ("in" | "not" "in") ( "(" value { "," value } ")" | value )
    compare    = "==" | "!=" | "<" | "<=" | ">" | ">=" | "~" | "!~"
               | "startswith" | "endswith" | "contains" | "has"
    value      = word { "|" word }

A word is a quoted string, in which a backslash escapes (``\\n``, ``\\t``, ``\\xNN``, itself,
quotes), or a bare one of letters, digits and ``. : / + - _ % @ * ? [ ] ^``.  What it means is for
the field to say that it is compared with.
"""

import re
from typing import Final, NamedTuple, TypeAlias

from bpfpack.spec.errors import UsageError
from bpfpack.spec.limits import LIMITS
from bpfpack.spec.safetext import printable, width
from bpfpack.spec.value import valuetype

#: Columns of an expression that an error shows around its place.
_AROUND: Final = 72
_SPACE: Final = re.compile(r"[ \t\r\n]*")
_FIELD: Final = re.compile(r"[A-Za-z_]\w*(?:\[[0-9]{1,9}\])*(?:\.\w+(?:\[[0-9]{1,9}\])*)*")
_WORD: Final = re.compile(r"[\w.:/+%@*?\[\]^-]+")
_COMPARE: Final = re.compile(
    r"==|!=|<=|>=|!~|<|>|~|(?:startswith|endswith|contains|has|in)\b|not\b(?=\s+in\b)"
)
_ESCAPES: Final = {"n": b"\n", "t": b"\t", "\\": b"\\", '"': b'"', "'": b"'"}
_KEYWORDS: Final = ("and", "or", "not", "in")


class Span(NamedTuple):
    """Where something stands in an expression, in characters."""

    at: int
    end: int


@valuetype
class Word:
    """One literal; ``data`` are its bytes, ``text`` the same as text for what is no string."""

    data: bytes
    text: str
    quoted: bool
    span: Span


@valuetype
class Name:
    """A field, by the name that it has in JSON."""

    text: str
    span: Span


@valuetype
class Compare:
    """A field and what it is compared with; each value is one word, or several joined by "|"."""

    name: Name
    operator: str
    values: tuple[tuple[Word, ...], ...]
    span: Span


@valuetype
class Exists:
    """Whether the record has the field."""

    name: Name


@valuetype
class Truth:
    """A field that is true or false itself."""

    name: Name


@valuetype
class Not:
    """The opposite."""

    part: "Node"


@valuetype
class Every:
    """All of them."""

    parts: "tuple[Node, ...]"


@valuetype
class Some:
    """One of them at least."""

    parts: "tuple[Node, ...]"


Node: TypeAlias = Compare | Exists | Truth | Not | Every | Some


def parse(text: str) -> Node:
    """Return the tree of an expression; raises UsageError with a caret under the place.

    >>> parse("pid > 1 and comm ~ 'ssh*'").parts[1].operator
    '~'
    """
    if len(text) > LIMITS.filter_text:
        raise UsageError(f"--filter: longer than {LIMITS.filter_text} characters")
    return _Parser(text).whole()


def refused(text: str, span: Span, why: str, hint: str = "") -> UsageError:
    """Return the error that shows the place in the expression that it is about.

    >>> print(refused("pid = 1", Span(4, 5), "no operator '='").hint)
    pid = 1
        ^
    """
    first = max(0, span.at - _AROUND // 2)
    last = min(len(text), max(span.end, first + _AROUND))
    before = ("…" if first else "") + printable(text[first : span.at])
    inside = printable(text[span.at : min(span.end, last)])
    after = printable(text[min(span.end, last) : last]) + ("…" if last < len(text) else "")
    marks = " " * width(before) + "^" + "~" * (width(inside) - 1)
    lines = [before + inside + after, marks, *([hint] if hint else [])]
    return UsageError(f"--filter: {why}").with_hint("\n".join(lines))


class _Parser:
    """Recursive descent, one character of look-ahead; depth and number of tests are bounded."""

    def __init__(self, text: str) -> None:
        self._text, self._at = text, 0
        self._depth = self._tests = 0

    def whole(self) -> Node:
        """The expression, to its end."""
        found = self._some()
        self._skip()
        if self._at < len(self._text):
            raise self._unexpected("and, or, or the end")
        return found

    def _some(self) -> Node:
        parts = [self._every()]
        while self._take(r"or\b|\|\|"):
            parts.append(self._every())
        return parts[0] if len(parts) == 1 else Some(parts=tuple(parts))

    def _every(self) -> Node:
        parts = [self._not()]
        while self._take(r"and\b|&&"):
            parts.append(self._not())
        return parts[0] if len(parts) == 1 else Every(parts=tuple(parts))

    def _not(self) -> Node:
        self._depth += 1
        if self._depth > LIMITS.filter_depth:
            raise self._refused(f"nested more than {LIMITS.filter_depth} deep")
        if self._take(r"not\b|!(?![=~])"):
            found: Node = Not(part=self._not())
        elif self._take(r"\("):
            found = self._some()
            self._need(r"\)", "and, or, or )")
        else:
            found = self._test()
        self._depth -= 1
        return found

    def _test(self) -> Node:
        self._count()
        if self._take(r"exists\s*\("):
            found = Exists(name=self._name())
            self._need(r"\)", ")")
            return found
        name = self._name()
        self._skip()
        begin = self._at
        match = _COMPARE.match(self._text, self._at)
        if match is None:
            if self._peek() == "=":
                raise self._refused("no operator '='", "equal is ==")
            return Truth(name=name)
        self._at = match.end()
        operator = match[0]
        if operator == "not":
            self._take(r"in\b")
            operator = "not in"
        span = Span(begin, self._at)
        return Compare(name=name, operator=operator, values=self._values(operator), span=span)

    def _values(self, operator: str) -> tuple[tuple[Word, ...], ...]:
        if operator not in ("in", "not in") or not self._take(r"\("):
            return (self._value(),)
        found = [self._value()]
        while self._take(","):
            self._count()
            found.append(self._value())
        self._need(r"\)", ", or )")
        return tuple(found)

    def _value(self) -> tuple[Word, ...]:
        words = [self._word()]
        while self._take(r"\|(?!\|)"):
            self._count()
            words.append(self._word())
        return tuple(words)

    def _word(self) -> Word:
        self._skip()
        quote = self._peek()
        if quote and quote in "\"'":
            return self._quoted(quote)
        match = _WORD.match(self._text, self._at)
        if match is None:
            raise self._unexpected("a value")
        span = Span(*match.span())
        if match[0] in _KEYWORDS:
            raise refused(
                self._text, span, "a value is missing", f'the word itself is "{match[0]}"'
            )
        self._at = match.end()
        return Word(data=self._encoded(match[0], span), text=match[0], quoted=False, span=span)

    def _quoted(self, quote: str) -> Word:
        begin, data = self._at, bytearray()
        self._at += 1
        while (char := self._peek()) != quote:
            if not char:
                raise refused(self._text, Span(begin, begin + 1), "no end of the quoted string")
            here = Span(self._at, self._at + 1)
            self._at += 1
            data += self._escaped() if char == "\\" else self._encoded(char, here)
        self._at += 1
        text = data.decode("utf-8", "replace")
        return Word(data=bytes(data), text=text, quoted=True, span=Span(begin, self._at))

    def _escaped(self) -> bytes:
        at, char = self._at, self._peek()
        if char in _ESCAPES:
            self._at += 1
            return _ESCAPES[char]
        digits = re.compile(r"x([0-9a-fA-F]{2})").match(self._text, at)
        if digits is None:
            raise refused(
                self._text, Span(at - 1, at + 1), "no such escape", r"there are \n \t \xNN \\ \" \'"
            )
        self._at = digits.end()
        return bytes.fromhex(digits[1])

    def _encoded(self, text: str, span: Span) -> bytes:
        """The bytes of text; those that were no UTF-8 on the command line are themselves."""
        try:
            return text.encode("utf-8", "surrogateescape")
        except UnicodeEncodeError as e:
            raise refused(self._text, span, "not a character") from e

    def _name(self) -> Name:
        self._skip()
        match = _FIELD.match(self._text, self._at)
        if match is None or match[0] in _KEYWORDS:
            raise self._unexpected("the name of a field")
        self._at = match.end()
        return Name(text=match[0], span=Span(*match.span()))

    def _count(self) -> None:
        self._tests += 1
        if self._tests > LIMITS.filter_tests:
            raise self._refused(f"more than {LIMITS.filter_tests} values")

    def _skip(self) -> None:
        match = _SPACE.match(self._text, self._at)
        self._at = match.end() if match else self._at

    def _peek(self) -> str:
        return self._text[self._at : self._at + 1]

    def _take(self, pattern: str) -> bool:
        self._skip()
        match = re.compile(pattern).match(self._text, self._at)
        if match is None:
            return False
        self._at = match.end()
        return True

    def _need(self, pattern: str, what: str) -> None:
        if not self._take(pattern):
            raise self._unexpected(what)

    def _unexpected(self, wanted: str) -> UsageError:
        self._skip()
        match = _WORD.match(self._text, self._at)
        found = match[0] if match else self._peek()
        what = f"not {printable(found, 40)!r}" if found else "and here it ends"
        span = Span(self._at, self._at + max(1, len(found)))
        return refused(self._text, span, f"{wanted} should stand here, {what}")

    def _refused(self, why: str, hint: str = "") -> UsageError:
        return refused(self._text, Span(self._at, self._at + 1), why, hint)
