"""The numbers we wrote down are those of the running kernel, which says them in its BTF."""

from functools import cache
from pathlib import Path

import pytest

from bpfpack.spec.btf import Btf, Enum
from bpfpack.spec.mapspec import MAP_TYPES
from bpfpack.spec.sections import ATTACH_TYPES, PROG_TYPES

pytestmark = pytest.mark.kernel


@cache
def vmlinux() -> Btf:
    return Btf.parse(Path("/sys/kernel/btf/vmlinux").read_bytes(), "little")


@pytest.mark.parametrize(
    ("enum", "prefix", "ours"),
    [
        ("bpf_prog_type", "BPF_PROG_TYPE_", PROG_TYPES),
        ("bpf_attach_type", "BPF_", ATTACH_TYPES),
        ("bpf_map_type", "BPF_MAP_TYPE_", MAP_TYPES),
    ],
)
def test_numbers(enum: str, prefix: str, ours: tuple[str, ...]) -> None:
    btf = vmlinux()
    type_id = btf.find(Enum, enum)
    assert type_id is not None
    found = btf[type_id]
    assert isinstance(found, Enum)
    checked = 0
    for name, value in found.values:
        if name.startswith("__") or "DEPRECATED" in name or value >= len(ours):
            continue
        spelled = name.removeprefix(prefix).lower()
        if spelled in ours:
            assert ours.index(spelled) == value, name
            checked += 1
    assert checked >= len(ours) - 3
