"""How fast the engine makes lines of records that lie in memory, beside ``struct`` and ``orjson``.

Run it alone with ``python scripts/bench/_formatter.py``, or call `measure`.
"""

import os
import struct
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, Final, NamedTuple

from bpfpack.runner.engine.host import Call, Engine
from bpfpack.runner.engine.program import assemble
from bpfpack.runner.events.formatter import EventOutput, OutputFormat, RecordType
from bpfpack.spec.record import Base, Field, RecordLayout

#: 64 bytes, of which 8 fields are shown: what a tool like opensnoop sends.
_EVENT: Final = struct.Struct("<QIIII16sqII8x")
_MEMBERS: Final[tuple[tuple[str, Base, int, int, str], ...]] = (
    ("ts", "uint", 0, 8, "dec"),
    ("pid", "uint", 8, 4, "dec"),
    ("uid", "uint", 12, 4, "dec"),
    ("cpu", "uint", 16, 4, "dec"),
    ("flags", "uint", 20, 4, "hex"),
    ("comm", "string", 24, 16, "string"),
    ("latency", "int", 40, 8, "dec"),
    ("count", "uint", 48, 4, "dec"),
)
_RECORDS: Final = 4096
_HEADER: Final = struct.Struct("<2I")


class Speed(NamedTuple):
    """Events a second in one form, and the bytes of a line."""

    form: str
    events: float
    line: float


def layout() -> RecordLayout:
    """The event's layout."""
    fields = tuple(
        Field(
            path=(name,), type=base, base=base, offset=offset, size=size,
            signed=base == "int", format=shown, title=name,
        )
        for name, base, offset, size, shown in _MEMBERS
    )  # fmt: skip
    return RecordLayout(
        type="struct event", size=64, byte_order="little", fields=fields, flexible=False
    )


def records() -> list[bytes]:
    """Different events, with numbers of many lengths."""
    comms = (b"bash", b"systemd-journal", b"curl", b"kworker/0:1")
    return [
        _EVENT.pack(
            1_764_000_000_123_456_789 + i * 7919, 1000 + i * 37 % 4_000_000, i % 3 * 1000,
            i % 64, 0x8000 + i % 3, comms[i % 4], (i * 7919) % 10**7, i, i,
        )
        for i in range(_RECORDS)
    ]  # fmt: skip


def measure(shape: OutputFormat, *, seconds: float = 1.0) -> Speed:
    """Format the same records again and again; the best tenth of a second counts."""
    output = EventOutput(name="events", types=(RecordType(layout=layout()),))
    data = b"".join(_HEADER.pack(len(r), 0) + r for r in records())
    with Engine() as engine:
        call = Call(engine.load(partial(assemble, shape, output)))
        at = engine.memory.write(data)
        size = 0

        def once() -> None:
            nonlocal size
            size, call.staged, call.staged_end = 0, at, at + len(data)
            while call.staged < call.staged_end:
                size += len(call(_RECORDS).output)

        return Speed(shape, _RECORDS / _best(once, seconds), size / _RECORDS)


def measure_orjson(*, seconds: float = 1.0) -> Speed:
    """The same lines by ``struct`` and ``orjson``, as a tool in Python makes them.

    It knows the type at run time alone, as the engine does, and looks at the header of each
    record, which may have any length.
    """
    import orjson

    data = b"".join(_HEADER.pack(len(r), 0) + r for r in records())
    names = [name for name, *_ in _MEMBERS]
    convert: list[Callable[[Any], Any] | None] = [
        _text if base == "string" else hex if shown == "hex" else None
        for _, base, _, _, shown in _MEMBERS
    ]
    with Path(os.devnull).open("wb") as sink:

        def once() -> None:
            at = 0
            while at < len(data):
                length, _ = _HEADER.unpack_from(data, at)
                row = {}
                values = _EVENT.unpack_from(data, at + _HEADER.size)
                for name, change, value in zip(names, convert, values, strict=False):
                    row[name] = value if change is None else change(value)
                sink.write(orjson.dumps(row, option=orjson.OPT_APPEND_NEWLINE))
                at += _HEADER.size + length

        return Speed("struct+orjson", _RECORDS / _best(once, seconds), 0)


def _text(raw: bytes) -> str:
    return raw.partition(b"\0")[0].decode("utf-8", "replace")


def _best(once: Callable[[], None], seconds: float) -> float:
    """The seconds of one call, in the best of some rounds."""
    once()
    best, end = float("inf"), time.monotonic() + seconds
    while time.monotonic() < end:
        start = time.perf_counter()
        for _ in range(4):
            once()
        best = min(best, (time.perf_counter() - start) / 4)
    return best


def main() -> None:
    """Print everything."""
    base = measure_orjson()
    print(f"{base.form}: {base.events / 1e6:.3f} M events/s")
    shapes: tuple[OutputFormat, ...] = ("json", "csv", "tsv", "table", "yaml", "raw")
    for shape in shapes:
        found = measure(shape)
        print(
            f"{shape}: {found.events / 1e6:.2f} M events/s, {found.line:.0f} bytes a line, "
            f"{found.events / base.events:.0f} times struct+orjson"
        )


if __name__ == "__main__":
    main()
