"""A config that says something else than the object is refused, and says where."""

import functools
from typing import Any

import pytest

from bpfpack.spec.agreement import (
    check_config,
    display_of,
    event_layout,
    initial_value,
    key_value_layouts,
    option_type,
    record_type,
    type_name,
)
from bpfpack.spec.config import Config, EventType, Map, Output, Param, Program, Requirements
from bpfpack.spec.displays import FieldDisplay
from bpfpack.spec.errors import ConfigMismatch, SpecError
from bpfpack.spec.objectspec import ObjectSpec
from bpfpack.spec.value import replace
from tests.kit.kernelobjects import compile_text

SOURCE = """
struct inner { u32 port; };
struct open { u32 kind; u32 pid; struct inner to; };
struct close { u32 kind; u64 how; };
struct moved { u64 how; u32 kind; };
typedef struct { u32 pid; } anonymous;
struct longer { u32 how[5]; };
struct pair { u32 a, b; };
struct slots { u64 slots[8]; u64 total; };
struct { __uint(type, BPF_MAP_TYPE_RINGBUF); __uint(max_entries, 4096); } events SEC(".maps");
struct { __uint(type, BPF_MAP_TYPE_HASH); __uint(max_entries, 8);
	__type(key, u32); __type(value, struct slots); } sizes SEC(".maps");
struct { __uint(type, BPF_MAP_TYPE_PERF_EVENT_ARRAY); __uint(key_size, 4);
	__uint(value_size, 4); } perf SEC(".maps");
struct { __uint(type, BPF_MAP_TYPE_HASH); __uint(max_entries, 8);
	__uint(key_size, 4); __uint(value_size, 8); } bare SEC(".maps");
const volatile u32 limit = 7;
u32 changing = 1;
SEC("raw_tp/sys_enter") int probe(struct open *o)
{
	struct close c = {}; struct moved m = {}; anonymous a = {};
	bpf_ringbuf_output(&events, &c, sizeof c, 0);
	bpf_ringbuf_output(&events, &m, sizeof m, 0);
	bpf_ringbuf_output(&events, &a, sizeof a, 0);
	bpf_perf_event_output(o, &perf, BPF_F_CURRENT_CPU, &a, sizeof a);
	return limit + changing;
}
static int __attribute__((used)) keep(struct open *o, struct close *c, struct moved *m,
				anonymous *a) { return 0; }
static int __attribute__((used)) keep_more(struct longer *l, struct pair *p) { return 0; }
"""
EVENTS = Output(
    name="events",
    map="events",
    kind="events",
    types=(EventType(type="open", when=1), EventType(type="close", when=2)),
    discriminator="kind",
)
SIZES = Output(name="sizes", map="sizes", kind="histogram", scale="log2", slots="slots")
CONFIG = Config(
    name="test",
    programs=(Program(name="probe", section="raw_tp/sys_enter"),),
    maps=(
        Map(name="events", type="ringbuf", key_size=0, value_size=0, max_entries=4096),
        Map(name="sizes", type="hash", key_size=4, value_size=72, max_entries=8),
    ),
    params=(Param(variable="limit", option="limit", type="u32", default=7),),
    outputs=(EVENTS, SIZES),
    fields={"open": {"to.port": FieldDisplay(format="port")}},
    requirements=Requirements(byte_order="little"),
)


@functools.cache
def spec() -> ObjectSpec:
    """The object of `SOURCE`."""
    return ObjectSpec.from_bytes(compile_text(SOURCE))


def test_a_config_that_agrees() -> None:
    check_config(spec(), CONFIG)
    check_config(spec(), Config(name="silent"))


def test_types_in_a_perf_buffer_are_told_apart_by_their_padded_sizes() -> None:
    types = tuple(EventType(type=name) for name in ("anonymous", "open", "longer"))
    check_config(spec(), changed("outputs", map="perf", discriminator=None, types=types))


def changed(part: str, **to: Any) -> Config:
    """`CONFIG` with the first of its programs, maps, params or outputs changed."""
    first, *rest = getattr(CONFIG, part)
    parts: dict[str, Any] = {part: (replace(first, **to), *rest)}
    return replace(CONFIG, **parts)


