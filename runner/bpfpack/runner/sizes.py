"""Sizes of maps and buffers that the user asks for, in place of the package's own."""

from collections.abc import Mapping
from typing import Final

from bpfpack.spec.config import Config
from bpfpack.spec.errors import UsageError
from bpfpack.spec.objectspec import ObjectSpec
from bpfpack.spec.value import field, valuetype

#: What the kernel can map at once for one processor (kernel/events/core.c, perf_mmap).
_LARGEST_PERF: Final = 1 << 30
#: The largest power of two that max_entries can be.
_LARGEST_RING: Final = 1 << 31


@valuetype
class Sizes:
    """What is asked for: entries of a map (bytes of a ring), and pages of a perf buffer.

    ``pages`` are those of each processor.
    """

    maps: Mapping[str, int] = field(default_factory=dict)
    pages: Mapping[str, int] = field(default_factory=dict)


def sizes(
    spec: ObjectSpec,
    config: Config,
    page: int,
    *,
    buffers: Mapping[str | None, int],
    maps: Mapping[str, int],
) -> Sizes:
    """Return the sizes of ``maps``, and of ``buffers``, in bytes, by output or map.

    None stands for every buffer that an output shows and that is not named; a perf buffer
    becomes a power of two of pages.  Raises UsageError for what is no buffer, or too large,
    and for one among ``maps``, which are counted in entries.
    """
    shown = {o.map: o.name for o in config.outputs if o.kind == "events"}
    asked = {_buffer(name, shown): size for name, size in buffers.items() if name is not None}
    if None in buffers:
        if not shown:
            raise UsageError(f"{config.name} shows no buffer")
        asked = dict.fromkeys(shown, buffers[None]) | asked
    types = {m.name: m.type_name for m in spec.maps}
    for name in maps:
        if name in shown and types[name] == "ringbuf":
            raise UsageError(
                f"--map-size: {name} is a ring buffer, which has no entries"
            ).with_hint(f"--buffer-size {shown[name]}=16M gives it room in bytes")
    pages = {n: _pages(n, size, page) for n, size in asked.items() if types[n] != "ringbuf"}
    rings = {n: _bounded(n, size, _LARGEST_RING) for n, size in asked.items() if n not in pages}
    return Sizes(maps={**maps, **rings}, pages=pages)


def _buffer(name: str, shown: Mapping[str, str]) -> str:
    """Return the map that a name of an output, or its own, means."""
    for map_name, output in shown.items():
        if name in (output, map_name):
            return map_name
    raise UsageError(f"no buffer is called {name[:80]!r}").with_hint(
        f"the buffers are {', '.join(shown.values()) or 'none'}"
    )


def _pages(name: str, size: int, page: int) -> int:
    return 1 << max(0, (_bounded(name, size, _LARGEST_PERF) - 1) // page).bit_length()


def _bounded(name: str, size: int, most: int) -> int:
    if size > most:
        raise UsageError(f"--buffer-size: {size} bytes for {name} are more than {most}")
    return size
