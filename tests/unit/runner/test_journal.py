"""Journals: what is written, what is read of damaged ones, and whose are undone."""

import contextlib
import errno
import fcntl
import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bpfpack.runner.attach.clsact import ClsactEntry
from bpfpack.runner.journal import Content, Journal, Newer, Owner, parse
from bpfpack.runner.netns import Namespace
from bpfpack.runner.recovery import Recovered, recover
from bpfpack.spec.errors import LimitExceeded, StoreError
from bpfpack.spec.limits import LIMITS

#: Of a namespace that never was.
ENTRY: Final = ClsactEntry(
    namespace=Namespace(inode=1, cookie=2),
    ifindex=3,
    direction="ingress",
    priority=49152,
    handle=4,
    program_id=5,
)
DEAD: Final = Owner(pid=2**22 + 1, started=1, boot=Owner.me().boot)


@pytest.fixture
def directory(tmp_path: Path) -> Iterator[int]:
    tmp_path.chmod(0o700)
    fd = os.open(tmp_path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        yield fd
    finally:
        os.close(fd)


def lines(*entries: object, owner: Owner = DEAD, version: int = 1) -> bytes:
    head = {"version": version, "pid": owner.pid, "started": owner.started, "boot": owner.boot}
    return b"".join(json.dumps(one).encode() + b"\n" for one in (head, *entries))


def write(path: Path, data: bytes) -> Path:
    path.write_bytes(data)
    path.chmod(0o600)
    return path


def test_what_is_written_is_read(directory: int, tmp_path: Path) -> None:
    journal = Journal.create(directory)
    assert journal.record(ENTRY) == 0
    assert journal.record(ENTRY) == 1
    (file,) = tmp_path.iterdir()
    assert file.name == journal.name
    assert file.stat().st_mode & 0o777 == 0o600
    assert parse(file.read_bytes()) == Content(owner=Owner.me(), entries=(ENTRY, ENTRY))
    journal.discard()
    assert not list(tmp_path.iterdir())


def test_an_entry_is_on_the_disk_before_record_returns(
    directory: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Counted, because nothing else tells a written page from a durable one."""
    synced: list[int] = []
    real = os.fsync

    def fsync(fd: int) -> None:
        synced.append(os.fstat(fd).st_size)
        real(fd)

    monkeypatch.setattr(os, "fsync", fsync)
    journal = Journal.create(directory)
    journal.record(ENTRY)
    size = os.stat(journal.name, dir_fd=directory).st_size
    assert synced[-1] == size
    journal.discard()


def test_a_full_disk_is_told_and_nothing_is_recorded(
    directory: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    journal = Journal.create(directory)

    real = os.write

    def full(fd: int, data: memoryview) -> int:
        if len(data) < 100:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return real(fd, data[:50])  # half a line, then no more

    monkeypatch.setattr(os, "write", full)
    with pytest.raises(StoreError, match="No space left"):
        journal.record(ENTRY)
    monkeypatch.undo()
    assert journal.record(ENTRY) == 0
    (file,) = tmp_path.iterdir()
    assert parse(file.read_bytes()) == Content(owner=Owner.me(), entries=(ENTRY,))
    journal.discard()


def test_a_journal_takes_no_more_than_can_be_read(directory: int, tmp_path: Path) -> None:
    journal = Journal.create(directory)
    for _ in range(LIMITS.journal_entries):
        journal.record(ENTRY)
    with pytest.raises(StoreError, match="more than"):
        journal.record(ENTRY)
    (file,) = tmp_path.iterdir()
    assert len(parse(file.read_bytes()).entries) == LIMITS.journal_entries
    journal.discard()


def test_a_last_line_without_its_end_was_never_attached() -> None:
    whole = lines(ENTRY.to_dict(), ENTRY.to_dict())
    for cut in range(1, 60):
        assert parse(whole[:-cut]) == Content(owner=DEAD, entries=(ENTRY,))
    assert parse(b"") == parse(whole[:20]) == Content(owner=None, entries=())


@pytest.mark.parametrize(
    "change",
    [
        {"priority": 0},
        {"priority": 65536},
        {"handle": 0},
        {"handle": -1},
        {"handle": 2**31},
        {"ifindex": 0},
        {"programId": True},
        {"programId": "5"},
        {"direction": "sideways"},
        {"netns": {}},
        {"netns": {"inode": 0}},
        {"kind": 7},
    ],
)
def test_a_line_that_says_nothing_is_a_fault(change: dict[str, Any]) -> None:
    found = parse(lines(ENTRY.to_dict() | change, ENTRY.to_dict()))
    assert found.entries == (ENTRY,)
    assert len(found.faults) == 1


@given(st.binary(max_size=300))
def test_any_bytes_are_a_journal_or_an_error(data: bytes) -> None:
    for text in (data, lines() + data + b"\n", data + b"\n" + lines(ENTRY.to_dict())):
        try:
            parse(text)
        except (LimitExceeded, Newer):
            continue


@given(st.integers(0, 2000), st.integers(0, 7))
def test_a_changed_bit_never_makes_more_entries(at: int, bit: int) -> None:
    data = bytearray(lines(ENTRY.to_dict(), ENTRY.to_dict()))
    data[at % len(data)] ^= 1 << bit
    with contextlib.suppress(LimitExceeded, Newer):
        assert len(parse(bytes(data)).entries) <= 2


def test_a_journal_of_a_dead_owner_is_undone(directory: int, tmp_path: Path) -> None:
    write(tmp_path / "1.journal", lines(ENTRY.to_dict()))
    other = tmp_path / "notes.txt"
    other.touch()
    # Its namespace is gone, and the filter with it.
    assert recover(directory) == Recovered()
    assert list(tmp_path.iterdir()) == [other]


def test_a_journal_of_an_owner_that_lives_is_left(directory: int, tmp_path: Path) -> None:
    journal = Journal.create(directory)
    journal.record(ENTRY)
    assert recover(directory) == Recovered()
    journal.unlock()  # without the lock the process is looked for
    assert recover(directory) == Recovered()
    (file,) = tmp_path.iterdir()
    file.write_bytes(lines(ENTRY.to_dict()))
    fd = os.open(file, os.O_RDONLY)
    fcntl.flock(fd, fcntl.LOCK_EX)  # and without the process the lock is believed
    assert recover(directory) == Recovered()
    assert file.exists()
    os.close(fd)
    recover(directory)
    assert not file.exists()
    journal.close()


def test_a_pid_that_is_another_process_does_not_live() -> None:
    me = Owner.me()
    assert me.lives
    for other in (
        Owner(pid=me.pid, started=me.started + 1, boot=me.boot),
        Owner(pid=me.pid, started=me.started, boot="another"),
        DEAD,
    ):
        assert not other.lives


def test_a_process_that_nobody_waited_for_does_not_live() -> None:
    reading, writing = os.pipe()
    pid = os.posix_spawn("/bin/cat", ["cat"], {}, file_actions=[(os.POSIX_SPAWN_DUP2, reading, 0)])
    os.close(reading)
    stat = Path(f"/proc/{pid}/stat")
    started = int(stat.read_text().rpartition(")")[2].split()[19])
    assert Owner(pid=pid, started=started, boot=Owner.me().boot).lives
    os.kill(pid, 9)
    os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)
    assert not Owner(pid=pid, started=started, boot=Owner.me().boot).lives
    os.waitpid(pid, 0)
    os.close(writing)


def test_a_journal_of_another_boot_undoes_nothing(directory: int, tmp_path: Path) -> None:
    before = Owner(pid=1, started=1, boot="00000000-0000-0000-0000-000000000000")
    write(tmp_path / "1.journal", lines(ENTRY.to_dict(), owner=before))
    assert recover(directory) == Recovered()
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("data", "told"),
    [
        (b"x" * (LIMITS.journal + 1), "larger than"),
        (lines(*[1] * (LIMITS.journal_entries + 1)), "more than"),
        (lines({"kind": None}, ENTRY.to_dict()), "not a string in 'kind'"),
        (b"\xff\n" + lines(ENTRY.to_dict()), "not UTF-8"),
        (b"[]\n", "not a JSON object"),
    ],
)
def test_a_damaged_journal_is_removed_and_told(
    directory: int, tmp_path: Path, data: bytes, told: str
) -> None:
    write(tmp_path / "1.journal", data)
    found = recover(directory)
    assert len(found.problems) == 1
    assert "1.journal was damaged and is removed" in found.problems[0]
    assert told in found.problems[0]
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    "data", [lines({"kind": "sockmap"}), lines(ENTRY.to_dict(), version=2)], ids=["kind", "version"]
)
def test_what_only_a_newer_bpfpack_knows_is_left_to_it(
    directory: int, tmp_path: Path, data: bytes
) -> None:
    file = write(tmp_path / "1.journal", data)
    (told,) = recover(directory).problems
    assert "a newer bpfpack" in told
    assert file.read_bytes() == data


@pytest.mark.parametrize("what", ["fifo", "link", "directory", "writable"])
def test_what_others_may_have_put_there_is_not_read(
    directory: int, tmp_path: Path, what: str
) -> None:
    elsewhere = write(tmp_path / "elsewhere", lines(ENTRY.to_dict()))
    path = tmp_path / "0.journal"
    match what:
        case "fifo":
            os.mkfifo(path)
        case "link":
            path.symlink_to(elsewhere)
        case "directory":
            path.mkdir()
        case _:
            write(path, lines(ENTRY.to_dict())).chmod(0o666)
    good = write(tmp_path / "1.journal", lines(ENTRY.to_dict()))
    (told,) = recover(directory).problems
    assert "journal 0.journal: " in told
    assert os.path.lexists(path)
    assert not good.exists()  # one bad file stops nobody
