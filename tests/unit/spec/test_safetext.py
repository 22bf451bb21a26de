import json
import unicodedata

import pytest

from bpfpack.spec.safetext import fit, json_string, printable, width


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("plain ASCII ~", "plain ASCII ~"),
        ("café 日本 🙂", "café 日本 🙂"),
        ("tab\tnewline\nreturn\r", "tab\\x09newline\\x0areturn\\x0d"),
        ("\x1b[31m\x07\x7f", "\\x1b[31m\\x07\\x7f"),
        ("\x9b2J\x85", "\\x9b2J\\x85"),
        ("a\u202eb\u2066c\u200f", "a\\u202eb\\u2066c\\u200f"),
        ("a\u200bb\ufeffc\u00add", "a\\u200bb\\ufeffc\\xadd"),
        ("a\u2028b\u2029c", "a\\u2028b\\u2029c"),
        ("\ud800", "\\ud800"),
        ("\U000e0041\U000e0100", "\\U000e0041\\U000e0100"),
        ("\u3164\u115f", "\\u3164\\u115f"),
        ("back\\slash [red]markup[/]", "back\\slash [red]markup[/]"),
    ],
)
def test_what_could_disturb_a_terminal_is_escaped(text: str, shown: str) -> None:
    assert printable(text) == shown


def test_no_character_of_unicode_that_has_no_look_gets_through() -> None:
    for code in range(0x110000):
        c = chr(code)
        if unicodedata.category(c) in ("Cc", "Cf", "Cs", "Zl", "Zp"):
            assert printable(c).isascii(), hex(code)
            assert json_string(c).isascii(), hex(code)


@pytest.mark.parametrize("kind", [bytes, bytearray, memoryview])
def test_bytes_are_utf_8_or_shown_as_numbers(kind: type) -> None:
    assert printable(kind("é".encode() + b"\xff\xc3\x1b")) == "é\\xff\\xc3\\x1b"


@pytest.mark.parametrize(
    ("text", "limit", "shown"),
    [
        ("abc", 3, "abc"),
        ("abcd", 3, "ab…"),
        ("\n" * 10, 6, "\\x0a\\…"),
        ("abc", 1, "…"),
        ("abc", 0, ""),
        (b"\xff" * 10, 8, "\\xff\\xf…"),
        ("é".encode() * 5, 4, "ééé…"),
    ],
)
def test_text_is_capped_with_an_ellipsis(text: str | bytes, limit: int, shown: str) -> None:
    assert printable(text, limit) == shown


def test_much_text_is_not_even_looked_at() -> None:
    assert len(printable(b"\x1b" * 100_000_000, 10)) == 10


@pytest.mark.parametrize("text", ['"\\/\n\t', "\x7f\x9b\u202e", "é🙂", "\U000e0041", "\ud800"])
def test_json_strings_say_the_same_and_are_safe(text: str) -> None:
    quoted = json_string(text)
    assert json.loads(quoted) == text
    assert printable(quoted, 1000) == quoted


@pytest.mark.parametrize(
    ("text", "columns", "cut"),
    [
        ("abc", 3, "abc"),
        ("abcd", 3, "ab…"),
        ("日本", 4, "日本"),
        ("日本", 3, "日…"),
        ("日本", 2, "…"),
        ("e\u0301e\u0301", 2, "e\u0301e\u0301"),
        ("abc", 0, ""),
    ],
)
def test_text_is_cut_at_columns(text: str, columns: int, cut: str) -> None:
    assert fit(text, columns) == cut
    assert width(fit(text, columns)) <= columns
