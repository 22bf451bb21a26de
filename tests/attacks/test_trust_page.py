"""`docs/attacks.md` names what there is."""

import ast
import re
from functools import cache
from pathlib import Path

import pytest

from tests.kit.cli import REPO

PAGE = (REPO / "docs" / "attacks.md").read_text()
NAMED = sorted(set(re.findall(r"`((?:tests|spec)/[^`]+\.(?:py|json)[^`]*)`", PAGE)))


@cache
def names(path: Path) -> frozenset[str]:
    """The tests of a module, and its classes."""
    tree = ast.parse(path.read_text())
    return frozenset(
        node.name for node in tree.body if isinstance(node, ast.FunctionDef | ast.ClassDef)
    )


@pytest.mark.parametrize("named", NAMED)
def test_it_exists(named: str) -> None:
    path, _, test = named.partition("::")
    assert (REPO / path).is_file()
    assert not test or test in names(REPO / path)


def test_every_attack_on_trust_is_on_the_page() -> None:
    for path in sorted((REPO / "tests" / "attacks").glob("test_trust_*.py")):
        if path.name == Path(__file__).name:
            continue
        for name in names(path):
            if name.startswith("Test"):
                assert f"`tests/attacks/{path.name}::{name}`" in PAGE


def test_every_row_has_a_proof() -> None:
    rows = [line for line in PAGE.splitlines() if re.match(r"\| (?!attack|case)[^-|]", line)]
    assert len(rows) > 40
    assert all(re.search(r"`(?:tests|spec)/", row.rsplit("|", 2)[1]) for row in rows)
