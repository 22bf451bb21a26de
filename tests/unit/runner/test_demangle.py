"""Mangled names, of compilers and of attackers."""

import re
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from bpfpack.runner.symbols.demangle import Demangler


@pytest.fixture
def demangler() -> Iterator[Demangler]:
    made = Demangler()
    yield made
    made.close()


@pytest.mark.parametrize(
    ("mangled", "name"),
    [
        ("_ZN3foo3barEv", "foo::bar()"),
        (
            "_ZNSt6vectorIiSaIiEE9push_backERKi",
            "std::vector<int, std::allocator<int> >::push_back(int const&)",
        ),
        ("_ZNK3foo3barEi.constprop.0", "foo::bar(int) const [clone .constprop.0]"),
        ("_Z3fooIiET_v", "foo<int>()"),
        ("_ZN3std2io4Read11read_to_end17hb85a0f6802e14499E", "std::io::Read::read_to_end"),
        ("_RNvCs1234_7mycrate3foo", "mycrate::foo"),
    ],
)
def test_names_of_compilers(demangler: Demangler, mangled: str, name: str) -> None:
    assert demangler.name(mangled) == name


@pytest.mark.parametrize("name", ["main", "_start", "", "_Z", "_ZN", "_R", "_Z\n", "_Zé", "f(;)"])
def test_names_that_are_not_mangled(demangler: Demangler, name: str) -> None:
    assert demangler.name(name) == name


def test_nothing_runs_for_names_of_c(demangler: Demangler) -> None:
    demangler.name("main")
    assert demangler._process is None
    demangler.name("_ZN3foo3barEv")
    assert demangler._process is not None


def _doubling(levels: int) -> str:
    """Each argument holds the one before twice: 2**levels names."""
    digits = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ"
    ids = ["S_", *(f"S{a if a != '0' else ''}{b}_" for a in digits[:2] for b in digits)]
    return "_Z1f1AIiE" + "".join(f"S_I{ids[i + 1] * 2}E" for i in range(levels))


def _endless(kind: str) -> str:
    """Is read several times at each level."""
    return f"_ZTISt5c{'UypTISt5c' * 26}{kind}"


HOSTILE = [
    _doubling(40),
    _endless("w"),
    "_Z1f" + "P" * 1000 + "i",
    "_Z1f" + "PF" * 500,
    "_RNvMC1a" + "R" * 1000 + "eNvB2_1a",
    "_Z" + "N" * 1022,
    "_Z1f" + "x" * 5000,
]


def test_names_of_attackers_stay_as_they_are(demangler: Demangler) -> None:
    """And do not keep those of others from being read."""
    began = time.process_time()
    for name in HOSTILE:
        assert len(demangler.name(name)) <= max(4096, len(name))
        assert demangler.name("_ZN3foo3barEv") == "foo::bar()"
    assert demangler.name(HOSTILE[1]) == HOSTILE[1]
    assert time.process_time() - began < 5


def test_many_names_of_attackers_end_the_trying(demangler: Demangler) -> None:
    endless = [_endless(kind) for kind in "vwbcahstijlm"]
    assert [demangler.name(name) for name in endless] == endless
    assert demangler._process is None
    assert demangler.name("_ZN3foo3barEv") == "_ZN3foo3barEv"


def test_it_may_do_nothing_else(demangler: Demangler) -> None:
    demangler.name("_ZN3foo3barEv")
    assert demangler._process
    status = Path(f"/proc/{demangler._process.pid}/status").read_text()
    limits = Path(f"/proc/{demangler._process.pid}/limits").read_text()
    assert "CapPrm:\t0000000000000000" in status
    assert "NoNewPrivs:\t1" in status
    assert re.search(r"Max open files +0 +0 ", limits)


def test_it_ends_with_whoever_started_it(demangler: Demangler) -> None:
    demangler.name("_ZN3foo3barEv")
    process = demangler._process
    assert process and process.poll() is None
    demangler.close()
    assert process.returncode is not None
