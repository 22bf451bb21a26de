import struct
from collections.abc import Mapping
from typing import Any

import pytest

from bpfpack.runner.package_help import help_text
from bpfpack.runner.package_options import (
    PackageOption,
    encode,
    encode_values,
    package_options,
    parse_package_options,
    target_options,
)
from bpfpack.spec.config import Config, Param, Program, Value
from bpfpack.spec.errors import ConfigMismatch, UsageError
from bpfpack.spec.objectspec import ObjectSpec
from tests.kit.objects import compiled

# Every global that an option can set.
_TYPED = (
    *("failed", "colour", "u8", "s8", "u16", "s32", "u32", "u64", "s64", "u128"),
    *("f32", "f64", "text", "mode", "wide"),
)


def _spec(target: str = "bpfel") -> ObjectSpec:
    return ObjectSpec.from_bytes(compiled("options", "clang-16", target).read_bytes())


@pytest.fixture(scope="module")
def spec() -> ObjectSpec:
    return _spec()


def _options(spec: ObjectSpec, **said: Mapping[str, Any]) -> tuple[PackageOption, ...]:
    params = [
        Param(
            **{"variable": name, "option": name.replace("_", "-"), "type": "", **said.get(name, {})}
        )
        for name in (said or _TYPED)
    ]
    return package_options(spec, Config(name="p", params=tuple(params)))


def _parsed(spec: ObjectSpec, *argv: str, **said: Mapping[str, Any]) -> dict[str, Value]:
    found = parse_package_options(_options(spec, **said), argv)
    assert found is not None and not found.targets
    return found.values


def _refused(spec: ObjectSpec, *argv: str, **said: Mapping[str, Any]) -> tuple[str, str | None]:
    with pytest.raises(UsageError) as refused:
        parse_package_options(_options(spec, **said), argv)
    return str(refused.value), refused.value.hint


@pytest.mark.parametrize(
    "argv",
    [
        ("--u32", "7", "--failed", "--text", "x y"),
        ("--u32=7", "--failed=yes", "--text=x y"),
        ("-u7", "-f", "-tx y"),
        ("-u", "0x7", "-ft", "x y"),
        ("-u=7", "-f", "-t=x y"),
        ("--u32", "1", "--u32", "7", "--no-failed", "-f", "--text", "x y", "--"),
    ],
)
def test_ways_to_type_the_same(spec: ObjectSpec, argv: tuple[str, ...]) -> None:
    said = {"u32": {"short": "u"}, "failed": {"short": "f"}, "text": {"short": "t"}}
    assert _parsed(spec, *argv, **said) == {"u32": 7, "failed": True, "text": "x y"}


def test_what_is_not_typed_is_not_set(spec: ObjectSpec) -> None:
    assert _parsed(spec) == {}
    assert _parsed(spec, "--no-colour") == {"colour": False}


def test_help_is_asked_for_anywhere(spec: ObjectSpec) -> None:
    for argv in (["--help"], ["--u32", "1", "-h"]):
        assert parse_package_options(_options(spec), argv) is None
    assert _parsed(spec, "--text", "--help") == {"text": "--help"}


@pytest.mark.parametrize(
    ("name", "low", "high"),
    [
        ("u8", 0, 2**8 - 1),
        ("s8", -(2**7), 2**7 - 1),
        ("u16", 0, 2**16 - 1),
        ("s32", -(2**31), 2**31 - 1),
        ("u32", 0, 2**32 - 1),
        ("u64", 0, 2**64 - 1),
        ("s64", -(2**63), 2**63 - 1),
        ("u128", 0, 2**128 - 1),
    ],
)
def test_integers_of_every_width_to_their_ends(
    spec: ObjectSpec, name: str, low: int, high: int
) -> None:
    assert _parsed(spec, f"--{name}", str(low)) == {name: low}
    assert _parsed(spec, f"--{name}", hex(high)) == {name: high}
    for wrong in (low - 1, high + 1):
        message, _ = _refused(spec, f"--{name}={wrong}")
        assert message.startswith(f"--{name}: '{wrong}'"[:45])
        assert message.endswith(f"it takes an integer from {low} to {high}")


@pytest.mark.parametrize(
    "text", ["", "x", "1.5", "1_0", " 1", "010", "0x", "\u0661", "1" * 60, "10ms"]
)
def test_what_is_no_integer_is_refused(spec: ObjectSpec, text: str) -> None:
    message, _ = _refused(spec, "--s8", text)
    assert message == f"--s8: {text[:40]!r} is not an integer from -128 to 127"


@pytest.mark.parametrize(
    ("unit", "text", "value"),
    [
        ("ns", "10ms", 10_000_000),
        ("us", "1.5ms", 1500),
        ("ms", "2m", 120_000),
        ("s", "1h", 3600),
        ("ms", "25", 25),
        ("bytes", "64k", 65536),
        ("bytes", "1.5MiB", 1_572_864),
        ("KiB", "1m", 1024),
        ("bytes", "512B", 512),
    ],
)
def test_units(spec: ObjectSpec, unit: str, text: str, value: int) -> None:
    assert _parsed(spec, "--u64", text, u64={"unit": unit}) == {"u64": value}


