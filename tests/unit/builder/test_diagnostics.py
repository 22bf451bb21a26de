"""What is wrong with the metadata is said in one line, with file and line where known."""

from pathlib import Path

import pytest

from bpfpack.builder.build import BuildOptions, build
from bpfpack.spec.errors import BuildError, UsageError
from tests.kit.sources import LICENSE, PRELUDE, PROGRAM, RING, built, line_in, write_project

EVENT = "struct event { int pid; int x; };\n" + RING
OUTPUT = "BPFPACK_OUTPUT(events, struct event);\n"
ARRAY = (
    "struct { __uint(type, BPF_MAP_TYPE_ARRAY); __uint(max_entries, 1); __type(key, __u32);"
    ' __type(value, __u64); } sums SEC(".maps");\n'
)


def fails(directory: Path, body: str, toml: str | None = None) -> BuildError:
    """The error of a build that must fail."""
    with pytest.raises(BuildError) as caught:
        built(directory, body, toml=toml)
    return caught.value


@pytest.mark.parametrize(
    ("body", "at", "message"),
    [
        (
            "const volatile int a BPFPACK_PARAM(short(x));\n"
            "const volatile int b BPFPACK_PARAM(short(x));\n" + PROGRAM,
            "int b",
            "'-x' is the option of 'a' too in 'params.b'",
        ),
        (
            "const volatile int a BPFPACK_PARAM(option(c));\n"
            "const volatile int b BPFPACK_PARAM(option(c));\n" + PROGRAM,
            "int b",
            "'--c' is the option of 'a' too in 'params.b'",
        ),
        (
            "const volatile int a BPFPACK_PARAM(option(help));\n" + PROGRAM,
            "int a",
            "'help' is the option for help in 'params.a'",
        ),
        (
            "const volatile int a BPFPACK_PARAM(option(Big_One));\n" + PROGRAM,
            "int a",
            "not an option name: a-z, 0-9 and single dashes in 'params.a.option'",
        ),
        (
            "const volatile int a[3] BPFPACK_PARAM(short(a));\n" + PROGRAM,
            "int a",
            "const volatile int[3] cannot be an option in 'params.a'",
        ),
        (
            'int a BPFPACK_PARAM(short(a));\nSEC("raw_tp/sys_enter") int p(void *c)'
            " { return a++; }\n",
            "int a",
            "'a' is not a `const volatile` global of the object in 'params.a'",
        ),
        (
            "const volatile int a BPFPACK_PARAM(role(boss));\n" + PROGRAM,
            "int a",
            "not one of target-pid in 'params.a.role'",
        ),
        (
            'const volatile int a BPFPACK_PARAM(choices("x"));\n' + PROGRAM,
            "int a",
            "'x' is not of the form a=b",
        ),
        (
            'const volatile int a BPFPACK_TAG("colour=red");\n' + PROGRAM,
            "int a",
            "'colour' cannot be said here",
        ),
        (
            "struct event { int pid BPFPACK_FIELD(format(colour)); };\n" + RING + OUTPUT + PROGRAM,
            "int pid",
            "not one of dec, hex, ipv4, ipv6, port, timestamp, duration, errno, signal, path, "
            "syscall, enum, flags, user, group, bytes, pid, string in 'fields.event.pid.format'",
        ),
        (
            "struct event { int pid BPFPACK_FIELD(format(hex)) BPFPACK_FIELD(format(dec)); };\n"
            + RING
            + OUTPUT
            + PROGRAM,
            "int pid",
            "'format' is said twice: 'hex' and 'dec'",
        ),
        (
            EVENT + "BPFPACK_OUTPUT(event, struct event);\n" + PROGRAM,
            "BPFPACK_OUTPUT",
            "no map 'event' in the object in 'outputs.event'",
        ),
        (
            "struct event { int x; };\n" + ARRAY
            + "BPFPACK_OUTPUT(sums, struct event);\n" + PROGRAM,
            "BPFPACK_",
            "events cannot come from a array map in 'outputs.sums'",
        ),
        (
            ARRAY + "BPFPACK_HISTOGRAM(sums);\n" + PROGRAM,
            "BPFPACK_",
            "not an array of counters in 'outputs.sums.value'",
        ),
        (
            ARRAY + "BPFPACK_TABLE(sums, sort(nothing));\n" + PROGRAM,
            "BPFPACK_",
            "no such member in 'outputs.sums.sort.nothing'",
        ),
        (
            EVENT + "struct other { int pid; int y; };\n" + OUTPUT
            + "BPFPACK_OUTPUT(events, struct other);\n" + PROGRAM,
            "BPFPACK_OUTPUT",
            "types of one size need a discriminator in 'outputs.events.types'",
        ),
        (
            "struct event { int kind; int x; };\nstruct other { int x; int kind; };\n" + RING
            + "BPFPACK_OUTPUT(events, struct event, when(kind, 1));\n"
            + "BPFPACK_OUTPUT(events, struct other, when(kind, 2));\n" + PROGRAM,
            "BPFPACK_OUTPUT",
            "not at one place in all types in 'outputs.events.discriminator'",
        ),
        (
            EVENT + "struct other { int x; };\n"
            + "BPFPACK_OUTPUT(events, struct event, name(first));\n"
            + "BPFPACK_OUTPUT(events, struct other, name(second));\n" + PROGRAM,
            "BPFPACK_OUTPUT",
            "output 'first' reads the events of 'events' already in 'outputs.second.map'",
        ),
        (
            EVENT + "BPFPACK_OUTPUT(events, by(pid), type(struct event, 1), "
            "type(struct event, 2));\n" + PROGRAM,
            "BPFPACK_OUTPUT",
            "two values for event",
        ),
        (
            ARRAY + "BPFPACK_HISTOGRAM(sums, linear(10), exponential(4));\n" + PROGRAM,
            "BPFPACK_HISTOGRAM",
            "linear and exponential at once",
        ),
        (
            ARRAY + "BPFPACK_HISTOGRAM(sums, exponential(3));\n" + PROGRAM,
            "BPFPACK_HISTOGRAM",
            "not a power of two up to 64 in 'outputs.sums.step'",
        ),
        (
            "const volatile char a[8] BPFPACK_PARAM(role(target-pid));\n" + PROGRAM,
            "char a",
            "char[8] cannot hold the number of a process in 'params.a.role'",
        ),
        (
            "const volatile int a BPFPACK_PARAM(role(target-pid));\n"
            "const volatile int b BPFPACK_PARAM(role(target-pid));\n" + PROGRAM,
            "int b",
            "'a' has the role 'target-pid' too in 'params.b'",
        ),
        (
            EVENT + OUTPUT + 'SEC("raw_tp/sys_enter") BPFPACK_PROGRAM(optional, alternative(g))\n'
            "int probe(void *ctx) { return 0; }\n",
            "int probe",
            "optional and an alternative at once in 'programs.probe.alternative'",
        ),
        (
            'SEC("xdp") BPFPACK_PROGRAM(attach("eth0")) int probe(void *ctx) { return 2; }\n',
            "int probe",
            "only who runs a package can say which interface or cgroup in 'programs.probe.attach'",
        ),
        (
            'SEC("perf_event") BPFPACK_PROGRAM(attach("99hz")) int probe(void *c) { return 0; }\n',
            "int probe",
            "not of the form EVENT[:PERIOD|:FREQUENCYhz] in 'programs.probe.attach[0]'",
        ),
        (
            'SEC("tp/a/b") BPFPACK_PROGRAM(option(event)) int probe(void *c) { return 0; }\n',
            "int probe",
            "tracepoint programs take no target in 'programs.probe.option'",
        ),
    ],
)  # fmt: skip
def test_a_fault_in_the_source(body: str, at: str, message: str, tmp_path: Path) -> None:
    error = fails(tmp_path, body)
    assert str(error) == f"{tmp_path}/test.bpf.c:{line_in(body, at)}: {message}"


