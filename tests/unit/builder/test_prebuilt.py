"""An object that exists already becomes a package, by TOML alone where it has no tags."""

import subprocess
import tomllib
from pathlib import Path

import pytest

from bpfpack.builder.build import build
from bpfpack.spec.config import EventType
from bpfpack.spec.displays import FORMATS
from bpfpack.spec.errors import BuildError, LimitExceeded, SpecError
from tests.kit.objects import CLANGS, TARGETS, compiled, tool
from tests.kit.sources import LICENSE, PRELUDE, PROGRAM, RING, built, object_of
from tests.unit.builder.test_header import CONFIG, EVERYTHING, by_name

TOML = """
name = "everything"
version = "1.2"
description = 'All, and "more"'
license = "GPL-2.0-only"
authors = ["A <a@example.org>", "B"]
homepage = "https://example.org"
source = "https://example.org/git"

[programs]
first = { optional = true }
second.alternative = "exits"
third.alternative = "exits"
fourth = { attach = ["/bin/bash:readline", "zsh:f, g"], option = "path" }

[params.least]
unit = "ms"
[params.level]
choices = { low = -1, high = 5 }
[params.targ_pid]
option = "process-id"
short = "i"
help = "one, only"
role = "target-pid"
[params.secret]
hidden = true

[outputs.events]
types = { opened = 3, closed = -2 }
by = "kind"
[outputs.packet_sizes]
map = "sizes"
histogram = "linear"
step = 100
unit = "bytes"
interval = 500
[outputs.counts]
table = true
interval = 4000
sort = "calls"
unit = "calls"

[fields.opened]
time = { title = "WHEN", format = "timestamp", clock = "boot", unit = "us" }
addr = { format = "ipv4", order = "host" }
raw.hidden = true
"to.port".format = "port"
[fields.closed]
kind.labels = { 3 = "OPENED", -2 = "CLOSED" }
how.labels = { 3 = "open", 4 = "both halves" }
"""


def untagged(tmp_path: Path) -> bytes:
    """The object of `EVERYTHING`, by a compiler that writes no tags."""
    source = tmp_path / "source"
    source.mkdir()
    header = (Path(__file__).parents[3] / "builder/bpfpack/builder/include/bpfpack.h").read_text()
    bare = header.replace(
        '#define BPFPACK_TAG(text) __attribute__((btf_decl_tag("bpfpack:" text)))',
        "#define BPFPACK_TAG(text)",
    )
    assert bare != header
    (source / "bpfpack.h").write_text(bare)
    (source / "x.bpf.c").write_text(PRELUDE + EVERYTHING + LICENSE)
    out = source / "x.o"
    command = [tool("clang"), "--target=bpf", "-g", "-O2", "-c", "x.bpf.c", "-o", str(out)]
    command += ["-idirafter", "/usr/include/x86_64-linux-gnu"]
    subprocess.run(command, cwd=source, check=True, timeout=60)
    data = out.read_bytes()
    assert b"bpfpack:" not in data
    return data


def test_toml_alone_says_all_that_tags_say(tmp_path: Path) -> None:
    path = tmp_path / "tool.bpf.o"
    path.write_bytes(untagged(tmp_path))
    (tmp_path / "bpfpack.toml").write_text(TOML)
    result = build(path)
    assert by_name(result.config) == by_name(CONFIG)
    assert (result.from_source, result.warnings, result.draft) == (False, (), None)


def test_an_object_keeps_its_bytes_and_its_tags(tmp_path: Path) -> None:
    first = built(tmp_path / "source", EVERYTHING)
    path = tmp_path / "prebuilt" / "x.o"
    path.parent.mkdir()
    path.write_bytes(object_of(first))
    for again in (build(path), build(path.parent)):
        assert object_of(again) == object_of(first)
        assert again.config == first.config
        assert not again.from_source


def test_toml_wins_word_by_word(tmp_path: Path) -> None:
    toml = (
        'description = "Other"\n[params.targ_pid]\nshort = "z"\n'
        '[fields.opened.time]\ntitle = "T"\n'
        '[outputs.sizes]\nmap = "sizes"\nhistogram = "log2"\n'
        "[outputs.packet_sizes]\nhidden = true\n"
        '[outputs.events]\ntype = "opened"\n'
        "[programs.first]\noptional = false\n"
    )
    config = built(tmp_path, EVERYTHING, toml=toml).config
    assert (config.description, config.version) == ("Other", "1.2")
    (pid,) = [p for p in config.params if p.variable == "targ_pid"]
    assert (pid.short, pid.option, pid.role) == ("z", "process-id", "target-pid")
    time = config.fields["opened"]["time"]
    assert (time.title, time.format) == ("T", "timestamp")
    assert {o.name: o.kind for o in config.outputs} == {
        "counts": "table",
        "events": "events",
        "sizes": "histogram",
    }
    (events,) = [o for o in config.outputs if o.kind == "events"]
    assert events.types == (EventType(type="opened"),) and events.discriminator is None
    assert not config.programs[0].optional


