"""What bpfpack.h says arrives in the config, whichever clang compiled it."""

from pathlib import Path

import pytest

from bpfpack.spec.config import Config, EventType, Map, Output, Param, Program, Requirements
from bpfpack.spec.displays import FieldDisplay
from bpfpack.spec.objectspec import ObjectSpec
from tests.kit.objects import CLANGS, tool
from tests.kit.sources import PROGRAM, RING, built, object_of

EVERYTHING = """
enum kind { OPENED = 3, CLOSED = -2 };
BPFPACK_ENUM(enum kind);
enum mode { FAST, SLOW = 5 };
#define FACTOR 4

struct opened {
	int kind;
	__u64 time BPFPACK_FIELD(title("WHEN"), format(timestamp), clock(boot), unit(us));
	union {
		__u32 addr BPFPACK_FIELD(format(ipv4), order(host));
		__u8 raw[4] BPFPACK_FIELD(hidden);
	};
	struct { __u16 port BPFPACK_FIELD(format("port")); } to;
};
struct closed {
	int kind BPFPACK_FIELD(labels("enum kind"));
	__u32 how BPFPACK_FIELD(labels("OPENED=open, 4=both halves"));
	enum mode mode;
};

struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 65536);
} events SEC(".maps");
BPFPACK_OUTPUT(events, struct opened, when(kind, OPENED));
BPFPACK_OUTPUT(events, struct closed, when(kind, CLOSED));

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct bpfpack_slots);
} sizes SEC(".maps");
BPFPACK_HISTOGRAM(sizes, linear(25 * FACTOR), unit(bytes), interval(500), name(packet_sizes));

struct tally { __u64 calls; };
struct who { __u32 pid; };
struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_HASH);
	__uint(max_entries, 100);
	__type(key, struct who);
	__type(value, struct tally);
} counts SEC(".maps");
BPFPACK_TABLE(counts, interval(FACTOR * 1000), sort(calls), unit(calls));

BPFPACK_PACKAGE(name("everything"), version("1.2"), description("All, and \\"more\\""),
		license("GPL-2.0-only"), author("A <a@example.org>"), author("B"),
		homepage("https://example.org"), source("https://example.org/git"));

const volatile __u32 targ_pid BPFPACK_PARAM(option(process-id), short(i), help("one, only"),
					role(target-pid));
const volatile __u64 least BPFPACK_PARAM(unit(ms)) = 10;
const volatile int level BPFPACK_PARAM(choices("low=-1, high=SLOW"));
const volatile enum mode mode;
const volatile bool quiet = true;
const volatile char word[8] = "abc";
const volatile long secret BPFPACK_PARAM(hidden);
const volatile double ratio = 0.5;

SEC("raw_tp/sys_enter") BPFPACK_PROGRAM(optional)
int first(void *ctx)
{
	__u32 zero = 0;
	struct opened *e = bpfpack_reserve(events, sizeof(*e));

	if (e)
		bpfpack_submit(e);
	bpfpack_count_linear(sizes, &zero, 5, 25 * FACTOR);
	return secret;
}
SEC("raw_tp/sys_exit") BPFPACK_PROGRAM(alternative(exits)) int second(void *ctx) { return 0; }
SEC("tp_btf/sys_exit") BPFPACK_PROGRAM(alternative(exits)) int third(void *ctx) { return 0; }
SEC("uprobe") BPFPACK_PROGRAM(attach("/bin/bash:readline"), attach("zsh:f, g"), option(path))
int fourth(void *ctx) { return 0; }
"""

CONFIG = Config(
    name="everything",
    version="1.2",
    description='All, and "more"',
    license="GPL-2.0-only",
    authors=("A <a@example.org>", "B"),
    homepage="https://example.org",
    source="https://example.org/git",
    programs=(
        Program(name="first", section="raw_tp/sys_enter", optional=True),
        Program(name="second", section="raw_tp/sys_exit", alternative="exits"),
        Program(name="third", section="tp_btf/sys_exit", alternative="exits"),
        Program(
            name="fourth",
            section="uprobe",
            attach=("/bin/bash:readline", "zsh:f, g"),
            option="path",
        ),
    ),
    maps=(
        Map(name="events", type="ringbuf", key_size=0, value_size=0, max_entries=65536),
        Map(name="sizes", type="array", key_size=4, value_size=512, max_entries=1),
        Map(name="counts", type="percpu_hash", key_size=4, value_size=8, max_entries=100),
    ),
    params=(
        Param(variable="least", option="least", type="__u64", default=10, unit="ms"),
        Param(
            variable="level",
            option="level",
            type="int",
            default=0,
            choices={"low": -1, "high": 5},
        ),
        Param(
            variable="mode",
            option="mode",
            type="enum mode",
            default="FAST",
            choices={"FAST": 0, "SLOW": 5},
        ),
        Param(variable="quiet", option="quiet", type="bool", default=True),
        Param(variable="ratio", option="ratio", type="double", default=0.5),
        Param(
            variable="targ_pid",
            option="process-id",
            type="__u32",
            short="i",
            help="one, only",
            default=0,
            role="target-pid",
        ),
        Param(variable="word", option="word", type="char[8]", default="abc"),
    ),
    outputs=(
        Output(
            name="counts",
            map="counts",
            kind="table",
            interval_ms=4000,
            sort="calls",
            unit="calls",
        ),
        Output(
            name="events",
            map="events",
            kind="events",
            types=(EventType(type="closed", when=-2), EventType(type="opened", when=3)),
            discriminator="kind",
        ),
        Output(
            name="packet_sizes",
            map="sizes",
            kind="histogram",
            scale="linear",
            step=100,
            unit="bytes",
            slots="slots",
            interval_ms=500,
        ),
    ),
    fields={
        "opened": {
            "time": FieldDisplay(title="WHEN", format="timestamp", clock="boot", unit="us"),
            "addr": FieldDisplay(format="ipv4", order="host"),
            "raw": FieldDisplay(hidden=True),
            "to.port": FieldDisplay(format="port"),
        },
        "closed": {
            "kind": FieldDisplay(labels={3: "OPENED", -2: "CLOSED"}),
            "how": FieldDisplay(labels={3: "open", 4: "both halves"}),
        },
    },
    requirements=Requirements(byte_order="little"),
)


