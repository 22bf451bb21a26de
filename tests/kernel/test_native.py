"""The binding: prototypes against the C headers, errors, messages, handles."""

import re
from pathlib import Path

import pytest

from bpfpack.runner._native import libbpf
from bpfpack.runner._native.libbpf import PROTOTYPES, captured, describe, fn
from bpfpack.runner._native.objects import NativeObject, VerifierLog
from bpfpack.spec.errors import KernelError, Unsupported
from tests.kit.kernelobjects import compile_text

pytestmark = pytest.mark.kernel

HEADERS = ("libbpf.h", "bpf.h", "btf.h")


def _declared() -> dict[str, int]:
    """How many parameters each function of libbpf's headers has."""
    found = {}
    for name in HEADERS:
        text = Path("/usr/include/bpf", name).read_text()
        text = re.sub(r"/\*.*?\*/", "", text, flags=re.DOTALL)
        for function, parameters in re.findall(r"LIBBPF_API[^;(]*?(\w+)\(([^;]*)\);", text):
            found[function] = 0 if parameters.strip() == "void" else parameters.count(",") + 1
    return found


def test_every_prototype_has_as_many_parameters_as_the_header_says() -> None:
    declared = _declared()
    ours = {name: len(prototype) - 2 for name, prototype in PROTOTYPES.items()}
    assert ours == {name: declared[name] for name in ours}


@pytest.mark.parametrize("name", sorted(PROTOTYPES))
def test_every_function_binds_with_its_check(name: str) -> None:
    bound = fn(name)
    assert bound.argtypes is not None  # type: ignore[attr-defined]  # a ctypes function
    assert bound.errcheck is PROTOTYPES[name][0]  # type: ignore[attr-defined]  # a ctypes function


def test_a_newer_symbol_is_detected(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(PROTOTYPES, "bpf_from_the_future", (libbpf.check_int, None))
    with pytest.raises(Unsupported, match="bpf_from_the_future") as e:
        fn("bpf_from_the_future")
    assert e.value.hint and "newer libbpf" in e.value.hint


def test_a_missing_library_is_an_error_with_the_package_to_install(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("BPFPACK_LIBBPF", "/nowhere/libbpf.so.1")
    libbpf.lib.cache_clear()
    try:
        with pytest.raises(KernelError, match=r"/nowhere/libbpf.so.1: cannot be loaded") as e:
            libbpf.lib()
        assert e.value.hint and "libbpf1" in e.value.hint
    finally:
        libbpf.lib.cache_clear()


def test_a_library_that_is_not_named_is_the_usual_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BPFPACK_LIBBPF", "")
    libbpf.lib.cache_clear()
    try:
        assert libbpf.version().startswith("v1.")
    finally:
        libbpf.lib.cache_clear()


def test_a_library_older_than_1_0_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BPFPACK_LIBBPF", "libc.so.6")
    libbpf.lib.cache_clear()
    try:
        with pytest.raises(Unsupported) as e:
            libbpf.lib()
        assert e.value.minimum == "1.0"
    finally:
        libbpf.lib.cache_clear()


@pytest.mark.parametrize(
    ("code", "text"),
    [(2, "No such file or directory"), (524, "not supported"), (4001, "format invalid")],
)
def test_errors_have_words(code: int, text: str) -> None:
    assert text in describe(code)


def test_garbage_is_libbpf_s_own_error() -> None:
    with captured() as messages, pytest.raises(KernelError) as e:
        NativeObject.open("garbage", b"not an ELF object")
    assert e.value.errno and e.value.errno >= 4000
    assert messages and "garbage" in messages[0]


def test_messages_are_captured_and_never_reach_stderr(capfd: pytest.CaptureFixture[str]) -> None:
    with captured() as outer, captured() as inner, pytest.raises(KernelError):
        NativeObject.open("x", b"garbage")
    assert inner and not outer
    assert capfd.readouterr() == ("", "")


def test_messages_that_nobody_captures_go_to_logging(
    caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(KernelError):
        NativeObject.open("x", b"garbage")
    assert caplog.records and caplog.records[0].name == "bpfpack.libbpf"
    assert capfd.readouterr() == ("", "")


def test_a_closed_object_cannot_be_used() -> None:
    opened = NativeObject.open(
        "x", compile_text('SEC("raw_tp/sys_enter") int p(void *c){return 0;}')
    )
    (program,) = opened.programs()
    opened.close()
    opened.close()
    with pytest.raises(ValueError, match="closed"):
        opened.load(VerifierLog())
    with pytest.raises(ValueError, match="closed"):
        _ = program.name


def test_a_write_outside_of_a_section_of_globals_is_refused() -> None:
    source = 'u32 g = 1; SEC("raw_tp/sys_enter") int p(void *c){return g;}'
    with NativeObject.open("x", compile_text(source)) as opened:
        section = opened.map(".data")
        section.write_initial(0, b"1234")
        for offset in (-1, 1, 2**40):
            with pytest.raises(KernelError, match="outside"):
                section.write_initial(offset, b"1234")
