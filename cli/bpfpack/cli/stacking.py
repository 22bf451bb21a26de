"""Outputs that are stacks: where the names of functions come from."""

from typing import TYPE_CHECKING, Final

from bpfpack.runner.events.loop import Sampled
from bpfpack.runner.events.stacks import Watch
from bpfpack.runner.events.tables import MapOutput
from bpfpack.runner.session import Session
from bpfpack.runner.symbols.sampling import open_stacks

if TYPE_CHECKING:
    from bpfpack.cli.showing import Shown
    from bpfpack.runner.events.terminal import Screen
    from bpfpack.runner.symbols.feed import TaskFeed

#: What it takes to look at what others have mapped, and into files that they alone can read.
OF_OTHERS: Final = ("CAP_SYS_PTRACE", "CAP_DAC_READ_SEARCH")
#: Seconds between looks at new stacks, whose processes may end: where the kernel tells what they
#: have mapped, for those whose files go with them; where it does not, for all.
_WATCH: Final = 0.25
_WATCH_ALONE: Final = 0.05
#: Seconds between drains of what the kernel tells, which mostly wakes us before.
_DRAIN: Final = 1.0


def sampled_stacks(
    session: Session,
    one: "Shown",
    about: MapOutput,
    terminal: "Screen | None",
) -> list[Sampled]:
    """Return what reads the stacks, and what watches them meanwhile.

    To be called before anything is attached, while the process has its privileges: see
    `open_stacks`.
    """
    sampler, users = open_stacks(session, one.shape, one.output, about, terminal=terminal)
    found = [Sampled(sampler=sampler, interval=one.every)]
    if users is not None:
        feed = users.feed
        found.insert(0, Sampled(sampler=Watch(sampler), interval=_WATCH if feed else _WATCH_ALONE))
        if feed is not None:
            found.insert(0, Sampled(sampler=_Drain(feed), interval=_DRAIN, fd=feed.fd))
    return found


class _Drain:
    """A sampler that shows nothing: it takes what the kernel tells of processes."""

    def __init__(self, feed: "TaskFeed") -> None:
        self._feed = feed

    def sample(self) -> bytes:
        """Nothing."""
        self._feed.drain()
        return b""
