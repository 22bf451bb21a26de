"""The engine beside the reference formatter: the same bytes for whatever types and records."""

import os
import sys
import time
import traceback
from collections.abc import Sequence
from functools import partial
from typing import Final

from bpfpack.runner.engine.program import assemble
from bpfpack.runner.events.formatter import OutputFormat, make_formatter
from bpfpack.runner.events.terminal import Terminal
from tests.kit.enginecases import SHAPES, Case, Chooser, Dice, fields_of, make_case
from tests.kit.enginehost import Arena, Host
from tests.kit.records import FixedClock, batch

CLOCK: Final = FixedClock(mono=1_700_000_000_123_456_789, boot=-5_000_000_001, tai=37 * 10**9)
#: Seeds that one process takes at a time.
_SHARE: Final = 500


def compare(case: Case, shape: OutputFormat, arena: Arena, *, size: int | None = None) -> int:
    """Raise AssertionError unless both say the same; return how many records were compared.

    They are given in two batches, since columns grow and arrays go on; ``size`` is the room for
    output, when there is to be little.
    """
    terminal = Terminal(columns=case.columns, lines=24) if case.columns else None
    reference = make_formatter(shape, case.output, clock=CLOCK, terminal=terminal)
    image = partial(assemble, shape, case.output, clock=CLOCK, columns=case.columns)
    host = Host(image, arena)
    half = len(case.records) // 2
    for part in (case.records[:half], case.records[half:]):
        wanted = reference.format(batch(*part))
        found = host.format(part, size=size)
        assert found == wanted, _difference(case, shape, part, found, wanted)
    return len(case.records)


def _difference(case: Case, shape: str, part: Sequence[bytes], found: bytes, wanted: bytes) -> str:
    pairs = zip(found.split(b"\n"), wanted.split(b"\n"), strict=False)
    different = [f"engine    {a!r}\nreference {b!r}" for a, b in pairs if a != b]
    return "\n".join((shape, *different[:2], *map(str, fields_of(case)), *(r.hex() for r in part)))


def compare_all(choose: Chooser, arena: Arena) -> int:
    """Compare one case in all forms; return how many records were compared."""
    case = make_case(choose)
    little = None if choose.number(0, 2) else choose.number(0, 400)
    return sum(compare(case, shape, arena, size=little) for shape in SHAPES)


def by_hand(count: int, first: int) -> int:
    """Compare so many records by seeds, on all processors; return the number of faults."""
    workers = [_worker(count, first, i) for i in range(os.cpu_count() or 1)]
    return sum(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) != 0 for pid in workers)


def _worker(count: int, first: int, number: int) -> int:
    pid = os.fork()
    if pid:
        return pid
    share, compared, begun = count // (os.cpu_count() or 1), 0, time.monotonic()
    code, arena, seed = 1, Arena(), first
    try:
        while compared < share:
            compared += compare_all(Dice(f"{number}:{seed}"), arena)
            seed += 1
            if seed % _SHARE == 0:
                print(f"{number}: {compared} in {time.monotonic() - begun:.0f} s", flush=True)
        print(f"{number}: {compared} records, no fault; next seed {seed}", flush=True)
        code = 0
    except Exception:  # noqa: BLE001 - whatever it is, the process ends here
        print(f"{number}: seed {seed}", file=sys.stderr)
        traceback.print_exc()
        sys.stderr.flush()
    finally:
        os._exit(code)
