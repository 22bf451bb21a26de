"""The clocks and counters of perf_event_open(2), by the names that perf(1) gives them."""

import errno
import os
from pathlib import Path
from typing import Final

from bpfpack.runner._native import perf
from bpfpack.runner.attach.attachments import EventAttachment
from bpfpack.spec.errors import KernelError, UsageError
from bpfpack.spec.targets import EventTarget

# include/uapi/linux/perf_event.h: enum perf_type_id, perf_hw_id, perf_sw_ids.
_HARDWARE: Final = 0
_SOFTWARE: Final = 1
_NAMES: Final = {
    _HARDWARE: (
        *("cycles", "instructions", "cache-references", "cache-misses", "branches"),
        *("branch-misses", "bus-cycles", "stalled-cycles-frontend", "stalled-cycles-backend"),
        "ref-cycles",
    ),
    _SOFTWARE: (
        *("cpu-clock", "task-clock", "page-faults", "context-switches", "cpu-migrations"),
        *("minor-faults", "major-faults", "alignment-faults", "emulation-faults"),
    ),
}
EVENTS: Final = {
    name: (kind, config) for kind, names in _NAMES.items() for config, name in enumerate(names)
}
_CLOCKS: Final = ("cpu-clock", "task-clock")
#: Not a divisor of a timer that others use: samples do not fall in step with it.
_FREQUENCY: Final = 99
_MOST: Final = Path("/proc/sys/kernel/perf_event_max_sample_rate")
_ONLINE: Final = Path("/sys/devices/system/cpu/online")
_REFUSED: Final = (errno.EACCES, errno.EPERM)


def find_event(target: EventTarget) -> EventAttachment:
    """Find an event of this machine; raises UsageError."""
    if target.event not in EVENTS:
        raise UsageError(f"no event is called {target.event!r}").with_hint(
            f"the events are {', '.join(sorted(EVENTS))}"
        )
    kind, config = EVENTS[target.event]
    frequency = target.frequency
    if (
        frequency is None
        and target.period is None
        and (kind == _HARDWARE or target.event in _CLOCKS)
    ):
        frequency = _FREQUENCY
    _check_frequency(frequency)
    found = EventAttachment(
        event=target.event,
        kind=kind,
        config=config,
        sample=frequency or target.period or 1,
        frequency=frequency is not None,
    )
    _try(found)
    return found


def online() -> tuple[int, ...]:
    """The CPUs that run; raises KernelError."""
    try:
        text = _ONLINE.read_text()
    except OSError as e:
        raise KernelError(e.errno or 0, str(e.strerror), str(_ONLINE)) from e
    found: list[int] = []
    for part in text.strip().split(","):
        first, _, last = part.partition("-")
        found += range(int(first), int(last or first) + 1)
    return tuple(found)


def _check_frequency(frequency: int | None) -> None:
    try:
        most = int(_MOST.read_text())
    except OSError:
        # Without /proc the kernel itself will say it, in fewer words.
        return
    if frequency is not None and frequency > most:
        raise UsageError(f"{frequency} samples a second are more than {most}").with_hint(
            "sysctl kernel.perf_event_max_sample_rate says how many this kernel takes"
        )


def _try(event: EventAttachment) -> None:
    """Open it once, since only the kernel knows what its counters can do."""
    try:
        os.close(open_on(event, online()[0]))
    except KernelError as e:
        if e.errno in _REFUSED:
            return
        raise UsageError(f"this machine does not count {event.event}: {e.strerror}").with_hint(
            "cpu-clock is on every machine"
        ) from e


def open_on(event: EventAttachment, cpu: int) -> int:
    """Open an event on one CPU; raises KernelError."""
    return perf.open_event(
        event.kind, event.config, event.sample, frequency=event.frequency, cpu=cpu
    )
