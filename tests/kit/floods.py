"""A program that writes a sequence into every word of its records, as fast as a CPU can."""

import ctypes
import mmap
import os
import struct
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from bpfpack.runner.session import Session
from bpfpack.spec.config import Output
from tests.kit.kernelobjects import opened

#: Words of a record, unless told.
WORDS: Final = 8
_U64: Final = struct.Struct("@Q")
#: Records that one system call makes.
_BURST: Final = 1 << 14
_SOURCE: Final = """
struct { __uint(type, BPF_MAP_TYPE_RINGBUF); __uint(max_entries, RING); } events SEC(".maps");
struct record { u64 words[WORDS]; };
const volatile u32 me, slow;
u64 sequence, lost, most;

static long one(u32 index, void *context)
{
    struct record *record;
    u64 at = sequence;

    if (at >= most) return 1;
    record = bpf_ringbuf_reserve(&events, sizeof *record, 0);
    if (!record) { lost++; return 0; }
    for (int i = 0; i < WORDS; i++) {
        if (slow) bpf_ktime_get_ns();
        record->words[i] = at;
    }
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


def flood(
    size: int, outputs: tuple[Output, ...] = (), *, words: int = WORDS, slow: bool = False
) -> Session:
    """Load and attach it, with a ring of ``size`` bytes; nothing is written yet.

    ``slow``: a record takes its time, so that a reader often comes while it is written.
    """
    source = f"#define RING {size}\n#define WORDS {words}\n#define BURST {_BURST}\n{_SOURCE}"
    values = {"me": struct.pack("=I", os.getpid()), "slow": struct.pack("=I", slow)}
    session = opened(source, outputs=outputs, values=values)
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

    # On another processor than the reader's: there the kernel is not interrupted for a burst.
    allowed = os.sched_getaffinity(0)
    one_of = {max(allowed)}

    def produce() -> None:
        os.sched_setaffinity(0, one_of)
        while not ending.is_set() and counted(session)[0] < most:
            call(0)

    thread = threading.Thread(target=produce)
    thread.start()
    try:
        os.sched_setaffinity(0, allowed - one_of or allowed)
        yield thread
    finally:
        os.sched_setaffinity(0, allowed)
        ending.set()
        thread.join()


class Checker:
    """Sees whether records come whole, and one after the other."""

    def __init__(self, words: int = WORDS) -> None:
        self._words = words
        self.seen = self.torn = 0

    def take(self, records: memoryview) -> None:
        """Check whole records that follow one another; count those that are not as they should."""
        from array import array

        words, size = records.cast("Q"), self._words
        count = len(words) // size
        expected = memoryview(array("Q", range(self.seen, self.seen + count)))
        if not all(words[i::size] == expected for i in range(size)):
            for i in range(count):
                one = words[i * size : (i + 1) * size].tolist()
                self.torn += one != [self.seen + i] * size
        self.seen += count


class CopyingReader:
    """What not to do: it copies the span first and looks at the headers of the copy.

    memcpy promises no order, and glibc's reads the end of a span before its beginning, so that
    the last record's header may be newer than its words: one in a million times.  This one
    reads from the end by pieces, so that it takes seconds to see one.
    """

    _PIECE: Final = 256

    def __init__(self, session: Session, words: int) -> None:
        self._words, self._record = words, struct.Struct(f"=Q{words}Q")
        ring = session.map("events")
        self._size = ring.max_entries
        page = mmap.PAGESIZE
        self._consumer = mmap.mmap(ring.fd, page)
        self._rest = mmap.mmap(ring.fd, page + 2 * self._size, prot=mmap.PROT_READ, offset=page)
        self._data = _address(ring.fd, self._size)
        self._copy = bytearray(2 * self._size)
        self._into = ctypes.addressof(ctypes.c_char.from_buffer(self._copy))
        self.seen = self.torn = 0

    def take(self) -> int:
        """Copy what is between the positions, walk the copy, and count what is torn in there."""
        (consumed,) = _U64.unpack_from(self._consumer)
        (produced,) = _U64.unpack_from(self._rest)
        span = produced - consumed
        begin = self._data + consumed % self._size
        for at in reversed(range(0, span, self._PIECE)):
            ctypes.memmove(self._into + at, begin + at, min(self._PIECE, span - at))
        count = self._walk(span)
        _U64.pack_into(self._consumer, 0, consumed + count * self._record.size)
        return count

    def _walk(self, span: int) -> int:
        """Look at the last record alone: those before it were complete before it was begun."""
        size = self._record.size
        count = span // size
        while count:
            header, *words = self._record.unpack_from(self._copy, (count - 1) * size)
            if not header >> 31 & 1:  # BPF_RINGBUF_BUSY_BIT
                self.seen += count
                self.torn += words != [self.seen - 1] * self._words
                break
            count -= 1
        return count

    def close(self) -> None:
        """Unmap the positions."""
        self._consumer.close()
        self._rest.close()


def _address(fd: int, size: int) -> int:
    """Map a ring's data, twice, for as long as this process lives."""
    call = ctypes.CDLL(None, use_errno=True).mmap
    call.restype = ctypes.c_void_p
    call.argtypes = [ctypes.c_void_p, ctypes.c_size_t, *3 * [ctypes.c_int], ctypes.c_long]
    page = mmap.PAGESIZE
    return int(call(None, 2 * size, mmap.PROT_READ, mmap.MAP_SHARED, fd, 2 * page))
