"""A filter asked in Python and, as instructions, in the engine's C."""

import ctypes
import struct
from collections.abc import Sequence
from typing import Final

from bpfpack.runner.events.formatter import EventOutput
from bpfpack.runner.events.selector import Selector
from bpfpack.runner.filters.bytecode import overflow_of
from bpfpack.runner.filters.filter import Filter, make_filters
from tests.kit.enginehost import library
from tests.kit.records import field, layout

#: An event with a field of every kind.
EVENT: Final = layout(
    field("pid", "uint", 0, 4, format="pid"),
    field("ret", "int", 4, 4, format="errno"),
    field("comm", "string", 8, 16),
    field("lat", "uint", 24, 8, format="duration", unit="us"),
    field("addr", "uint", 32, 4, format="ipv4"),
    field("kind", "enum", 36, 4, labels={0: "OPEN", 1: "CLOSE", 2: "OPENAT"}),
    field(
        "flags", "uint", 40, 4, format="flags", labels={0: "O_RDONLY", 1: "O_WRONLY", 64: "O_CREAT"}
    ),
    field("ok", "bool", 44, 1),
    field("nr", "int", 48, 8, format="syscall"),
    field("ports", "uint", 56, 2, format="port", dimensions=(3,)),
    field("to", "bytes", 64, 16, format="ipv6"),
    field("mac", "bytes", 80, 6, format="hex"),
    field("load", "float", 88, 4),
    field("size", "uint", 92, 4, format="bytes"),
    field("owner.uid", "uint", 96, 4, format="user"),
    field("when", "uint", 104, 8, format="timestamp"),
    field("path", "string", 112, 0),
)
#: One such.
RECORD: Final = (
    struct.pack(
        "<Ii16sQ4sII?3xq3H2x16s6s2xfI4sxxxxQ",
        *(42, -2, b"sshd", 1500, bytes([10, 1, 2, 3]), 1, 0x41, True, 257),
        *struct.unpack("<3H", struct.pack(">3H", 80, 443, 53)),
        *(bytes(10) + b"\xff\xff\x0a\x01\x02\x03", bytes.fromhex("001b213c9df8"), 0.1, 4096),
        *(bytes(4), 0),
    )
    + "/etc/café\0".encode()
)


class Compiled:
    """The image of a filter and the C that runs it."""

    def __init__(self, of: Filter, output: EventOutput) -> None:
        image = of.image()
        self._image = ctypes.create_string_buffer(image, len(image))
        self._select = Selector([(t.layout, t.when) for t in output.types], output.discriminator)
        self._types = len(output.types)
        self._library = library()

    def keeps(self, record: bytes) -> bool:
        """Say whether a record is shown, and remember that it is."""
        found = self._select(memoryview(record), 0, len(record))
        kind = self._types if found is None else found
        # Exactly its bytes: under AddressSanitizer any more would be seen.
        copy = (ctypes.c_ubyte * len(record)).from_buffer_copy(record)
        call = (self._image, kind, copy, len(record))
        return bool(self._library.bp_passes(*call)) and bool(self._library.bp_is_first(*call))

    @property
    def overflow(self) -> int:
        """See `Filter.overflow`."""
        return overflow_of(memoryview(self._image).cast("B"))


def kept(
    text: str | None, output: EventOutput, records: Sequence[bytes], *, unique: str | None = None
) -> list[bool]:
    """Say of each record whether a filter keeps it; both ways have to agree."""
    made = make_filters(text, unique, [output])[output.name]
    compiled = Compiled(made, output)
    plain = [made.keeps(memoryview(record)) for record in records]
    fast = [compiled.keeps(record) for record in records]
    assert plain == fast, text
    return plain
