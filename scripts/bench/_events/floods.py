"""Rows that flood a consumer: into /dev/null, a file, a pipe; filtered, counted, as columns."""

import subprocess
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import IO

from _events.consumers import Consumer, Flood, Side, consumer, ours, rival
from _events.figures import Figure, at_least, at_most, middle, not_built
from _events.workshop import Workshop, takes

Place = Callable[[], AbstractContextManager["int | IO[bytes]"]]
_WARM_UP = "0.3"
#: Where Linux has tmpfs mounted, for any user.
_TMPFS = "/dev/shm"
_LOSS_RATE, _LOSS_RUNS = 3_000_000, 5


def null(shop: Workshop) -> Iterator[Figure]:
    """JSON lines into /dev/null, against the C program."""
    found, exact = contest(shop, lambda: nullcontext(subprocess.DEVNULL))
    yield from speeds("null", found, 2.2)
    cpus = {name: middle(f.cpu for f in floods) for name, floods in found.items()}
    yield from (
        Figure(row="null", what=f"{name}, CPU", value=cpu, unit="s/M") for name, cpu in cpus.items()
    )
    yield at_most("null", "CPU of bpfpack, of that", cpus["bpfpack"] / cpus[RIVAL], 0.5, "x")
    mine = found["bpfpack"]
    yield Figure(
        row="null", what="lost in a full flood", value=100 * middle(f.lost for f in mine), unit="%"
    )
    yield Figure(row="null", what="RssAnon", value=max(f.anon for f in mine), unit="MB")
    yield from exact


RIVAL = "C and printf"


def loss(shop: Workshop) -> Iterator[Figure]:
    """What is lost at 3 M/s."""
    seconds = str(shop.seconds)
    runs = []
    for _ in range(_LOSS_RUNS if shop.rounds > 1 else 1):
        with consumer(shop, ours(shop, "-o", "json")) as process:
            process.drive("flood", _WARM_UP)
            process.settle()
            runs.append(process.flood("rate", str(_LOSS_RATE), seconds))
    what = f"median of {len(runs)} at 3 M/s"
    yield Figure(row="loss", what="rate that came", value=middle(f.rate for f in runs), unit="M/s")
    yield at_most("loss", what, 100 * middle(f.lost for f in runs), 0.1, "%")


def file(shop: Workshop) -> Iterator[Figure]:
    """JSON lines into a file on tmpfs, whose lines are counted."""
    lines: list[int] = []

    @contextmanager
    def place() -> Iterator[IO[bytes]]:
        with tempfile.TemporaryFile(dir=_TMPFS) as found:
            yield found
            lines.append(count_lines(found))

    # A second of it is a gigabyte.
    found, exact = contest(shop, place, seconds=min(shop.seconds, 1.0), lines=lines)
    yield from speeds("file", found, 1.5)
    yield from exact


def pipe(shop: Workshop) -> Iterator[Figure]:
    """JSON lines into ``cat > /dev/null``."""

    @contextmanager
    def place() -> Iterator[IO[bytes]]:
        with subprocess.Popen(
            ["cat"], stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, bufsize=0
        ) as cat:
            assert cat.stdin is not None
            yield cat.stdin

    found, exact = contest(shop, place)
    yield from speeds("pipe", found, 1.5)
    yield from exact


def csv(shop: Workshop) -> Iterator[Figure]:
    """CSV into /dev/null."""
    yield from alone(shop, "csv", ("-o", "csv"), 5)


def table(shop: Workshop) -> Iterator[Figure]:
    """An aligned table into /dev/null."""
    yield from alone(shop, "table", ("-o", "table"), 5)


def parquet(shop: Workshop) -> Iterator[Figure]:
    """Parquet on tmpfs."""
    if not takes("--output", "parquet"):
        yield not_built("parquet", "-o parquet", ">= 3")
        return
    with tempfile.NamedTemporaryFile(dir=_TMPFS, suffix=".parquet") as place:
        yield from alone(shop, "parquet", ("-o", "parquet", "-f", place.name), 3)


