"""An output that is stacks: by tags, by TOML, and what is refused of it."""

from pathlib import Path
from typing import Any

import pytest

from bpfpack.spec.agreement import check_config
from bpfpack.spec.config import Config, Output
from bpfpack.spec.errors import BuildError, ConfigMismatch
from bpfpack.spec.objectspec import ObjectSpec
from tests.kit.objects import CLANGS
from tests.kit.sources import PROGRAM, built, object_of

KEY = "struct key { __u32 tgid; char comm[16]; int kern_stack_id; int user_stack_id; };\n"
MAPS = """struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 64);
	__type(key, struct key);
	__type(value, __u64);
} counts SEC(".maps");
struct {
	__uint(type, BPF_MAP_TYPE_STACK_TRACE);
	__uint(max_entries, 64);
	__uint(key_size, 4);
	__uint(value_size, 64);
} stacks SEC(".maps");
"""
BODY = KEY + MAPS + PROGRAM
USUAL = Output(
    name="counts",
    map="counts",
    kind="stacks",
    traces="stacks",
    kernel="kern_stack_id",
    user="user_stack_id",
    process="tgid",
)


def outputs(tmp_path: Path, body: str, **more: Any) -> tuple[Output, ...]:
    return built(tmp_path, body, **more).config.outputs


@pytest.mark.parametrize("clang", CLANGS)
def test_a_tag_finds_the_usual_names(tmp_path: Path, clang: str) -> None:
    assert outputs(tmp_path, BODY + "BPFPACK_STACKS(counts);\n", clang=clang) == (USUAL,)


def test_toml_finds_the_usual_names(tmp_path: Path) -> None:
    assert outputs(tmp_path, BODY, toml="[outputs.counts]\nstacks = true\n") == (USUAL,)


TAGS = (
    "BPFPACK_STACKS(counts, name(cpu), interval(500), traces(stacks), kernel(k), user(u), "
    "process(p));\n"
)
TOML = """[outputs.cpu]
map = "counts"
stacks = true
interval = 500
traces = "stacks"
kernel = "k"
user = "u"
process = "p"
"""


@pytest.mark.parametrize(("more", "toml"), [(TAGS, None), ("", TOML)], ids=["tags", "toml"])
def test_every_word(tmp_path: Path, more: str, toml: str | None) -> None:
    body = "struct key { __u32 p; int k; int u; };\n" + MAPS + PROGRAM + more
    assert outputs(tmp_path, body, toml=toml) == (
        Output(
            name="cpu",
            map="counts",
            kind="stacks",
            interval_ms=500,
            traces="stacks",
            kernel="k",
            user="u",
            process="p",
        ),
    )


def test_toml_makes_a_table_of_them(tmp_path: Path) -> None:
    (output,) = outputs(
        tmp_path,
        BODY + "BPFPACK_TABLE(counts, interval(500));\n",
        toml="[outputs.counts]\nstacks = true\n",
    )
    assert (output.kind, output.interval_ms, output.user) == ("stacks", 500, "user_stack_id")


@pytest.mark.parametrize(
    ("body", "said"),
    [
        (BODY.replace("int kern_stack_id; int user_stack_id;", "int more;"), "of both"),
        (BODY.replace("__u32 tgid;", ""), "takes a process"),
        (BODY.replace("BPF_MAP_TYPE_STACK_TRACE", "BPF_MAP_TYPE_HASH"), "a map of traces"),
        (BODY.replace("int user_stack_id", "__s64 user_stack_id"), "4 bytes"),
        (BODY.replace("__type(value, __u64)", "__type(value, float)"), "no count"),
        (BODY.replace("value_size, 64", "value_size, 60"), "no addresses"),
        (BODY.replace("key_size, 4);", "key_size, 4);\n__uint(map_flags, 32);"), "no addresses"),
    ],
)
def test_what_cannot_be_stacks(tmp_path: Path, body: str, said: str) -> None:
    with pytest.raises(BuildError, match=said):
        outputs(tmp_path, body + "BPFPACK_STACKS(counts);\n")


@pytest.mark.parametrize(
    ("more", "path"),
    [
        ({"traces": "counts"}, ("outputs[0]", "traces")),
        ({"traces": "missing"}, ("outputs[0]", "traces")),
        ({"kernel": "comm"}, ("outputs[0]", "kernel", "comm")),
        ({"process": "missing"}, ("outputs[0]", "process", "missing")),
    ],
)
def test_a_config_that_lies(tmp_path: Path, more: dict[str, str], path: tuple[str, ...]) -> None:
    result = built(tmp_path, BODY)
    said = {**result.config.to_dict(), "outputs": [{**USUAL.to_dict(), **more}]}
    with pytest.raises(ConfigMismatch) as caught:
        check_config(ObjectSpec.from_bytes(object_of(result)), Config.from_dict(said))
    assert caught.value.path == path