@pytest.mark.parametrize(
    ("toml", "line", "message"),
    [
        ('nmae = "x"\n', 1, "unknown field 'nmae'"),
        ('name = "x"\n[outptus.events]\n', 2, "unknown field 'outptus'"),
        ('[params.a]\nshort = "s"\nhlep = "x"\n', 3, "unknown field 'hlep' in 'params.a'"),
        ('[params.a]\nshort = "long"\n', 2, "not one letter or digit in 'params.a.short'"),
        ("\n[params.nothing]\nshort='s'\n", 2, "'nothing' is not a `const volatile` global of the "
         "object in 'params.nothing'"),
        ("[programs.nothing]\noptional = true\n", 1, "no program 'nothing' in the object in "
         "'programs.nothing'"),
        ('[programs.probe]\noptional = "yes"\n', 2, "not a boolean in 'programs.probe.optional'"),
        ('[programs.probe]\nattach = ["a"]\n', 2,
         "raw_tp programs take no target in 'programs.probe.attach'"),
        ('[programs.probe]\nattach = 7\n', 2, "not a list in 'programs.probe.attach'"),
        ('[outputs.events]\ntype = "nothing"\n', 1, "no type 'nothing' in the object's BTF in "
         "'outputs.events'"),
        ('[outputs.gone]\nhistogram = "log2"\n', 1,
         "no map 'gone' in the object in 'outputs.gone'"),
        ('[outputs.events]\nunit = "x"\n[outputs.more]\nmap = "events"\n', 3,
         "say one of: type (or types), histogram, table, stacks in 'outputs.more'"),
        ('[fields.event.x]\nformat = "colour"\n', 2, "not one of dec, hex, ipv4, ipv6, port, "
         "timestamp, duration, errno, signal, path, syscall, enum, flags, user, group, bytes, "
         "pid, string in 'fields.event.x.format'"),
        ('[fields.event]\nx = { format = "path" }\n', None, ""),
        ('[fields.gone.x]\nformat = "hex"\n', 1, "no output shows a type 'gone' in 'fields.gone'"),
        ('version = "a b"\n', 1, "not a version in 'version'"),
        ("version = 1\n", 1, "text in quotes is wanted in 'version'"),
        ('name = "A b"\n', 1, "not a package name: a-z, 0-9, '.', '_' and '-' in 'name'"),
        ('[build]\nplatforms = ["linux/vax"]\n', 2, "no architecture 'vax' in 'build.platforms'"),
        ('[build]\nflags = "-O2"\n', 2, "not a list in 'build.flags'"),
        ("[build]\njobs = 3\n", 2, "unknown field 'jobs' in 'build'"),
    ],
)  # fmt: skip
def test_a_fault_in_the_toml(toml: str, line: int | None, message: str, tmp_path: Path) -> None:
    error = fails(tmp_path, EVENT + OUTPUT + "const volatile int a;\n" + PROGRAM, toml)
    if line is None:
        assert "int of 4 bytes cannot be shown as path" in str(error)
    else:
        assert str(error) == f"{tmp_path}/bpfpack.toml:{line}: {message}"


