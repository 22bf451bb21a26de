"""The vectors of the specification, held against the Python model, and against SPEC.md."""

import re
import subprocess
import sys
from typing import Final

import pytest

from bpfpack.spec import errors
from bpfpack.spec.errors import BpfpackError
from tests.kit.vectors import OUTCOMES, SPEC, VECTORS, Vector, outcome, vectors

REPO: Final = SPEC.parent
CLAUSE: Final = re.compile(r"^(\d+\.\d+)\. (.*?)(?=^\d+\.\d+\. |^#|\Z)", re.MULTILINE | re.DOTALL)
#: What each vector may hold besides its input.
ALWAYS: Final = {"kind", "clause"}
INPUTS: Final = {"input", "text", "parts", "base64", "record"}
#: Clauses that one input cannot show, and the tests that do.
PROVED_BY: Final = {
    "1.2": "tests/unit/spec/test_reference.py",
    "3.5": "tests/unit/spec/test_bounded.py",
    "4.4": "tests/unit/builder/test_reproducible.py",
    "5.7": "tests/unit/builder/test_header.py",
    "6.5": "tests/unit/builder/test_diagnostics.py",
    "7.7": "tests/kernel/test_attach_iterator.py",
    "8.1": "tests/unit/spec/test_signature_vectors.py",
    "8.3": "tests/unit/spec/test_trust_attacks.py",
    "8.5": "tests/unit/registry/test_trust_collect.py",
    "8.7": "tests/unit/spec/test_trust.py",
    "8.8": "tests/acceptance/test_sudo.py",
}


def clauses() -> dict[str, str]:
    """The numbered clauses of SPEC.md and their text."""
    return dict(CLAUSE.findall((SPEC / "SPEC.md").read_text()))


@pytest.mark.parametrize("vector", [v for v in vectors() if v.valid], ids=str)
def test_valid(vector: Vector) -> None:
    assert outcome(vector) == vector.data["expect"]


@pytest.mark.parametrize("vector", [v for v in vectors() if not v.valid], ids=str)
def test_invalid(vector: Vector) -> None:
    expected = getattr(errors, vector.data["error"])
    with pytest.raises(BpfpackError) as caught:
        outcome(vector)
    assert caught.type is expected, f"{caught.type.__name__}: {caught.value}"
    assert list(getattr(caught.value, "path", ())) == vector.data.get("path", [])
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("vector", vectors(), ids=str)
def test_form(vector: Vector) -> None:
    data = vector.data
    top, kind, name = vector.name.removesuffix(".json").split("/")
    assert top in ("valid", "invalid") and kind == vector.kind
    assert re.fullmatch(r"[a-z0-9]+(?:[.-][a-zA-Z0-9]+)*", name)
    assert set(data) >= ALWAYS and len(INPUTS & set(data)) == 1
    assert ("expect" in data) == vector.valid
    assert ("error" in data and "fault" in data) != vector.valid
    if not vector.valid:
        assert re.fullmatch(r"[A-Z0-9.].*[.?]", data["fault"])


def test_there_are_enough() -> None:
    invalid = [v for v in vectors() if not v.valid]
    assert len(invalid) >= 60
    assert {v.kind for v in vectors() if v.valid} == set(OUTCOMES)
    # A list of tags cannot be wrong, only without a release.
    assert {v.kind for v in invalid} == set(OUTCOMES) - {"version"}


def test_the_readme_names_every_kind() -> None:
    text = (VECTORS / "README.md").read_text()
    assert set(re.findall(r"^\| `([a-z-]+)` \|", text, re.MULTILINE)) == set(OUTCOMES)


def test_every_clause_that_a_vector_cites_exists() -> None:
    assert {v.data["clause"] for v in vectors()} <= set(clauses())


def test_clauses_are_numbered_in_order() -> None:
    found = [tuple(map(int, number.split("."))) for number in clauses()]
    assert found == sorted(set(found))
    for section, number in found:
        assert number == 1 or (section, number - 1) in found


def test_every_clause_that_demands_has_a_proof() -> None:
    demanding = {n for n, text in clauses().items() if re.search(r"\bMUST\b", text)}
    cited = {v.data["clause"] for v in vectors()}
    assert demanding <= cited | set(PROVED_BY)
    assert set(PROVED_BY) <= set(clauses())


@pytest.mark.parametrize("path", sorted(set(PROVED_BY.values())))
def test_the_proof_exists(path: str) -> None:
    assert "def test_" in (REPO / path).read_text()


def test_the_binary_ones_are_what_the_script_writes() -> None:
    done = subprocess.run(
        (sys.executable, REPO / "scripts/vectors.py", "--check"),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    made = {str(p.relative_to(VECTORS)) for p in VECTORS.rglob("*.json")}
    by_hand = {v.name for v in vectors() if "base64" not in v.data}
    assert {v.name for v in vectors() if v.kind in ("object", "btf")} == made - by_hand - {
        "invalid/json/not-utf8.json",
        "invalid/json/overlong-utf8.json",
        "invalid/json/utf16.json",
    }
