"""SPEC.md says of names and tables what the code says."""

import re
from collections.abc import Iterator
from typing import Final

import pytest

from bpfpack.builder import tags, words
from bpfpack.runner.attach import events
from bpfpack.spec import displays, mediatypes
from bpfpack.spec.errors import SpecError
from bpfpack.spec.package import LAYER_LIMITS
from bpfpack.spec.sections import ATTACH_TYPES, PROG_TYPES, SECTION_NAMES, parse_section
from bpfpack.spec.targets import family
from tests.kit.vectors import SPEC

TEXT: Final = (SPEC / "SPEC.md").read_text()
#: A target of each form, and one that is not.
TARGETS: Final = {
    "none": (None, "x"),
    "a label": ("x-1", "a b"),
    "NAME": ("x", "a b"),
    "CATEGORY/NAME": ("a/b", "a"),
    "FUNCTION[+OFFSET]": ("f+0x10", "f+x"),
    "PATTERN": ("a*", "a b"),
    "FILE:FUNCTION": ("/bin/a:f", "/bin/a"),
    "FILE:PROVIDER:NAME": ("a:b:c", "a:b"),
}


def rows(heading: str) -> Iterator[list[str]]:
    """The cells of the first table below a heading or a clause, without its head."""
    below = TEXT[TEXT.index(f"\n{heading}") :]
    table = re.search(r"(?:^\|.*\n)+", below, re.MULTILINE)
    assert table is not None
    for line in table[0].splitlines()[2:]:
        yield [cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]]


def quoted(text: str) -> list[str]:
    """What stands between backquotes."""
    return re.findall(r"`([^`]+)`", text)


SECTIONS: Final = [
    (name, program, attach, form)
    for names, program, attach, form in rows("## Annex A")
    for name in quoted(names)
]


@pytest.mark.parametrize(("name", "program", "attach", "form"), SECTIONS)
def test_annex_a(name: str, program: str, attach: str, form: str) -> None:
    found = parse_section(name)
    assert PROG_TYPES[found.prog_type] == program
    known = None if found.attach_type is None else ATTACH_TYPES[found.attach_type]
    assert (known or "-") == attach
    assert found.sleepable == (name.endswith(".s") or name == "syscall")
    good, bad = TARGETS[form]
    if good is not None:
        target = parse_section(f"{name}/{good}").target
        assert target == (None if form == "a label" else good)
    with pytest.raises(SpecError):
        parse_section(f"{name}/{bad}")


def test_annex_a_is_complete() -> None:
    names = [name for name, *_ in SECTIONS]
    assert sorted(names) == sorted(SECTION_NAMES)


def test_annex_b() -> None:
    told = {on: (set(quoted(tag)), toml) for on, tag, toml in rows("## Annex B")}
    assert told["package"][0] == set(tags._PACKAGE)
    assert told["global"][0] == set(words.PARAM)
    assert told["member"][0] == set(words.FIELD)
    assert told["program"][0] == set(words.PROGRAM)
    assert told["output"][0] == set(tags._OUTPUT)
    assert set(quoted(told["output"][1])) - {"[outputs.NAME]"} == set(words.OUTPUT)


def test_formats() -> None:
    clause = TEXT[TEXT.index("\n7.5. ") : TEXT.index("\n7.6. ")]
    assert set(displays.FORMATS) <= set(quoted(clause))
    table = {word for row in rows("7.1. ") for word in quoted(row[0])}
    assert table == set(displays.FORMATS) - {"dec"}


def test_parts() -> None:
    sizes = {
        quoted(kind)[0]: int(most.removesuffix(" MiB")) << 20 for _, kind, most in rows("4.1. ")
    }
    assert sizes.pop(mediatypes.CONFIG) == 1 << 20
    assert sizes.items() <= LAYER_LIMITS.items()
    assert f"`{mediatypes.ARTIFACT}`" in TEXT


def test_annex_c() -> None:
    annex = TEXT[TEXT.index("## Annex C") :]
    told = annex[annex.index("EVENT is a name") : annex.index("FILE with")]
    assert set(quoted(told)) == set(events.EVENTS)
    programs = {name for row in rows("## Annex C") for name in quoted(row[0])}
    kinds = {parse_section(name).type for name in SECTION_NAMES if family(parse_section(name))}
    for kind in kinds:
        names = (kind, kind.replace("tcx/", "tc/"), f"{kind.partition('/')[0]}/…")
        assert programs & {*names, f"{kind.partition('/')[0]}/DIRECTION"}, kind
