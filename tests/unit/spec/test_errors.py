"""Errors: one line, a class for each reader, and what to do next."""

import errno
import inspect

import pytest

from bpfpack.spec import errors
from bpfpack.spec.errors import (
    BpfpackError,
    ConfigMismatch,
    KernelError,
    LimitExceeded,
    MissingCapability,
    ProgramRejected,
    SpecError,
    TransportError,
    TrustError,
    Unsupported,
)

FAMILY = [c for _, c in inspect.getmembers(errors, inspect.isclass) if issubclass(c, BpfpackError)]


def test_the_picture_shows_the_family() -> None:
    picture = inspect.getdoc(errors) or ""
    assert all(c.__name__ in picture for c in FAMILY)


@pytest.mark.parametrize("kind", [SpecError, LimitExceeded, ConfigMismatch])
def test_a_fault_is_seen_from_further_out(kind: type[SpecError]) -> None:
    fault = kind("bad", path=("c",)).with_hint("mend it").inside("b").inside("a[0]")
    assert type(fault) is kind
    assert (str(fault), fault.path, fault.hint) == (
        "bad in 'a[0].b.c'",
        ("a[0]", "b", "c"),
        "mend it",
    )
    assert str(kind("bad")) == "bad"


def test_a_hint_belongs_to_one_error() -> None:
    assert SpecError("a").with_hint("x").hint == "x"
    assert SpecError("b").hint is None
    assert isinstance(SpecError("a"), ValueError)


def test_kernel_errors_are_os_errors() -> None:
    found = KernelError(errno.EPERM, "Operation not permitted", "bpf")
    assert isinstance(found, OSError)
    assert (found.errno, str(found)) == (errno.EPERM, "bpf: Operation not permitted")
    assert str(KernelError(errno.EPERM, "no")) == "no"
    missing = MissingCapability(("CAP_BPF", "CAP_PERFMON"), "loading")
    assert str(missing) == "loading: needs CAP_BPF, CAP_PERFMON"
    unsupported = Unsupported("kprobe", "CONFIG_KPROBES is not set", minimum="4.1")
    assert (unsupported.feature, unsupported.minimum, unsupported.errno) == ("kprobe", "4.1", 95)


@pytest.mark.parametrize(
    ("log", "shown"),
    [
        ("", "p: rejected by the verifier"),
        ("a", "p: a"),
        ("processed 1 insns", "p: rejected by the verifier (1 line omitted)"),
        ("a\nb\n\nprocessed 2 insns\n", "p: b (3 lines omitted)"),
    ],
)
def test_a_rejection_is_one_line(log: str, shown: str) -> None:
    found = ProgramRejected(13, "p", log)
    assert (str(found), found.log) == (shown, log)


def test_what_they_carry() -> None:
    assert TransportError("x", status=503).status == 503
    assert TransportError("x").status is None
    assert TrustError("x", reasons=("a", "b")).reasons == ("a", "b")
    assert errors.BuildError("x", log="long").log == "long"
