"""Bounds: each is held somewhere, and SPEC.md tells the same numbers."""

import re
from typing import Final

import pytest

from bpfpack.spec.limits import KIB, LIMITS, MIB
from tests.kit.vectors import SPEC

REPO: Final = SPEC.parent
#: Bounds by the words in which SPEC.md tells them.
TOLD: Final = {
    "a manifest or index 4 MiB": LIMITS.manifest == 4 * MIB,
    f"{LIMITS.layers} layers in a package": LIMITS.layers == 64,
    f"{LIMITS.index_children} children in an index": LIMITS.index_children == 1000,
    f"{LIMITS.index_depth} indexes deep": LIMITS.index_depth == 3,
    f"{LIMITS.annotations} annotations": LIMITS.annotations == 1024,
    "of 64 KiB each": LIMITS.annotation_value == 64 * KIB,
    f"{LIMITS.json_integer_digits} digits": LIMITS.json_integer_digits == 20,
    f"nesting exceeds {LIMITS.json_depth}": LIMITS.json_depth == 64,
    f"At most {LIMITS.signature_candidates} candidates": LIMITS.signature_candidates == 256,
    "512 MiB in all": LIMITS.package == 512 * MIB,
}


@pytest.mark.parametrize("words", TOLD)
def test_the_specification_tells_the_same(words: str) -> None:
    text = re.sub(r"\s+", " ", (SPEC / "SPEC.md").read_text())
    assert TOLD[words] and words in text


def test_every_bound_is_held() -> None:
    source = "".join(
        path.read_text()
        for root in ("spec", "builder", "registry", "runner", "cli")
        for path in (REPO / root).rglob("*.py")
        if path.name != "limits.py"
    )
    names = [name for name in type(LIMITS).__annotations__ if f".{name}" not in source]
    assert not names