@pytest.mark.parametrize(
    ("config", "message"),
    [
        (changed("programs", name="gone"), "'gone' is not in the object in 'programs[0]'"),
        (
            changed("programs", section="tp_btf/sys_enter"),
            "'tp_btf/sys_enter', and 'raw_tp/sys_enter' in the object in 'programs[0].section'",
        ),
        (changed("maps", name="gone"), "'gone' is not in the object in 'maps[0]'"),
        (changed("maps", type="hash"), "'hash', and 'ringbuf' in the object in 'maps[0].type'"),
        (changed("maps", key_size=4), "4, and 0 in the object in 'maps[0].keySize'"),
        (changed("maps", value_size=4), "4, and 0 in the object in 'maps[0].valueSize'"),
        (changed("maps", max_entries=1), "1, and 4096 in the object in 'maps[0].maxEntries'"),
        (changed("params", variable="gone"), "'gone' is not in the object in 'params[0]'"),
        (changed("params", variable="changing"), "'changing' is not in the object in 'params[0]'"),
        (changed("params", type="int"), "'int', and 'u32' in the object in 'params[0].type'"),
        (changed("params", default=8), "8, and 7 in the object in 'params[0].default'"),
        (changed("params", default=7.0), "7.0, and 7 in the object in 'params[0].default'"),
        (changed("params", default=True), "True, and 7 in the object in 'params[0].default'"),
        (changed("outputs", map="gone"), "'gone' is not in the object in 'outputs[0]'"),
        (
            changed("outputs", map="sizes"),
            "events cannot come from a hash map in 'outputs[0].map'",
        ),
        (
            changed("outputs", types=(EventType(type="gone"),)),
            "no such type in 'outputs[0].gone'",
        ),
        (
            changed("outputs", discriminator="pid"),
            "not at one place in all types in 'outputs[0].discriminator'",
        ),
        (
            changed("outputs", types=(EventType(type="open"), EventType(type="moved"))),
            "not at one place in all types in 'outputs[0].discriminator'",
        ),
        (
            changed(
                "outputs",
                discriminator=None,
                types=(EventType(type="close"), EventType(type="moved")),
            ),
            "types of one size need a discriminator in 'outputs[0].types'",
        ),
        (
            changed(
                "outputs",
                map="perf",
                discriminator=None,
                types=(EventType(type="open"), EventType(type="pair")),  # of 12 and 8 bytes
            ),
            "types of one size in a perf buffer need a discriminator in 'outputs[0].types'",
        ),
        (
            replace(CONFIG, outputs=(replace(SIZES, slots="total"),)),
            "not an array of counters in 'outputs[0].total'",
        ),
        (
            replace(CONFIG, outputs=(replace(SIZES, slots=None),)),
            "not an array of counters in 'outputs[0].value'",
        ),
        (
            replace(CONFIG, outputs=(replace(SIZES, kind="table", sort="gone"),)),
            "no such member in 'outputs[0].sort.gone'",
        ),
        (
            replace(CONFIG, outputs=(replace(SIZES, map="bare"),)),
            "map without key and value types in 'outputs[0]'",
        ),
        (
            replace(CONFIG, outputs=(replace(SIZES, map="events"),)),
            "histogram cannot come from a ringbuf map in 'outputs[0].map'",
        ),
        (
            replace(CONFIG, fields={"open": {"gone": FieldDisplay(format="hex")}}),
            "no such member in 'outputs[0].gone'",
        ),
        (
            replace(CONFIG, fields={"open": {"pid": FieldDisplay(format="path")}}),
            "uint of 4 bytes cannot be shown as path in 'outputs[0].pid'",
        ),
        (
            replace(CONFIG, fields={"gone": {"x": FieldDisplay(hidden=True)}}),
            "no such type in 'fields.gone'",
        ),
        (
            replace(CONFIG, requirements=Requirements(byte_order="big")),
            "object is little-endian in 'requirements'",
        ),
    ],
)
def test_a_config_that_contradicts(config: Config, message: str) -> None:
    with pytest.raises(ConfigMismatch) as caught:
        check_config(spec(), config)
    assert str(caught.value) == message


def test_an_object_without_types_shows_nothing() -> None:
    bare = replace(spec(), btf=None, maps=(), variables=())
    check_config(bare, Config(name="x", programs=CONFIG.programs))
    with pytest.raises(ConfigMismatch, match="no BTF"):
        check_config(bare, Config(name="x", fields={"a": {"b": FieldDisplay(hidden=True)}}))


def test_types_have_one_name_each_way() -> None:
    btf = spec().types("a test")
    for name in ("open", "anonymous"):
        type_id = record_type(btf, name)
        assert type_id is not None
        assert type_name(btf, type_id) == name
    (sizes,) = [m for m in spec().maps if m.name == "sizes"]
    assert sizes.key_type_id is not None and sizes.value_type_id is not None
    assert type_name(btf, sizes.value_type_id) == "slots"
    assert type_name(btf, sizes.key_type_id) == "u32"
    assert record_type(btf, "gone") is None


def test_layouts_take_their_displays_from_the_config() -> None:
    layout = event_layout(spec(), CONFIG, EVENTS.types[0])
    port = layout.field("to.port")
    assert port is not None and port.format == "port"
    btf = spec().types("a test")
    open_id = record_type(btf, "open")
    assert open_id is not None
    assert display_of(CONFIG, btf, open_id) == CONFIG.fields["open"]
    (sizes,) = [m for m in spec().maps if m.name == "sizes"]
    key, value = key_value_layouts(spec(), CONFIG, sizes)
    assert [f.name for f in key.fields] == ["key"]
    assert [f.name for f in value.fields] == ["slots", "total"]


def test_a_variable_that_is_no_option() -> None:
    btf = spec().types("a test")
    open_id = record_type(btf, "open")
    assert open_id is not None
    with pytest.raises(SpecError, match="struct open cannot be an option"):
        option_type(btf, open_id)
    (limit,) = [v for v in spec().variables if v.name == "limit"]
    with pytest.raises(SpecError, match="struct open cannot be an option"):
        initial_value(spec(), replace(limit, type_id=open_id))
