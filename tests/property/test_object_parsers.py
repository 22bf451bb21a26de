"""The law of parsers: a value or SpecError, nothing else, whatever the bytes.

Real objects with a few bytes changed get much deeper than random bytes do.
"""

import contextlib
import functools
from collections.abc import Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bpfpack.spec.btf import Btf, Struct, Union, Var
from bpfpack.spec.btfext import LineInfo
from bpfpack.spec.displays import FORMATS, FieldDisplay
from bpfpack.spec.elf import Elf
from bpfpack.spec.errors import SpecError
from bpfpack.spec.layout import members, size_of
from bpfpack.spec.objectspec import ObjectSpec
from bpfpack.spec.record import RecordLayout
from bpfpack.spec.sections import SECTION_NAMES, parse_section
from bpfpack.spec.targets import family, parse_target
from tests.kit.objects import CLANGS, TARGETS, compiled, linked, stripped


@functools.cache
def objects() -> list[bytes]:
    """The real objects that are then damaged."""
    paths = [compiled("everything", CLANGS[0], target) for target in TARGETS]
    paths += [stripped(paths[0]), linked(paths[0]), compiled("layout", CLANGS[2], TARGETS[1])]
    return [p.read_bytes() for p in paths]


def section_of(data: bytes, name: str) -> bytes:
    section = Elf.parse(data).section(name)
    assert section is not None
    return section.data


def everything(data: bytes) -> None:
    """Ask an object for all that it can be asked for."""
    with contextlib.suppress(SpecError):
        elf = Elf.parse(data)
        for section in elf.sections:
            with contextlib.suppress(SpecError):
                elf.relocations(section)
    try:
        spec = ObjectSpec.from_bytes(data)
    except SpecError:
        return
    for program in spec.programs:
        with contextlib.suppress(SpecError):
            spec.line_of(program.section, program.offset)
    if spec.btf is not None:
        # What is accepted is whole: libbpf would follow a reference to nothing.
        assert len([spec.btf[type_id] for type_id in range(len(spec.btf))]) == len(spec.btf)
        all_types(spec.btf)


def all_types(btf: Btf) -> None:
    """Ask BTF everything about every type."""
    with contextlib.suppress(SpecError):
        btf.validate()
    asked: tuple[Callable[[Btf, int], object], ...] = (
        Btf.__getitem__,
        Btf.spelling,
        Btf.tags_of,
        size_of,
        members,
    )
    for type_id in range(len(btf)):
        for ask in asked:
            with contextlib.suppress(SpecError):
                ask(btf, type_id)
        if btf.kind(type_id) in (Struct, Union, Var):
            with contextlib.suppress(SpecError):
                RecordLayout.of(btf, type_id)


@st.composite
def damaged(draw: st.DrawFn, originals: Callable[[], list[bytes]]) -> bytes:
    """A real input with some bytes replaced, and perhaps cut short or longer."""
    data = bytearray(draw(st.sampled_from(originals())))
    for _ in range(draw(st.integers(0, 6))):
        at = draw(st.integers(0, len(data) - 1))
        new = draw(st.sampled_from([b"\xff", b"\0", b"\xff\xff\xff\xff", b"\0\0\0\x80", b"\x01"]))
        new = draw(st.binary(min_size=1, max_size=4)) if draw(st.booleans()) else new
        data[at : at + len(new)] = new
    if draw(st.integers(0, 7)) == 7:
        del data[draw(st.integers(0, len(data))) :]
    return bytes(data) + draw(st.binary(max_size=8))


@given(data=st.binary(max_size=4096))
def test_random_bytes(data: bytes) -> None:
    everything(data)
    everything(b"\x7fELF\x02\x01\x01" + data)


@settings(max_examples=150, deadline=None)
@given(data=damaged(objects))
def test_damaged_objects(data: bytes) -> None:
    everything(data)


@settings(max_examples=150, deadline=None)
@given(data=damaged(lambda: [section_of(o, ".BTF") for o in objects()[:2]]))
def test_damaged_btf(data: bytes) -> None:
    for order in ("little", "big"):
        with contextlib.suppress(SpecError):
            all_types(Btf.parse(data, order))


@settings(max_examples=150, deadline=None)
@given(data=damaged(lambda: [section_of(objects()[0], ".BTF.ext")]))
def test_damaged_line_information(data: bytes) -> None:
    btf = Btf.parse(section_of(objects()[0], ".BTF"), "little")
    with contextlib.suppress(SpecError):
        lines = LineInfo.parse(data, btf, "little")
        for section in ("tp_btf/sched_wakeup", ".text"):
            for offset in (0, 8, 1 << 40):
                lines.line_of(section, offset)


@given(
    name=st.text(max_size=80) | st.builds("{}/{}".format, st.sampled_from(SECTION_NAMES), st.text())
)
def test_section_names(name: str) -> None:
    try:
        found = parse_section(name)
    except SpecError as e:
        assert e.path == (name,)
    else:
        assert found.target is None or name.endswith(found.target)
        assert name.isprintable()


@pytest.mark.parametrize("name", SECTION_NAMES)
def test_every_section_name_stands_alone(name: str) -> None:
    assert parse_section(name).autoload
    assert not parse_section(f"?{name}").autoload


@settings(max_examples=50, deadline=None)
@given(cut=st.floats(0, 1, exclude_max=True))
def test_a_truncated_object_is_refused(cut: float) -> None:
    """The section headers lie at the end, so nothing can be missing unnoticed."""
    for data in objects():
        with pytest.raises(SpecError):
            ObjectSpec.from_bytes(data[: int(len(data) * cut)])


DISPLAYS = st.builds(
    FieldDisplay,
    title=st.none() | st.text(max_size=5),
    format=st.none() | st.sampled_from(FORMATS) | st.text(max_size=5),
    hidden=st.booleans(),
    labels=st.dictionaries(st.integers(), st.text(max_size=5), max_size=2),
)
MEMBERS = st.sampled_from(
    [
        "when",
        "pid",
        "uid",
        "comm",
        "peer",
        "peer.port",
        "peer.address",
        "word",
        "octets",
        "low",
        "high",
        "flag",
        "verdict",
        "wide",
        "matrix",
        "name",
        "ratio",
        "callback",
        "rest",
    ]
)


@settings(max_examples=200, deadline=None)
@given(display=st.dictionaries(MEMBERS, DISPLAYS, max_size=3))
def test_any_display_of_an_event(display: dict[str, FieldDisplay]) -> None:
    btf = Btf.parse(section_of(objects()[0], ".BTF"), "little")
    event = btf.find(Struct, "event")
    assert event is not None
    try:
        layout = RecordLayout.of(btf, event, display)
    except SpecError as e:
        assert e.path
    else:
        for name, shown in display.items():
            found = [f for f in layout.fields if f"{f.name}.".startswith(f"{name}.")]
            assert all(f.hidden for f in found) or not shown.hidden
            assert all(f.format == shown.format for f in found) or not shown.format
        for f in layout.fields:
            assert f.flexible or f.offset + f.size <= layout.size


@given(section=st.sampled_from(sorted(SECTION_NAMES)), text=st.text(max_size=40))
def test_a_target_is_a_value_or_a_fault(section: str, text: str) -> None:
    with contextlib.suppress(SpecError):
        found = parse_target(parse_section(section), text)
        assert family(parse_section(section)) is not None
        assert text.isprintable() and found is not None
