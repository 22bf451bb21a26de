"""Globals of a loaded package, by name."""

import mmap
import struct
from collections.abc import Callable, Iterator
from typing import Any, Final

from bpfpack.runner.api.maps import Codec
from bpfpack.runner.events.clock import SystemClock, WallClock
from bpfpack.runner.maps import Map
from bpfpack.runner.plan import find_variable
from bpfpack.spec.agreement import display_of
from bpfpack.spec.config import Config
from bpfpack.spec.errors import Unsupported, UsageError
from bpfpack.spec.objectspec import ObjectSpec, Variable
from bpfpack.spec.record import RecordLayout

_FIRST: Final = bytes(4)
_OURS: Final = "__bpfpack_"
#: Native: `struct` stores these at once, not byte by byte while a program looks.
_STORED_AT_ONCE: Final = {n: struct.Struct(f"@{c}") for n, c in ((2, "H"), (4, "I"), (8, "Q"))}


def codec_of(
    spec: ObjectSpec, config: Config, variable: Variable, clock: WallClock | None = None
) -> Codec:
    """How a global is read and written; raises SpecError for one of no type that can be."""
    btf = spec.types("a global")
    type_id = variable.type_id
    layout = RecordLayout.of(btf, type_id, display_of(config, btf, type_id), name="value")
    return Codec(layout, clock or SystemClock(), "value", f"global {variable.name}")


class Globals:
    """The globals of a session, used like a dict that has fixed keys.

    Those of ``.data`` and ``.bss`` can be set; constants are set before loading, by
    `Package.plan`.  Reading takes a system call; setting writes the bytes of that global
    alone, in memory that the program sees: of at most 8 bytes, at once.
    Raises UsageError for a name that is not there, KernelError, and ValueError once the
    session is closed.
    """

    def __init__(self, spec: ObjectSpec, config: Config, section: Callable[[str], Map]) -> None:
        self._spec, self._config, self._section = spec, config, section
        self._clock = SystemClock()

    def __iter__(self) -> Iterator[str]:
        """The names, as C has them, without those of `bpfpack.h` itself."""
        return (v.name for v in self._spec.variables if not v.name.startswith(_OURS))

    def __len__(self) -> int:
        return len(list(iter(self)))

    def __contains__(self, name: object) -> bool:
        return any(v.name == name for v in self._spec.variables)

    def __getitem__(self, name: str) -> Any:
        found = find_variable(self._spec, name)
        data = self._section(found.section).lookup(_FIRST) or b""
        codec = codec_of(self._spec, self._config, found, self._clock)
        return codec.decode(data[found.offset : found.offset + found.size])

    def __setitem__(self, name: str, value: Any) -> None:
        found = find_variable(self._spec, name)
        if found.const:
            raise UsageError(f"global {name} is a constant once it is loaded").with_hint(
                "plan(params=...) or plan(constants=...) sets it before"
            )
        data = codec_of(self._spec, self._config, found, self._clock).encode(value)
        _store(self._section(found.section), found.offset, data)


def _store(section: Map, offset: int, data: bytes) -> None:
    """Write some bytes of a section, which libbpf makes mappable where the kernel can (5.5).

    An update of the element would put back what the program counted meanwhile.
    """
    try:
        memory = mmap.mmap(section.fd, section.value_size)
    except OSError as e:
        raise Unsupported(f"globals of {section.name}", str(e.strerror), minimum="5.5") from e
    with memory:
        code = _STORED_AT_ONCE.get(len(data))
        if code is not None and not offset % len(data):
            code.pack_into(memory, offset, *code.unpack(data))
        else:
            memory[offset : offset + len(data)] = data