@pytest.mark.parametrize(
    ("toml", "hint"),
    [
        ('nmae = "x"\n', "did you mean name?"),
        ("[outptus.events]\n", "did you mean outputs?"),
        ('[params.a]\nhlep = "x"\n', "did you mean help?"),
        ("[build]\njobs = 3\n", None),
    ],
)
def test_a_field_of_the_toml_that_is_nearly_one(
    toml: str, hint: str | None, tmp_path: Path
) -> None:
    error = fails(tmp_path, EVENT + OUTPUT + "const volatile int a;\n" + PROGRAM, toml)
    assert error.hint == hint


@pytest.mark.parametrize(
    ("body", "hint"),
    [
        (
            "struct event { int pid BPFPACK_FIELD(titel(\"x\")); };\n" + RING + OUTPUT + PROGRAM,
            "BPFPACK_FIELD knows no word 'titel': did you mean title?",
        ),
        (
            "const volatile int a BPFPACK_PARAM(shrt(a));\n"
            + PROGRAM.replace("int probe", "BPFPACK_PROGRAM(qqq) int probe"),
            "BPFPACK_PARAM knows no word 'shrt': did you mean short?\n"
            "BPFPACK_PROGRAM knows no word 'qqq': only optional, alternative, attach, option",
        ),
        (
            EVENT + "BPFPACK_OUTPUT(events, struct event, untis(x));\n" + PROGRAM,
            "BPFPACK_OUTPUT, _HISTOGRAM, _TABLE and _STACKS knows no word 'untis': "
            "did you mean unit?",
        ),
        (
            EVENT
            + PROGRAM.replace("return 0", "return !bpfpack_reserve(events, sizeof(struct event))")
            + OUTPUT,
            "bpfpack_reserve(events, ...) and its kin need BPFPACK_OUTPUT(events, ...), "
            "BPFPACK_TABLE(events), BPFPACK_HISTOGRAM(events) or BPFPACK_STACKS(events) before "
            "them",
        ),
        ("int x = y;\n" + EVENT + OUTPUT + PROGRAM, None),
    ],
)  # fmt: skip
def test_a_macro_used_wrongly(body: str, hint: str | None, tmp_path: Path) -> None:
    """Whatever the compiler says of what our macros became; and it says little of that."""
    error = fails(tmp_path, body)
    assert error.hint == hint
    assert error.log.count("expanded from macro") < 12