def filtered(shop: Workshop) -> Iterator[Figure]:
    """A filter that keeps one of a thousand (flags are the low 16 bits of a sequence)."""
    if not takes("--filter"):
        yield not_built("filter", "--filter, 1 of 1000", ">= 15")
        return
    yield from alone(shop, "filter", ("-o", "json", "--filter", "flags < 66"), 15)


def window(shop: Workshop) -> Iterator[Figure]:
    """Count and p99 of each second, by one key."""
    if not takes("--every"):
        yield not_built("window", "--every 1s, count and p99 by one key", ">= 5")
        return
    options = ("-o", "json", "--every", "1s", "--by", "comm", "--show", "count,p99(latency)")
    yield from alone(shop, "window", options, 5)


def alone(shop: Workshop, row: str, options: tuple[str, ...], bar: float) -> Iterator[Figure]:
    """The speed of ours with these options, into /dev/null."""
    floods = []
    for _ in range(shop.rounds):
        with consumer(shop, ours(shop, *options)) as process:
            floods.append(measured(process, shop.seconds))
        check(process)
    cpu = middle(f.cpu for f in floods)
    yield at_least(row, "bpfpack", middle(f.rate for f in floods), bar, "M/s")
    yield Figure(row=row, what="CPU", value=cpu, unit="s/M")
    # What it would be, had no other process, and no slower producer, been in the way.
    yield Figure(row=row, what="a whole processor would do", value=1 / cpu, unit="M/s")


def contest(
    shop: Workshop, place: Place, *, seconds: float | None = None, lines: "list[int] | None" = None
) -> tuple[dict[str, list[Flood]], list[Figure]]:
    """Flood both sides in turn, so that a noisy neighbour disturbs both alike."""
    sides = (ours(shop, "-o", "json"), rival(shop))
    found: dict[str, list[Flood]] = {side.name: [] for side in sides}
    wrong = 0
    for number in range(shop.rounds):
        for side in sides if number % 2 == 0 else sides[::-1]:
            process = one(shop, side, place, seconds or shop.seconds, found[side.name])
            events, lost = process.accounted
            counted = events if lines is None else lines[-1]
            wrong += abs(process.produced - counted - lost)
    name = "produced - lines - lost" if lines is not None else "produced - delivered - lost"
    return found, [at_most("exact", f"{name}, both, all rounds", wrong, 0, "events")]


def one(shop: Workshop, side: Side, place: Place, seconds: float, into: list[Flood]) -> Consumer:
    """Flood one side, once."""
    with place() as out, consumer(shop, side, out) as process:
        into.append(measured(process, seconds))
        process.stop()
    return process


def measured(process: Consumer, seconds: float) -> Flood:
    """A flood, after a shorter one that warms up."""
    process.drive("flood", _WARM_UP)
    process.settle()
    return process.flood("flood", str(seconds))


def speeds(row: str, found: Mapping[str, list[Flood]], bar: float) -> Iterator[Figure]:
    """The speed of each, and how often that of the C program ours is."""
    rates = {name: middle(f.rate for f in floods) for name, floods in found.items()}
    for name, rate in rates.items():
        yield Figure(row=row, what=name, value=rate, unit="M/s")
    ratios = [a.rate / b.rate for a, b in zip(found["bpfpack"], found[RIVAL], strict=True)]
    yield at_least(row, "bpfpack, of that", middle(ratios), bar, "x")


def check(process: Consumer) -> None:
    """Leave when events are unaccounted for."""
    if sum(process.accounted) != process.produced:
        raise SystemExit(f"{process.produced} produced, but: {process.said}")


def count_lines(file: IO[bytes]) -> int:
    """Newlines of a whole file."""
    file.seek(0)
    count = 0
    while data := file.read(1 << 20):
        count += data.count(b"\n")
    return count
