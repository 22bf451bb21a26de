"""Rows of a quiet system: one event, none, the first; a map; and growth."""

import itertools
import os
import subprocess
import sys
import time
from collections.abc import Iterator

from _events.consumers import Consumer, Side, consumer, ours, rival
from _events.figures import Figure, at_most, middle, percentile
from _events.workshop import HERE, REPO, Workshop, run

RIVAL = "C and printf"
_RATES = (1_000, 10_000, 100_000, 1_000_000, 3_000_000)
#: How much more an event may cost at a higher rate, noise included.
_FLAT = 1.25
_START_OVER, _FIRST = 70.0, 40.0


def latency(shop: Workshop) -> Iterator[Figure]:
    """From the event in the kernel to a reader of stdout, when nothing else comes."""
    sides = (ours(shop, "-o", "json"), rival(shop))
    found: dict[str, list[float]] = {side.name: [] for side in sides}
    for _ in range(shop.rounds):
        for side in sides:
            found[side.name] += latencies(shop, side, 100 if shop.rounds > 1 else 20)
    middles = {name: percentile(times, 0.5) for name, times in found.items()}
    yield Figure(row="latency", what=f"{RIVAL}, p50", value=middles[RIVAL], unit="us")
    its = percentile(found[RIVAL], 0.99)
    yield Figure(row="latency", what=f"{RIVAL}, p99", value=its, unit="us")
    yield at_most("latency", "p50", middles["bpfpack"], 250, "us")
    yield at_most("latency", "p50, of that", middles["bpfpack"] / middles[RIVAL], 5, "x")
    yield at_most("latency", "p99", percentile(found["bpfpack"], 0.99), 2000, "us")


def latencies(shop: Workshop, side: Side, count: int) -> list[float]:
    """Microseconds of so many events, 20 ms apart."""
    command = [shop.program("reader")]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as reader:
        assert reader.stdin is not None
        assert reader.stdout is not None
        with consumer(shop, side, reader.stdin, pinned=False) as process:
            process.drive("single", "20000", str(count + 5))
        reader.stdin.close()
        times = [int(line) / 1000 for line in reader.stdout]
    return times[5:]


def idle(shop: Workshop) -> Iterator[Figure]:
    """Attached, and nothing comes: opensnoop of a process that opens nothing."""
    seconds = 30.0 if shop.rounds > 1 else 1.0
    side = ours(shop, package="opensnoop", args=("--pid", str(os.getpid())))
    with consumer(shop, side, pinned=False) as process:
        time.sleep(1.0)
        before, began = process.cpu, time.monotonic()
        time.sleep(seconds)
        share = 100 * (process.cpu - before) / (time.monotonic() - began)
        yield at_most("idle", f"CPU over {seconds:.0f} s, of a core", share, 0.2, "%")
        yield at_most("idle", "RSS", process.memory("VmRSS"), 42, "MB")
        yield at_most("idle", "RssAnon", process.memory("RssAnon"), 20, "MB")


def start(shop: Workshop) -> Iterator[Figure]:
    """From the command to attached, and from there to the first line."""
    side = ours(shop, "-o", "json", package="opensnoop")
    loader = [sys.executable, str(REPO / "scripts/bench/bare_loader.py")]
    bare = Side(name="bare", command=[*loader, str(shop.object("opensnoop"))], env=side.env)
    attached: dict[str, list[float]] = {"bpfpack": [], "bare": []}
    lines = []
    for number in range(max(2, 3 * shop.rounds)):
        for one in (bare, side):
            to_attached, to_line = first(shop, one)
            if number:  # the first fills caches
                attached[one.name].append(to_attached)
                lines.append(to_line)
    floor = middle(attached["bare"])
    yield Figure(row="start", what="bare ctypes script, attached", value=floor, unit="ms")
    over = middle(attached["bpfpack"]) - floor
    yield at_most("start", "bpfpack run, attached: later by", over, _START_OVER, "ms")
    found = middle(line for line in lines if line is not None)
    yield at_most("start", "first line after attached", found, _FIRST, "ms")


def first(shop: Workshop, side: Side) -> tuple[float, float | None]:
    """Milliseconds to attached, and from there to a line of a file opened at once."""
    began = time.perf_counter()
    with consumer(shop, side, subprocess.PIPE, pinned=False) as process:
        attached = time.perf_counter()
        line = None
        if side.name == "bpfpack":
            os.close(os.open(HERE, os.O_RDONLY))
            process.read_line()
            line = (time.perf_counter() - attached) * 1000
        else:
            process.kill()
    return (attached - began) * 1000, line


def growth(shop: Workshop) -> Iterator[Figure]:
    """What an event costs at each rate, and what memory does."""
    costs = []
    with consumer(shop, ours(shop, "-o", "json")) as process:
        process.drive("flood", "0.3")
        process.settle()
        anon = process.memory("RssAnon")
        for rate in _RATES:
            found = process.flood("rate", str(rate), str(shop.seconds))
            costs.append(found.cpu)
            yield Figure(row="growth", what=f"CPU at {rate} a second", value=found.cpu, unit="s/M")
        found = process.flood("flood", str(shop.seconds))
        costs.append(found.cpu)
        yield Figure(row="growth", what="CPU in a full flood", value=found.cpu, unit="s/M")
        grown = process.memory("RssAnon") - anon
    rises = max(after / before for before, after in itertools.pairwise(costs))
    yield at_most("growth", "most that cost rises with the rate", rises, _FLAT, "x")
    yield at_most("growth", "RssAnon grown", grown, 1, "MB")


def soak(shop: Workshop) -> Iterator[Figure]:
    """Memory over ten minutes of a million events a second."""
    seconds = 600.0 if shop.rounds > 1 else shop.seconds
    with consumer(shop, ours(shop, "-o", "json")) as process:
        process.drive("rate", "1000000", str(seconds / 20))
        before = process.memory("RssAnon"), process.memory("VmRSS")
        for _ in range(19):
            process.drive("rate", "1000000", str(seconds / 20))
        process.settle()
        after = process.memory("RssAnon"), process.memory("VmRSS")
    yield Figure(row="soak", what="seconds at 1 M/s", value=seconds, unit="s")
    yield at_most("soak", "RssAnon grown since the first twentieth", after[0] - before[0], 1, "MB")
    yield at_most("soak", "RSS grown since the first twentieth", after[1] - before[1], 1, "MB")


def histogram(shop: Workshop) -> Iterator[Figure]:
    """A histogram of ten thousand keys on each processor, refreshed each second."""
    with consumer(shop, ours(shop, "-o", "json", package="keys")) as process:
        process.drive("count", "400000")
        time.sleep(1.5)
        whole = refreshes(process, 5 if shop.rounds > 1 else 1)
    yield Figure(row="histogram", what="a refresh, with drawing, CPU", value=whole, unit="ms")
    command = [
        sys.executable,
        str(HERE / "refresh.py"),
        str(REPO),
        shop.program("driver"),
        str(HERE / "keys"),
    ]
    found = float(run(*command, env=shop.environment("keys")))
    yield at_most("histogram", "a refresh of 10,000 keys, drawing aside", found, 20, "ms")


def refreshes(process: Consumer, seconds: int) -> float:
    """Milliseconds of CPU that a second takes, and so a refresh."""
    before = process.cpu
    for _ in range(seconds):
        process.drive("count", "400000")
        time.sleep(1.0)
    return (process.cpu - before) * 1000 / seconds
