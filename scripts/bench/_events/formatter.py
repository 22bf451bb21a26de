"""The formatter alone: 64-byte records of 8 fields to JSON lines, against struct and orjson."""

import struct
import time
from collections.abc import Callable, Iterator

from _events.figures import Figure, at_least, middle, not_built
from _events.workshop import Workshop

_LAYOUT = struct.Struct("<QQIIIi16s16s")
_NAMES = ("time", "bytes", "pid", "tid", "uid", "ret", "comm", "path")
_RECORDS = 4096


def records() -> bytes:
    """So many records, one after the other."""
    return b"".join(
        _LAYOUT.pack(
            10**15 + i * 977,
            i * 4099,
            1000 + i,
            2000 + i,
            1000,
            i % 7 - 2,
            b"worker-0",
            b"/etc/x%d" % i,
        )
        for i in range(_RECORDS)
    )


def formatter(shop: Workshop) -> Iterator[Figure]:
    """Both in turn, over the same records."""
    data = records()
    baseline = struct_and_orjson(data)
    engine = engine_of(data)
    slow, fast = [], []
    for _ in range(max(3, shop.rounds)):
        slow.append(rate(baseline, shop.seconds / 10))
        if engine is not None:
            fast.append(rate(engine, shop.seconds / 10))
    yield Figure(row="formatter", what="struct and orjson", value=middle(slow), unit="M/s")
    if not fast:
        yield not_built("formatter", "the engine", ">= 10")
        return
    yield at_least("formatter", "the engine", middle(fast), 10, "M/s")
    yield at_least("formatter", "the engine, of that", middle(fast) / middle(slow), 60, "x")


def rate(work: Callable[[], object], seconds: float) -> float:
    """Million records a second of CPU time, over so many seconds."""
    work()
    done, began = 0, time.process_time()
    while (spent := time.process_time() - began) < seconds:
        work()
        done += _RECORDS
    return done / spent / 1e6


def struct_and_orjson(data: bytes) -> Callable[[], bytes]:
    """What a Python programmer writes."""
    import orjson

    def work() -> bytes:
        lines = []
        for values in _LAYOUT.iter_unpack(data):
            event = dict(zip(_NAMES, values, strict=True))
            event["comm"] = event["comm"].split(b"\0", 1)[0].decode()
            event["path"] = event["path"].split(b"\0", 1)[0].decode()
            lines.append(orjson.dumps(event))
        return b"\n".join(lines)

    return work


def engine_of(data: bytes) -> "Callable[[], object] | None":
    """The same records, staged for the engine."""
    try:
        from _events.staged import staged
    except ImportError:
        return None
    return staged(data, _LAYOUT.size)
