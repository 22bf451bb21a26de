"""Whatever TOML and tags say of an object: a config, or one of our errors."""

import functools
from typing import Any

from hypothesis import example, given
from hypothesis import strategies as st

from bpfpack.builder import words
from bpfpack.builder.diagnosis import Diagnosis
from bpfpack.builder.metadata import make_metadata
from bpfpack.builder.release import Release
from bpfpack.builder.words import Said
from bpfpack.spec.config import Config
from bpfpack.spec.displays import CLOCKS, FORMATS
from bpfpack.spec.errors import BuildError, SpecError
from bpfpack.spec.objectspec import ObjectSpec
from tests.kit.kernelobjects import compile_text

SOURCE = """
enum mode { FAST = 1 };
struct inner { u32 port; };
struct first { u32 kind; enum mode mode; struct inner to; char text[8]; };
struct second { u32 kind; u64 how; };
struct slots { u64 slots[8]; };
struct { __uint(type, BPF_MAP_TYPE_RINGBUF); __uint(max_entries, 4096); } events SEC(".maps");
struct { __uint(type, BPF_MAP_TYPE_HASH); __uint(max_entries, 8);
	__type(key, struct inner); __type(value, struct slots); } sizes SEC(".maps");
const volatile u32 limit = 7;
const volatile enum mode mode;
SEC("raw_tp/sys_enter") int probe(void *ctx) { return limit + mode; }
static int __attribute__((used)) keep(struct first *a, struct second *b) { return 0; }
static int __attribute__((used, btf_decl_tag("bpfpack:events=events"),
				btf_decl_tag("bpfpack:TAG_WORDS_HERE____________")))
__bpfpack_type_events_0(struct first *__bpfpack_of) { return 0; }
"""
_WORD = b"bpfpack:TAG_WORDS_HERE____________"


@functools.cache
def object_() -> bytes:
    """The object of `SOURCE`."""
    return compile_text(SOURCE)


def _tagged(text: str) -> bytes:
    """The object with another word on its output."""
    raw = b"bpfpack:" + text.encode()
    raw = raw[: len(_WORD)].decode(errors="ignore").encode().ljust(len(_WORD), b"\0")
    data = object_().replace(_WORD, raw)
    assert data != object_()
    return data


_scalars = (
    st.none().map(lambda _: False)
    | st.booleans()
    | st.integers(-(2**65), 2**65)
    | st.floats()
    | st.text(max_size=12)
    | st.sampled_from(
        [
            *FORMATS,
            *CLOCKS,
            "log2",
            "linear",
            "exponential",
            "first",
            "second",
            "slots",
            "kind",
            "events",
        ]
    )
)
_values = st.recursive(
    _scalars,
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3)
    ),
    max_leaves=6,
)


def _table(names: tuple[str, ...], known: tuple[str, ...]) -> st.SearchStrategy[dict[str, Any]]:
    said = st.dictionaries(st.sampled_from(known), _values, max_size=4)
    return st.dictionaries(st.sampled_from(names), said, max_size=3)


_said = st.builds(
    Said,
    package=st.dictionaries(st.sampled_from(words.PACKAGE), _values, max_size=3),
    params=_table(("limit", "mode", "gone"), words.PARAM),
    programs=_table(("probe", "gone"), words.PROGRAM),
    outputs=_table(("events", "sizes", "gone"), words.OUTPUT),
    fields=st.dictionaries(
        st.sampled_from(["first", "second", "inner", "slots", "gone"]),
        _table(("kind", "mode", "to.port", "port", "text", "gone"), words.FIELD),
        max_size=2,
    ),
)


def _metadata(data: bytes, said: Said) -> Config | None:
    diagnosis = Diagnosis(subject="x.o", release=Release(said=said))
    try:
        return make_metadata(ObjectSpec.from_bytes(data), diagnosis, name="x").config
    except (BuildError, SpecError):
        return None


def test_the_object_itself_is_well_said() -> None:
    config = _metadata(_tagged("name=events"), Said())
    assert config is not None
    assert [o.name for o in config.outputs] == ["events"]


@given(_said)
@example(Said(outputs={"events": {"types": [["first"]]}}))
@example(Said(outputs={"events": {"type": ["first"]}}))
@example(Said(outputs={"events": {"map": {"a": 1}, "type": "first"}}))
@example(Said(fields={"first": {"kind": {"labels": {"x" * 5000: "y"}}}}))
@example(Said(params={"limit": {"choices": {"a": 2**70}}}))
@example(Said(params={"limit": {"option": []}}))
def test_any_toml(said: Said) -> None:
    config = _metadata(_tagged("name=events"), said)
    if config is not None:
        assert Config.from_bytes(config.to_bytes()) == config


@given(st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=20))
@example("by=")
@example("choices=a=" + "9" * 24)
@example("unit=\x1b[31m")
def test_any_tag(text: str) -> None:
    config = _metadata(_tagged(text), Said())
    if config is not None:
        assert Config.from_bytes(config.to_bytes()) == config