@pytest.mark.parametrize(
    ("unit", "text"),
    [
        ("s", "10ms"),
        ("ms", "64k"),
        ("ms", "1.5"),
        ("bytes", "1ms"),
        ("bytes", "0.3B"),
        ("requests", "3k"),
    ],
)
def test_units_that_do_not_fit(spec: ObjectSpec, unit: str, text: str) -> None:
    message, _ = _refused(spec, "--u64", text, u64={"unit": unit})
    assert message.startswith(f"--u64: {text!r} is not a")


def test_floats(spec: ObjectSpec) -> None:
    assert _parsed(spec, "--f64", "1e-3", "--f32", "-2") == {"f64": 0.001, "f32": -2.0}
    assert _parsed(spec, "--f64", "1500us", f64={"unit": "ms"}) == {"f64": 1.5}
    assert "out of range" in _refused(spec, "--f32", "1e39")[0]
    assert _refused(spec, "--f64", "one")[0] == "--f64: 'one' is not a number"


def test_choices_by_name_or_number(spec: ObjectSpec) -> None:
    said = {"mode": {"choices": {"MODE_ALL": 0, "MODE_FAILED": 7}}}
    older = {"mode": {"choices": {"MODE_ALL": 0, "MODE_NEG": 2**32 - 2}}}
    for number in ("-2", "4294967294", "mode_neg"):
        assert _parsed(spec, "--mode", number, **older) == {"mode": 2**32 - 2}
    assert "'-3' is not one of MODE_ALL, MODE_NEG" in _refused(spec, "--mode", "-3", **older)[0]
    for text in ("MODE_FAILED", "mode_failed", "7", "0x7"):
        assert _parsed(spec, "--mode", text, **said) == {"mode": 7}
    message, _ = _refused(spec, "--mode", "3", **said)
    assert message == "--mode: '3' is not one of MODE_ALL, MODE_FAILED"
    wide = {"wide": {"choices": {"LOW": -5_000_000_000, "HIGH": 5_000_000_000}}}
    assert _parsed(spec, "--wide", "low", **wide) == {"wide": -5_000_000_000}


def test_text_must_fit_with_its_nul(spec: ObjectSpec) -> None:
    assert _parsed(spec, "--text", "1234567") == {"text": "1234567"}
    assert _parsed(spec, "--text", "") == {"text": ""}
    for text, length in (("12345678", 8), ("äöüß", 8)):
        assert _refused(spec, "--text", text)[0] == (
            f"--text: {text!r} is {length} bytes long: it takes text of at most 7 bytes"
        )
    assert "NUL" in _refused(spec, "--text", "a\0b")[0]


def test_what_is_wrong_is_named_with_the_nearest_that_is_right(spec: ObjectSpec) -> None:
    assert _refused(spec, "--colur") == (
        "the package has no option '--colur'",
        "did you mean --colour?",
    )
    assert _refused(spec, "--no-failled")[1] == "did you mean --no-failed?"
    assert _refused(spec, "-x")[0] == "the package has no option '-x'"
    assert _refused(spec, "--zzzzzzzz")[1] == "--help after the reference lists its options"
    assert _refused(spec, "7")[0] == "the package takes options only, not '7'"
    assert _refused(spec, "--", "--u8")[0] == "the package takes options only, not '--u8'"
    assert _refused(spec, "--u8")[0] == "--u8 needs a value: an integer from 0 to 255"
    assert _refused(spec, "--no-failed=1")[0] == "--no-failed takes no value"
    assert _refused(spec, "--no-u8")[0] == "the package has no option '--no-u8'"
    assert _refused(spec, "--failed=maybe")[0] == "--failed: 'maybe' is not true or false"


@pytest.mark.parametrize("order", ["little", "big"])
def test_bytes_are_those_of_the_object(order: Any) -> None:
    spec = _spec("bpfel" if order == "little" else "bpfeb")
    assert spec.byte_order == order
    sign = "<" if order == "little" else ">"
    values: dict[str, Value] = {
        "failed": True, "u16": 258, "s32": -2, "u64": 2**64 - 1, "f32": 1.5, "text": "hi",
        "u128": 1, "wide": -5_000_000_000,
    }  # fmt: skip
    assert encode_values(_options(spec), values, order) == {
        "failed": b"\1",
        "u16": struct.pack(sign + "H", 258),
        "s32": struct.pack(sign + "i", -2),
        "u64": b"\xff" * 8,
        "f32": struct.pack(sign + "f", 1.5),
        "text": b"hi\0\0\0\0\0\0",
        "u128": (1).to_bytes(16, order),
        "wide": struct.pack(sign + "q", -5_000_000_000),
    }
    for option in _options(spec):
        size = next(v.size for v in spec.variables if v.name == option.param.variable)
        assert option.type.size == size