def by_name(config: Config) -> dict[str, object]:
    """A config whose params lie in no order: compilers place globals as they like."""
    data = config.to_dict()
    return {**data, "params": sorted(data["params"], key=lambda p: str(p["global"]))}


@pytest.mark.parametrize("clang", CLANGS)
def test_every_word_arrives(clang: str, tmp_path: Path) -> None:
    tool(clang)
    result = built(tmp_path, EVERYTHING, clang=clang)
    assert by_name(result.config) == by_name(CONFIG)
    assert result.warnings == ()
    assert result.from_source


@pytest.mark.parametrize("clang", CLANGS)
def test_several_types_in_one_statement(clang: str, tmp_path: Path) -> None:
    tool(clang)
    apart = (
        "BPFPACK_OUTPUT(events, struct opened, when(kind, OPENED));\n"
        "BPFPACK_OUTPUT(events, struct closed, when(kind, CLOSED));\n"
    )
    assert apart in EVERYTHING
    together = (
        "BPFPACK_OUTPUT(events, by(kind), type(struct opened, OPENED),\n"
        "	       type(struct closed, CLOSED));\n"
    )
    result = built(tmp_path, EVERYTHING.replace(apart, together), clang=clang)
    assert by_name(result.config) == by_name(CONFIG)


@pytest.mark.parametrize("count", [1, 2, 15])
def test_as_many_types_as_there_are_words(count: int, tmp_path: Path) -> None:
    structs = "".join(f"struct t{i} {{ int kind; int of_{i}; }};\n" for i in range(count))
    types = ", ".join(f"type(struct t{i}, {i})" for i in range(count))
    body = structs + RING + f"BPFPACK_OUTPUT(events, by(kind), {types}, name(all));\n" + PROGRAM
    (output,) = built(tmp_path, body).config.outputs
    assert (output.name, output.map, output.discriminator) == ("all", "events", "kind")
    assert output.types == tuple(EventType(type=f"t{i}", when=i) for i in range(count))


@pytest.mark.parametrize(
    ("names", "role_of"),
    [
        (("targ_pid", "targ_tgid"), "targ_tgid"),
        (("pid", "target_pid"), "target_pid"),
        (("pid", "parent"), None),
        (("targ_pid BPFPACK_PARAM(hidden)", "pid BPFPACK_PARAM(role(target-pid))"), "pid"),
    ],
)
def test_one_option_selects_the_process(
    names: tuple[str, ...], role_of: str | None, tmp_path: Path
) -> None:
    body = "".join(f"const volatile int {name};\n" for name in names) + PROGRAM
    params = built(tmp_path, body).config.params
    assert [p.variable for p in params if p.role] == ([role_of] if role_of else [])


@pytest.mark.parametrize("clang", CLANGS)
def test_a_program_with_one_macro_gets_options_and_columns(clang: str, tmp_path: Path) -> None:
    tool(clang)
    body = (
        "struct event { int pid; char comm[16]; };\n"
        + RING
        + "BPFPACK_OUTPUT(events, struct event);\n"
        + "const volatile int target_pid; const volatile bool only_failed;\n"
        + PROGRAM
    )
    config = built(tmp_path / "my_tool", body, clang=clang).config
    assert config.name == "my_tool"
    assert {(p.option, p.role) for p in config.params} == {
        ("pid", "target-pid"),
        ("only-failed", None),
    }
    assert [o.types for o in config.outputs] == [(EventType(type="event"),)]


def test_a_prefix_that_tells_two_options_apart_stays(tmp_path: Path) -> None:
    body = "const volatile int uid, target_uid, targ_gid;\n" + PROGRAM
    options = {p.variable: p.option for p in built(tmp_path, body).config.params}
    assert options == {"uid": "uid", "target_uid": "target-uid", "targ_gid": "gid"}


