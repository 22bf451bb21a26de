"""Outputs that are stacks: where the names of functions come from."""

from typing import TYPE_CHECKING, Final

from bpfpack.runner.events.loop import Sampled
from bpfpack.runner.events.stacks import StackSampler, Watch
from bpfpack.runner.events.tables import MapOutput
from bpfpack.runner.session import Session
from bpfpack.runner.symbols.kernel import KernelSymbols
from bpfpack.runner.symbols.user import UserSymbols
from bpfpack.runner.target import sees_host_numbers
from bpfpack.spec.objectspec import ObjectSpec

if TYPE_CHECKING:
    from bpfpack.cli.showing import Shown
    from bpfpack.runner.events.terminal import Screen

#: What it takes to look at what others have mapped, and into files that they alone can read.
OF_OTHERS: Final = ("CAP_SYS_PTRACE", "CAP_DAC_READ_SEARCH")
#: Seconds between looks at new stacks, whose processes may end.
_WATCH: Final = 0.05


def sampled_stacks(
    session: Session,
    spec: ObjectSpec,
    one: "Shown",
    about: MapOutput,
    terminal: "Screen | None",
) -> list[Sampled]:
    """Return what reads the stacks, and what watches them meanwhile.

    To be called while the process has its privileges: see `KernelSymbols`.
    """
    said = one.output
    sampler = StackSampler(
        one.shape,
        said,
        about,
        session.map(said.map),
        session.map(said.traces or ""),
        kernel=KernelSymbols(),
        users=UserSymbols() if sees_host_numbers() else None,
        terminal=terminal,
    )
    watch = [Sampled(sampler=Watch(sampler), interval=_WATCH)] if said.user else []
    return [*watch, Sampled(sampler=sampler, interval=one.every)]