def test_values_that_do_not_fit_are_refused(spec: ObjectSpec) -> None:
    options = {o.param.variable: o.type for o in _options(spec)}
    wrong: list[tuple[str, Value]] = [
        ("u8", "x"), ("text", 1), ("failed", 1), ("f32", "1"), ("u8", 256), ("text", "\ud800")
    ]  # fmt: skip
    for name, value in wrong:
        with pytest.raises(ValueError, match=r"is no|out of range"):
            encode(value, options[name], "little")
    with pytest.raises(UsageError, match="no option sets 'nope'"):
        encode_values(_options(spec), {"nope": 1}, "little")
    with pytest.raises(UsageError, match="--u8: 256 is out of range"):
        encode_values(_options(spec), {"u8": 256}, "little")


@pytest.mark.parametrize("name", ["absent", "list"])
def test_a_param_without_a_fitting_global_is_a_mismatch(spec: ObjectSpec, name: str) -> None:
    with pytest.raises(ConfigMismatch):
        _options(spec, **{name: {}})


def test_help(spec: ObjectSpec) -> None:
    said: dict[str, dict[str, Any]] = {
        "s32": {"option": "pid", "short": "p", "help": "only this process", "default": 42},
        "failed": {"help": "only calls that failed", "default": False},
        "colour": {"default": True},
        "mode": {"choices": {"ALL": 0, "FAILED": 7}, "default": 7},
        "u64": {"option": "shorter-than", "unit": "ms", "help": "ignore calls that took longer"},
        "text": {"default": "abc"},
        "u32": {"option": "size", "unit": "bytes", "default": 0},
    }
    config = Config(name="demo", version="1.2", description="Shows things.\n\nAnd more.")
    assert help_text(config, _options(spec, **said), "x/demo").split("\n") == [
        "demo 1.2",
        "Shows things.",
        "",
        "And more.",
        "",
        "Usage: bpfpack run [bpfpack's options] x/demo [OPTIONS]",
        "",
        "Options:",
        "  -p, --pid N                  only this process (default: 42)",
        "      --[no-]failed            only calls that failed",
        "      --[no-]colour            (default: on)",
        "      --mode NAME              one of ALL, FAILED (default: FAILED)",
        "      --shorter-than DURATION  ignore calls that took longer, in ms",
        "      --text TEXT              (default: abc)",
        "      --size SIZE              in bytes (default: 0)",
        "  -h, --help                   show this help",
    ]


def test_help_of_a_hostile_package_cannot_drive_a_terminal(spec: ObjectSpec) -> None:
    evil = "\x1b]0;x\x07\x9b2J\u202e\u200b"
    said: dict[str, dict[str, Any]] = {
        "s32": {"help": evil, "unit": evil},
        "text": {"default": evil},
        "mode": {"choices": {evil: 0}},
    }
    config = Config(name="demo", version=evil, description=f"{evil}\r{evil}\u2028{evil}")
    text = help_text(config, _options(spec, **said), evil)
    assert text.replace("\n", "").isprintable()


TARGETS = Config(
    name="tool",
    programs=(
        Program(name="seen", section="xdp", option="iface"),
        Program(name="sent", section="tcx/egress", option="iface"),
        Program(name="line", section="uretprobe//bin/bash:readline", option="path"),
        Program(name="tick", section="perf_event", attach=("cpu-clock:99hz",)),
        Program(name="call", section="tp/syscalls/sys_enter_openat"),
        Program(name="skb", section="cgroup_skb/egress"),
    ),
)


def test_options_that_name_targets(spec: ObjectSpec) -> None:
    iface, path = options = target_options(TARGETS)
    assert (iface.programs, iface.default) == (("seen", "sent"), ())
    assert path.default == ("/bin/bash:readline",)
    argv = ["--iface", "eth0", "--u32", "7", "--iface=lo:generic", "--path", "/opt/bash"]
    found = parse_package_options(_options(spec), argv, options)
    assert found is not None and found.values == {"u32": 7}
    assert found.targets == {"iface": ["eth0", "lo:generic"], "path": ["/opt/bash"]}
    with pytest.raises(UsageError, match="--iface needs a value: INTERFACE"):
        parse_package_options((), ["--iface"], options)
    with pytest.raises(UsageError, match="no option '--ifac'") as caught:
        parse_package_options((), ["--ifac", "lo"], options)
    assert caught.value.hint == "did you mean --iface?"


def test_help_tells_of_targets() -> None:
    assert help_text(TARGETS, ()).splitlines()[4:] == [
        "Options:",
        "      --iface TARGET  attach seen, sent to INTERFACE[:native|:generic] or",
        "                      INTERFACE; repeatable",
        "      --path TARGET   attach line to FILE:FUNCTION[+OFFSET][,pid=PID];",
        "                      repeatable (default: /bin/bash:readline)",
        "  -h, --help          show this help",
        "",
        "Targets, told before the reference with --attach:",
        "  tick=EVENT[:PERIOD|:FREQUENCYhz]",
        "                                  (default: cpu-clock:99hz)",
        "  skb=CGROUP                      needed",
    ]