def test_what_is_no_option_is_left_out(tmp_path: Path) -> None:
    body = (
        "struct pair { int a, b; };\n"
        "const volatile struct pair pair; const volatile int list[3]; int counter = 1;\n"
        "const int folded = 2; const volatile int __internal;\n"
        'SEC("raw_tp/sys_enter") int probe(void *ctx) { return counter += pair.a + list[1]; }\n'
    )
    assert built(tmp_path, body).config.params == ()


@pytest.mark.parametrize("clang", CLANGS)
def test_losses_are_counted_exactly_where_a_helper_is_used(clang: str, tmp_path: Path) -> None:
    tool(clang)
    declared = "struct event { int pid; };\n" + RING + "BPFPACK_OUTPUT(events, struct event);\n"
    uses = (
        'SEC("raw_tp/sys_enter") int probe(void *ctx)\n{\n\tstruct event e = {};\n'
        "\treturn bpfpack_output(ctx, events, &e, sizeof(e));\n}\n"
    )
    for body, expected in ((PROGRAM, []), (uses, ["__bpfpack_lost_events"])):
        result = built(tmp_path, declared + body, clang=clang)
        spec = ObjectSpec.from_bytes(object_of(result))
        assert [v.name for v in spec.variables if v.section == ".bss"] == expected


def test_perf_buffers_are_outputs_too(tmp_path: Path) -> None:
    body = (
        "struct event { int pid; };\n"
        "struct { __uint(type, BPF_MAP_TYPE_PERF_EVENT_ARRAY); __type(key, int);"
        ' __type(value, int); } events SEC(".maps");\n'
        "BPFPACK_OUTPUT(events, struct event);\n"
        'SEC("raw_tp/sys_enter") int probe(void *ctx)\n{\n\tstruct event e = {};\n'
        "\treturn bpfpack_output(ctx, events, &e, sizeof(e));\n}\n"
    )
    result = built(tmp_path, body)
    assert result.config.outputs[0].types == (EventType(type="event"),)
    # bpf_perf_event_output, and not bpf_ringbuf_output.
    (program,) = ObjectSpec.from_bytes(object_of(result)).programs
    assert 25 in program.helpers and 130 not in program.helpers


def test_types_of_different_sizes_need_no_discriminator(tmp_path: Path) -> None:
    body = (
        "struct a { int x; };\nstruct b { long x; };\n"
        + RING
        + "BPFPACK_OUTPUT(events, struct a);\nBPFPACK_OUTPUT(events, struct b);\n"
        + PROGRAM
    )
    (output,) = built(tmp_path, body).config.outputs
    assert output.types == (EventType(type="a"), EventType(type="b"))


def test_a_typedef_names_an_event(tmp_path: Path) -> None:
    body = (
        "typedef struct { int pid BPFPACK_FIELD(hidden); int x; } event_t;\n"
        + RING
        + "BPFPACK_OUTPUT(events, event_t);\n"
        + PROGRAM
    )
    config = built(tmp_path, body).config
    assert config.outputs[0].types == (EventType(type="event_t"),)
    assert config.fields == {"event_t": {"pid": FieldDisplay(hidden=True)}}


def test_several_sources_become_one_object(tmp_path: Path) -> None:
    header = "struct event { int pid BPFPACK_FIELD(format(hex)); };\n"
    (tmp_path / "event.h").write_text(header)
    (tmp_path / "other.bpf.c").write_text(
        "#include <linux/types.h>\n#include <linux/bpf.h>\n#include <bpf/bpf_helpers.h>\n"
        '#include "bpfpack.h"\n#include "event.h"\n'
        + RING
        + "BPFPACK_OUTPUT(events, struct event);\n"
        'SEC("raw_tp/sys_exit") int leave(void *ctx)\n{\n'
        "\tstruct event *e = bpfpack_reserve(events, sizeof(*e));\n"
        "\tif (e)\n\t\tbpfpack_submit(e);\n\treturn 0;\n}\n"
    )
    body = (
        '#include "event.h"\nextern struct { __uint(type, BPF_MAP_TYPE_RINGBUF);'
        ' __uint(max_entries, 65536); } events SEC(".maps");\n'
        "BPFPACK_OUTPUT(events, struct event);\n"
        'SEC("raw_tp/sys_enter") int enter(void *ctx)\n{\n'
        "\tstruct event *e = bpfpack_reserve(events, sizeof(*e));\n"
        "\tif (e)\n\t\tbpfpack_submit(e);\n\treturn 0;\n}\n"
    )
    result = built(tmp_path, body)
    assert {p.name for p in result.config.programs} == {"enter", "leave"}
    assert result.config.fields == {"event": {"pid": FieldDisplay(format="hex")}}
    assert result.warnings == ()
    lost = [v for v in ObjectSpec.from_bytes(object_of(result)).variables if v.section == ".bss"]
    assert [v.name for v in lost] == ["__bpfpack_lost_events"] * 2