def test_a_source_without_our_header(tmp_path: Path) -> None:
    text = PRELUDE.replace('#include "bpfpack.h"', "") + EVENT + OUTPUT + PROGRAM + LICENSE
    write_project(tmp_path, {"x.bpf.c": text})
    with pytest.raises(BuildError, match="does not compile") as caught:
        build(tmp_path)
    assert caught.value.hint == 'BPFPACK_OUTPUT is unknown: #include "bpfpack.h" comes before it'


def test_a_name_of_the_kernels(tmp_path: Path) -> None:
    text = '#include "vmlinux.h"\nenum { TASK_COMM_LEN = 16 };\n' + LICENSE
    header = "enum { TASK_COMM_LEN = 16 };\n"
    write_project(tmp_path, {"x.bpf.c": text, "vmlinux.h": header})
    with pytest.raises(BuildError, match="does not compile") as caught:
        build(tmp_path)
    assert caught.value.hint == "vmlinux.h holds all the kernel's names: give yours a prefix"


def test_toml_that_is_none(tmp_path: Path) -> None:
    for text in ("name = ", "a = 1\na = 2\n", "[" * 2000, f"a = {'1' * 6000}\n"):
        assert str(fails(tmp_path, PROGRAM, text)).startswith(f"{tmp_path}/bpfpack.toml: ")


def test_toml_in_another_encoding(tmp_path: Path) -> None:
    write_project(tmp_path, {"x.bpf.c": PRELUDE + PROGRAM + LICENSE})
    (tmp_path / "bpfpack.toml").write_bytes(b'name = "\xff"\n')
    with pytest.raises(BuildError, match=r"bpfpack\.toml: .*utf-8"):
        build(tmp_path)


def test_an_object_without_licence(tmp_path: Path) -> None:
    write_project(tmp_path, {"x.bpf.c": PRELUDE + PROGRAM})
    with pytest.raises(BuildError, match=f"^{tmp_path}/x.bpf.c has no licence") as caught:
        build(tmp_path)
    assert caught.value.hint is not None
    assert 'SEC("license")' in caught.value.hint
    write_project(tmp_path, {"y.bpf.c": PRELUDE + PROGRAM.replace("probe", "other")})
    with pytest.raises(BuildError, match=f"^{tmp_path} has no licence"):
        build(tmp_path)


def test_an_object_without_programs(tmp_path: Path) -> None:
    write_project(tmp_path, {"x.bpf.c": PRELUDE + LICENSE})
    with pytest.raises(BuildError, match=f"^{tmp_path}/x.bpf.c has no program") as caught:
        build(tmp_path)
    assert caught.value.hint is not None
    assert 'SEC("' in caught.value.hint