def test_a_display_of_an_inner_struct_reaches_its_members(tmp_path: Path) -> None:
    body = (
        "struct end { __u32 addr; __u16 port BPFPACK_FIELD(hidden); };\n"
        "struct event { struct end from, to[2]; };\n"
        + RING
        + "BPFPACK_OUTPUT(events, struct event);\n"
        + PROGRAM
    )
    toml = '[fields.end.addr]\nformat = "ipv4"\n[fields.event]\n"to.addr" = { format = "hex" }\n'
    shown = built(tmp_path, body, toml=toml).config.fields
    assert {k: (v.format, v.hidden) for k, v in shown["event"].items()} == {
        "from.addr": ("ipv4", False),
        "from.port": (None, True),
        "to.addr": ("hex", False),
        "to.port": (None, True),
    }


def test_an_untagged_object_gets_a_draft_that_parses(tmp_path: Path) -> None:
    path = tmp_path / "x.o"
    path.write_bytes(untagged(tmp_path))
    result = build(path)
    assert result.draft is not None
    assert [w for w in result.warnings if w.startswith("map 'events' shows nothing")]
    parsed = tomllib.loads(result.draft)
    assert "events" in parsed["outputs"]
    assert '"opened"' in result.draft
    filled = result.draft.replace('type = ""', 'type = "opened"')
    (tmp_path / "bpfpack.toml").write_text(filled)
    assert [o.name for o in build(path).config.outputs] == ["events"]


@pytest.mark.parametrize("data", [b"", b"\x7fELF", b"#!/bin/sh\n", bytes(5000)])
def test_what_is_no_object_is_refused(data: bytes, tmp_path: Path) -> None:
    path = tmp_path / "x.o"
    path.write_bytes(data)
    with pytest.raises(SpecError, match=f"^{path}: "):
        build(path)


def test_an_object_without_btf(tmp_path: Path) -> None:
    path = tmp_path / "x.o"
    path.write_bytes(compiled("options", debug=False).read_bytes())
    result = build(path)
    assert result.config.params == () and result.config.outputs == ()


def test_an_object_that_is_too_large(tmp_path: Path) -> None:
    path = tmp_path / "x.o"
    with path.open("wb") as file:
        file.truncate(64 * 2**20 + 1)
    with pytest.raises(LimitExceeded, match=f"^{path}: larger than 67108864 bytes$"):
        build(path)


def test_every_format_can_be_said_in_a_tag(tmp_path: Path) -> None:
    kinds = {"ipv6": "__u8 {}[16]", "path": "char {}[9]", "string": "char {}[9]"}
    kinds |= {"port": "__u16 {}"}
    members = "".join(
        f"\t{kinds.get(f, '__u32 {}').format('m_' + f)} BPFPACK_FIELD(format({f}));\n"
        for f in FORMATS
    )
    body = f"struct event {{\n{members}}};\n{RING}BPFPACK_OUTPUT(events, struct event);\n{PROGRAM}"
    shown = built(tmp_path, body).config.fields["event"]
    assert {path.removeprefix("m_"): d.format for path, d in shown.items()} == {
        f: f for f in FORMATS
    }


def test_an_unreadable_path_is_one_of_our_errors(tmp_path: Path) -> None:
    (tmp_path / "bpfpack.toml").mkdir()
    (tmp_path / "x.o").symlink_to(tmp_path / "gone")
    with pytest.raises((BuildError, SpecError)):
        build(tmp_path)


@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize("clang", CLANGS)
def test_a_global_of_every_type(clang: str, target: str, tmp_path: Path) -> None:
    path = tmp_path / "x.o"
    path.write_bytes(compiled("options", clang, target).read_bytes())
    config = build(path).config
    assert config.requirements.byte_order == {"bpfel": "little", "bpfeb": "big"}[target]
    wide = 2**64 - 5000000000 if clang == "clang-14" else "WIDE_LOW"
    assert {p.option: (p.type, p.default) for p in config.params} == {
        "failed": ("bool", False),
        "colour": ("bool", True),
        "u8": ("__u8", 1),
        "s8": ("__s8", -1),
        "u16": ("__u16", 0),
        "s32": ("__s32", 42),
        "u32": ("__u32", 0),
        "u64": ("__u64", 0),
        "s64": ("__s64", 0),
        "u128": ("unsigned __int128", 0),
        "f32": ("float", 0.0),
        "f64": ("double", 0.5),
        "text": ("char[8]", "abc"),
        "mode": ("enum mode", "MODE_ALL"),
        "wide": ("enum wide", wide),
    }
    assert {p.option: p.choices for p in config.params if p.choices} == {
        "mode": {"MODE_ALL": 0, "MODE_FAILED": 7},
        **(
            {}
            if clang == "clang-14"
            else {"wide": {"WIDE_LOW": -5000000000, "WIDE_HIGH": 5000000000}}
        ),
    }
