"""A program that writes a sequence into every word of its records, as fast as a CPU can."""

import ctypes
import os
import struct
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from bpfpack.runner.session import Session
from bpfpack.spec.config import Output
from tests.kit.kernelobjects import opened

WORDS: Final = 8
#: Records that one system call makes.
_BURST: Final = 1 << 18
_SOURCE: Final = """
struct { __uint(type, BPF_MAP_TYPE_RINGBUF); __uint(max_entries, RING); } events SEC(".maps");
struct record { u64 words[8]; };
const volatile u32 me;
u64 sequence, lost, most;

static long one(u32 index, void *context)
{
    struct record *record;
    u64 at = sequence;

    if (at >= most) return 1;
    record = bpf_ringbuf_reserve(&events, sizeof *record, 0);
    if (!record) { lost++; return 0; }
    for (int i = 0; i < 8; i++) record->words[i] = at;
    bpf_ringbuf_submit(record, 0);
    sequence = at + 1;
    return 0;
}
SEC("tp/syscalls/sys_enter_getpgid") int program(void *context)
{
    if (caller() != me) return 0;
    bpf_loop(BURST, one, 0, 0);
    return 0;
}
"""


def flood(size: int, outputs: tuple[Output, ...] = ()) -> Session:
    """Load and attach it, with a ring of ``size`` bytes; nothing is written yet."""
    source = _SOURCE.replace("RING)", f"{size})").replace("BURST", str(_BURST))
    session = opened(source, outputs=outputs, values={"me": struct.pack("=I", os.getpid())})
    try:
        session.attach()
    except BaseException:
        session.close()
        raise
    return session


def counted(session: Session) -> tuple[int, int]:
    """Records made, and those that found no room."""
    made, lost = struct.unpack("=QQ", (session.map(".bss").lookup(bytes(4)) or b"")[:16])
    return made, lost


@contextmanager
def flowing(session: Session, most: int) -> Iterator[threading.Thread]:
    """Have a thread make records until there are ``most``, or the block ends."""
    bss = session.map(".bss")
    bss.update(bytes(4), struct.pack("=QQQ", 0, 0, most).ljust(bss.value_size, b"\0"))
    ending = threading.Event()
    # Not os.getpgid: that holds the interpreter for as long as the kernel takes.
    call = ctypes.CDLL(None).getpgid

    def produce() -> None:
        while not ending.is_set() and counted(session)[0] < most:
            call(0)

    thread = threading.Thread(target=produce)
    thread.start()
    try:
        yield thread
    finally:
        ending.set()
        thread.join()


class Checker:
    """Sees whether records come whole, and one after the other."""

    def __init__(self) -> None:
        self.seen = 0
        self.torn = 0

    def take(self, records: memoryview) -> None:
        """Check whole records that follow one another; count those that are not as they should."""
        from array import array

        words = records.cast("Q")
        count = len(words) // WORDS
        expected = memoryview(array("Q", range(self.seen, self.seen + count)))
        if not all(words[i::WORDS] == expected for i in range(WORDS)):
            for i in range(count):
                one = words[i * WORDS : (i + 1) * WORDS].tolist()
                self.torn += one != [self.seen + i] * WORDS
        self.seen += count