def test_sources_with_two_licences(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for name, text in (("a", LICENSE), ("b", LICENSE.replace("GPL", "Dual BSD/GPL"))):
        source = PRELUDE + PROGRAM.replace("probe", name) + text
        write_project(tmp_path / "x", {f"{name}.bpf.c": source})
    with pytest.raises(BuildError) as caught:
        build(Path("x"))
    assert str(caught.value) == "x/b.bpf.c: licence 'Dual BSD/GPL', but 'GPL' in x/a.bpf.c"


def test_sources_that_do_not_link(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("a", "b"):
        write_project(tmp_path / "x", {f"{name}.bpf.c": PRELUDE + PROGRAM + LICENSE})
    with pytest.raises(BuildError, match=r"^the sources do not link$") as caught:
        build(Path("x"))
    assert "(probe) definition in 'x/b.bpf.c'" in caught.value.log
    assert "bpfpack-build" not in caught.value.log


def test_a_section_that_no_kernel_knows(tmp_path: Path) -> None:
    for section, near in (("bogus/x", ""), ("kprob/x", ", nearest 'kprobe'")):
        body = f'SEC("{section}") int probe(void *ctx) {{ return 0; }}\n'
        place = f"{tmp_path}/test.bpf.c:{line_in(body, 'SEC')}"
        error = fails(tmp_path, body)
        assert str(error) == f"{place}: unknown program section{near} in '{section}'"


def test_a_type_that_cannot_be_shown(tmp_path: Path) -> None:
    body = "struct event { int x BPFPACK_FIELD(format(path)); };\n" + RING + OUTPUT + PROGRAM
    assert "int of 4 bytes cannot be shown as path" in str(fails(tmp_path, body))


def test_an_event_type_that_is_only_declared(tmp_path: Path) -> None:
    body = "struct event;\n" + RING + OUTPUT + PROGRAM
    error = fails(tmp_path, body)
    at = line_in(body, "BPFPACK_OUTPUT")
    assert str(error) == f"{tmp_path}/test.bpf.c:{at}: struct event is declared and not defined"


def test_two_sources_that_describe_a_member_differently(tmp_path: Path) -> None:
    for name, form in (("a", "hex"), ("b", "dec")):
        ring = RING if name == "a" else RING.replace("struct {", "extern struct {")
        write_project(
            tmp_path,
            {
                f"{name}.bpf.c": PRELUDE
                + f"struct event {{ int pid BPFPACK_FIELD(format({form})); }};\n"
                + ring
                + OUTPUT
                + f'SEC("raw_tp/sys_enter") int probe_{name}(void *ctx) {{ return 0; }}\n'
                + (LICENSE if name == "a" else "")
            },
        )
    with pytest.raises(BuildError, match="'format' is said twice: 'hex' and 'dec'"):
        build(tmp_path)


def test_what_a_macro_said_in_vain_is_warned_of(tmp_path: Path) -> None:
    body = (
        "struct forgotten { int x BPFPACK_FIELD(format(hex)); };\n"
        'extern int CONFIG_HZ __kconfig BPFPACK_PARAM(help("no"));\n' + PROGRAM
    )
    warnings = built(tmp_path, body).warnings
    assert warnings == tuple(
        f"{tmp_path}/test.bpf.c:{line_in(body, at)}: '{said}' is not in the object: the compiler "
        "drops what is said of things that nothing refers to"
        for at, said in (("struct forgotten", "format=hex"), ("extern int", "help=no"))
    )


@pytest.mark.parametrize(
    "spelled", ["…", r"\xe2\x80\xa6", r"\342\200\246", r"\u2026", r"\U00002026", r'\xe2\x80" "\xa6']
)
def test_words_are_found_however_they_are_spelled(tmp_path: Path, spelled: str) -> None:
    body = f'const volatile int most BPFPACK_PARAM(help("and so on{spelled}"));\n' + (
        'SEC("raw_tp/sys_enter") int probe(void *ctx) { return most; }\n'
    )
    result = built(tmp_path, body)
    assert [param.help for param in result.config.params] == ["and so on…"]
    assert result.warnings == ()


def test_a_buffer_that_shows_nothing_is_warned_of(tmp_path: Path) -> None:
    (warning,) = built(tmp_path, EVENT + PROGRAM).warnings
    assert warning.startswith("map 'events' shows nothing: say what it carries with ")


def test_a_hidden_output_is_silent(tmp_path: Path) -> None:
    result = built(tmp_path, EVENT + OUTPUT + PROGRAM, toml="[outputs.events]\nhidden = true\n")
    assert (result.config.outputs, result.warnings) == ((), ())


def test_paths_that_hold_nothing(tmp_path: Path) -> None:
    for path in (tmp_path / "gone", tmp_path):
        with pytest.raises(UsageError, match=str(path)):
            build(path)


def test_paths_that_no_file_system_takes(tmp_path: Path) -> None:
    long = "a" * 300
    with pytest.raises(UsageError, match=f"^{long}: File name too long$"):
        build(Path(long))
    with pytest.raises(BuildError, match=f"{long}: File name too long$"):
        built(tmp_path, PROGRAM, toml=f'readme = "{long}"\n')
    assert "leaves the project" in str(fails(tmp_path, PROGRAM, 'readme = "a\\u0000b"\n'))


def test_a_directory_whose_name_is_too_long_for_a_package(tmp_path: Path) -> None:
    assert built(tmp_path / ("a" * 200), PROGRAM).config.name == "a" * 128


def test_an_architecture_whose_types_are_not_here(tmp_path: Path) -> None:
    body = '#include "vmlinux.h"\n'
    write_project(tmp_path, {"x.bpf.c": body})
    with pytest.raises(BuildError, match="the running kernel's types are"):
        build(tmp_path, BuildOptions(arch="riscv64"))
