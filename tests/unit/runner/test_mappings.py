"""What processes have mapped: of real ones, and as the kernel would tell it."""

import ctypes
import os
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bpfpack.runner.symbols.mappings import Image, MappedFile, Mapping, Mappings
from bpfpack.spec.limits import LIMITS

PROGRAM, LIBRARY, OTHER = (MappedFile(name, name) for name in ("/bin/a", "/lib/b.so", "/bin/c"))
#: No process has such a number.
NOBODY = 1 << 22


@pytest.fixture
def told() -> Mappings:
    return Mappings(fed=True)


def name(mappings: Mappings, pid: int, address: int) -> str | None:
    mappings.look(pid)
    found = mappings.find(pid, address)
    return None if found is None else found.name


def started(mappings: Mappings, pid: int, file: MappedFile = PROGRAM) -> None:
    mappings.executed(pid)
    mappings.mapped(pid, Mapping(0x1000, 0x2000, 0, file))


def test_a_program_that_has_ended(told: Mappings) -> None:
    started(told, NOBODY)
    told.ended(NOBODY)
    assert told.known(NOBODY)
    assert name(told, NOBODY, 0x1800) == "/bin/a"
    assert name(told, NOBODY, 0x2000) is None


def test_a_fork_has_what_its_parent_has_until_one_maps_more(told: Mappings) -> None:
    started(told, NOBODY)
    told.forked(NOBODY + 1, NOBODY)
    told.mapped(NOBODY + 1, Mapping(0x5000, 0x6000, 0, LIBRARY))
    told.mapped(NOBODY, Mapping(0x7000, 0x8000, 0, OTHER))
    told.ended(NOBODY + 1)
    assert [name(told, NOBODY + 1, at) for at in (0x1000, 0x5000, 0x7000)] == [
        "/bin/a",
        "/lib/b.so",
        None,
    ]
    assert [name(told, NOBODY, at) for at in (0x1000, 0x5000, 0x7000)] == ["/bin/a", None, "/bin/c"]


def test_a_fork_of_a_process_that_was_there_before(told: Mappings) -> None:
    """It ends before anybody looks; its parent is still there to be asked."""
    address = ctypes.cast(ctypes.CDLL(None).getpid, ctypes.c_void_p).value or 0
    told.forked(NOBODY, os.getpid())
    told.ended(NOBODY)
    assert "libc" in (name(told, NOBODY, address) or "")


def test_the_number_of_another_process(told: Mappings) -> None:
    started(told, NOBODY)
    told.ended(NOBODY)
    started(told, NOBODY + 1, OTHER)
    told.forked(NOBODY, NOBODY + 1)
    assert name(told, NOBODY, 0x1000) == "/bin/c"


def test_another_program_in_the_same_process(told: Mappings) -> None:
    started(told, NOBODY)
    told.executed(NOBODY)
    told.mapped(NOBODY, Mapping(0x8000, 0x9000, 0, OTHER))
    assert name(told, NOBODY, 0x8000) == "/bin/c"
    assert name(told, NOBODY, 0x1000) == "/bin/a"
    for _ in range(LIMITS.stack_programs):
        told.executed(NOBODY)
    assert name(told, NOBODY, 0x1000) is None


def test_after_a_loss_a_process_that_is_there_is_asked_again(told: Mappings) -> None:
    started(told, os.getpid(), OTHER)
    own = Mappings()
    own.look(os.getpid())
    place = next(a for a in _addresses() if own.find(os.getpid(), a))
    assert name(told, os.getpid(), place) is None
    told.missed()
    assert name(told, os.getpid(), place) is not None


def _addresses() -> Iterator[int]:
    with Path("/proc/self/maps").open() as maps:
        for line in maps:
            yield int(line.split("-")[0], 16)


def test_where_paths_begin(told: Mappings) -> None:
    started(told, NOBODY)
    told.forked(NOBODY + 1, NOBODY)
    told.forked(NOBODY + 2, NOBODY + 1)
    told.ended(NOBODY + 2)
    assert list(told.roots(NOBODY + 2)) == [
        f"/proc/{NOBODY + 1}/root",
        f"/proc/{NOBODY}/root",
        "/",
    ]


def test_many_processes(told: Mappings) -> None:
    """Those that ended first are forgotten first, whatever they had mapped."""
    many = LIMITS.stack_processes + 100
    for pid in range(NOBODY, NOBODY + many):
        started(told, pid)
        if pid % 2:
            told.ended(pid)
    assert name(told, NOBODY + 1, 0x1000) is None
    assert name(told, NOBODY, 0x1000) == "/bin/a"
    assert name(told, NOBODY + many - 1, 0x1000) == "/bin/a"


def test_many_mappings(told: Mappings) -> None:
    started(told, NOBODY)
    told.ended(NOBODY)
    for pid in range(NOBODY + 1, NOBODY + 4):
        told.executed(pid)
        for i in range(LIMITS.stack_mappings // 2):
            told.mapped(pid, Mapping(i << 13, (i << 13) + 4096, 0, LIBRARY))
    assert name(told, NOBODY, 0x1000) is None
    assert told._total <= LIMITS.stack_mappings
    assert sum(len(i) for p in told._processes.values() for i in p.images) == told._total


def test_the_end_of_all_addresses() -> None:
    image, last = Image(whole=True), (1 << 64) - 1
    image.add(Mapping(0, last, last, PROGRAM))
    image.add(Mapping(0x1000, 0x2000, 0, LIBRARY))
    assert image.find(0x2000) == Mapping(0x2000, last, 0x1FFF, PROGRAM)


def test_memory_of_many() -> None:
    """An address, a length and an offset for each mapping, and a file that all of them share."""
    image = Image(whole=True)
    for i in range(10_000):
        image.add(Mapping(i << 13, (i << 13) + 4096, 0, LIBRARY))
    held = (image._starts, image._ends, image._offsets, image._files)
    assert sum(map(sys.getsizeof, held)) < 48 * 10_000


ranges = st.tuples(st.integers(0, 60), st.integers(1, 20), st.integers(0, 2))


@given(st.lists(ranges, max_size=40))
def test_what_is_mapped_last_is_there(told: list[tuple[int, int, int]]) -> None:
    image, model = Image(whole=True), dict[int, tuple[MappedFile, int]]()
    for number, (start, length, which) in enumerate(told):
        file = (PROGRAM, LIBRARY, OTHER)[which]
        offset = 1000 * number
        image.add(Mapping(start, start + length, offset, file))
        model |= {at: (file, offset + at - start) for at in range(start, start + length)}
    for at in range(90):
        found = image.find(at)
        seen = None if found is None else (found.file, found.offset + at - found.start)
        assert seen == model.get(at)
