"""Records that the kernel would write of a process, and a stand-in for where it writes them."""

import struct

PARENT, PID = 1 << 22, (1 << 22) + 1
LOST, COMM, EXIT, FORK, MMAP2 = 2, 3, 4, 7, 10
EXECUTED, WITH_BUILD_ID = 1 << 13, 1 << 14
BUILD_ID = bytes(range(20))


def record(kind: int, time: int, body: bytes, flags: int = 0) -> bytes:
    body += bytes(-len(body) % 8)
    return struct.pack("=IHH", kind, flags, 16 + len(body)) + body + struct.pack("=Q", time)


def fork(time: int, pid: int = PID, parent: int = PARENT, thread: int = PID) -> bytes:
    return record(FORK, time, struct.pack("=4IQ", pid, parent, thread, parent, time))


def ended(time: int, pid: int = PID, thread: int = PID) -> bytes:
    return record(EXIT, time, struct.pack("=4IQ", pid, PARENT, thread, PARENT, time))


def executed(time: int, pid: int = PID) -> bytes:
    return record(COMM, time, struct.pack("=2I8s", pid, pid, b"a"), EXECUTED)


def mapped(time: int, name: bytes, start: int = 0x1000, *, build_id: bytes = b"") -> bytes:
    told = struct.pack("=2IQQ", 8, 1, 77, 0)
    if build_id:
        told = struct.pack("=B3x20s", len(build_id), build_id)
    body = struct.pack("=2I3Q24s2I", PID, PID, start, 0x1000, 0x400, told, 5, 2)
    return record(MMAP2, time, body + name + b"\0", WITH_BUILD_ID if build_id else 0)


class Told:
    """What a test says that each CPU has told."""

    fd = -1

    def __init__(self, *told: bytes) -> None:
        self.told = list(told)
        self.counted: int | None = None

    def read(self) -> list[bytes]:
        told, self.told = self.told, []
        return told

    def lost(self) -> int | None:
        return self.counted

    def close(self) -> None:
        """Nothing."""


def life() -> bytes:
    """A process from its fork to its end."""
    return fork(1) + executed(2) + mapped(3, b"/bin/a", build_id=BUILD_ID) + ended(4)
