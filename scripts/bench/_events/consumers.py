"""Processes that show events: ours and the C program, started, flooded, measured, stopped."""

import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Final

from _events.workshop import BPFPACK, Workshop, run

#: Where consumers run; the driver takes the second processor.
_PINNED: Final = ("taskset", "-c", "0")
#: Records of 64 bytes, and their headers, that the ring of 16 MiB holds.
RING_RECORDS: Final = (16 << 20) // 72
_QUIET: Final = 0.1
_LONGEST_DRAIN: Final = 60.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Made:
    """What the driver did: events asked for, those without room in the ring, seconds."""

    produced: int
    failed: int
    seconds: float

    @property
    def delivered(self) -> int:
        """Events that came into the ring."""
        return self.produced - self.failed

    @property
    def consumed(self) -> int:
        """Events that left the ring before the driver ended."""
        return self.delivered - (RING_RECORDS if self.failed > RING_RECORDS else 0)


@dataclass(frozen=True, slots=True, kw_only=True)
class Flood:
    """One flood: per second and CPU seconds per million events, and what was seen of memory."""

    rate: float
    cpu: float
    lost: float
    anon: float


class Consumer:
    """A process that has attached `flood`; made by `consumer`."""

    def __init__(self, process: "subprocess.Popen[bytes]", driver: str) -> None:
        self._process, self._driver = process, driver
        self.pid: Final = process.pid
        self.said = ""
        self.produced = 0

    def drive(self, *how: str) -> Made:
        """Let the driver make events, and wait for its end."""
        found = run(self._driver, str(self.pid), *how).split()
        made = Made(produced=int(found[0]), failed=int(found[1]), seconds=float(found[2]))
        self.produced += made.produced
        return made

    def flood(self, *how: str) -> Flood:
        """Make events, wait until all are shown, and say what that took."""
        before = self.cpu
        made = self.drive(*how)
        self.settle()
        spent = self.cpu - before
        return Flood(
            rate=made.consumed / made.seconds / 1e6,
            cpu=spent / max(1, made.delivered) * 1e6,
            lost=made.failed / max(1, made.produced),
            anon=self.memory("RssAnon"),
        )

    def settle(self) -> None:
        """Wait until the process has nothing to do."""
        until = time.monotonic() + _LONGEST_DRAIN
        before = self.cpu
        while time.monotonic() < until:
            time.sleep(_QUIET)
            now = self.cpu
            if now - before < _QUIET / 50:
                return
            before = now

    @property
    def cpu(self) -> float:
        """Seconds that all its threads ran, by the scheduler (proc(5), schedstat)."""
        spent = 0
        for task in Path(f"/proc/{self.pid}/task").iterdir():
            with suppress(FileNotFoundError, ProcessLookupError):  # a thread that just ended
                spent += int((task / "schedstat").read_text().split()[0])
        return spent / 1e9

    def memory(self, kind: str) -> float:
        """``VmRSS``, ``RssAnon`` and the like, in MB (proc(5), status)."""
        status = Path(f"/proc/{self.pid}/status").read_text()
        return int(re.search(rf"{kind}:\s+(\d+)", status)[1]) * 1024 / 1e6  # type: ignore[index]

    def read_line(self) -> bytes:
        """The next line it shows, where stdout is a pipe."""
        assert self._process.stdout is not None
        return self._process.stdout.readline()

    def kill(self) -> None:
        """End what does not listen."""
        self._process.kill()
        self._process.wait()

    def stop(self) -> None:
        """End it, and keep what it says."""
        self._process.send_signal(signal.SIGTERM)
        assert self._process.stderr is not None
        self.said = self._process.stderr.read().decode()
        self._process.wait()

    @property
    def accounted(self) -> tuple[int, int]:
        """Events, filtered out or not, and losses, as the process itself told them."""
        found = re.search(r"(\d+) events?(?: \((\d+) filtered out\))?, (\d+) lost", self.said)
        if found is None:
            sys.exit(f"no events and losses in: {self.said}")
        return int(found[1]) + int(found[2] or 0), int(found[3])


@dataclass(frozen=True, slots=True, kw_only=True)
class Side:
    """One that takes part: its name, its command, its environment."""

    name: str
    command: Sequence[str]
    env: Mapping[str, str]


def ours(shop: Workshop, *options: str, package: str = "flood", args: Sequence[str] = ()) -> Side:
    """``bpfpack run`` with these options."""
    env = shop.environment(package)
    command = [str(BPFPACK), "run", *options, f"{package}:1.0", *args]
    return Side(name="bpfpack", command=command, env=env)


def rival(shop: Workshop) -> Side:
    """The C program, for the same object."""
    command = [shop.program("rival"), str(shop.object("flood"))]
    return Side(name="C and printf", command=command, env=shop.environment("flood"))


@contextmanager
def consumer(
    shop: Workshop, side: Side, out: "int | IO[bytes]" = subprocess.DEVNULL, *, pinned: bool = True
) -> Iterator[Consumer]:
    """Start it, wait until it is attached, and stop it at the end of the block."""
    driver = shop.program("driver")
    command = [*(_PINNED if pinned else ()), *side.command]
    with subprocess.Popen(
        command, env=side.env, stdin=subprocess.DEVNULL, stdout=out, stderr=subprocess.PIPE
    ) as process:
        assert process.stderr is not None
        said = b""
        for line in process.stderr:
            said += line
            if line.startswith(b"attached"):
                break
        else:
            sys.exit(f"{' '.join(command)} did not attach:\n{said.decode()}")
        found = Consumer(process, driver)
        try:
            yield found
        finally:
            if process.poll() is None and not found.said:
                found.stop()
