"""A filter asked in Python and, as instructions, in the engine's C."""

import ctypes
from collections.abc import Sequence

from bpfpack.runner.events.formatter import EventOutput
from bpfpack.runner.events.selector import Selector
from bpfpack.runner.filters.bytecode import overflow_of
from bpfpack.runner.filters.filter import Filter, make_filters
from tests.kit.enginehost import library


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
