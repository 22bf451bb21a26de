"""The journals of runs: begun before what outlives its owner, undone when the owner died."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from bpfpack.cli.host import Host
from bpfpack.cli.units import counted
from bpfpack.registry.owned import OwnedDir
from bpfpack.runner.journal import Journal
from bpfpack.runner.reaper import guarded
from bpfpack.runner.recovery import recover
from bpfpack.spec.errors import StoreError

#: Below the run directory: what outlives its descriptor, one file for each process.
JOURNALS: Final = "journals"


def undo_dead(host: Host) -> None:
    """Detach what dead processes left, and say so; what goes wrong is a warning, no fault."""
    try:
        directory = OwnedDir.find(host.dirs.run / JOURNALS)
        if directory is None:
            return
        with directory:
            found = recover(directory.fd)
    except StoreError as e:
        host.printer.warn(f"what killed runs may have left attached is not known: {e}")
        return
    for problem in found.problems:
        host.printer.warn(problem)
    if found.undone:
        host.printer.info(f"removed {counted(found.undone, 'leftover')} of runs that were killed")


@contextmanager
def journal(host: Host) -> Iterator[Journal]:
    """Give a journal that is undone at the end of the block, or of this process.

    Enter it before anything is loaded.  Raises StoreError, KernelError.
    """
    with (
        OwnedDir.open(host.dirs.run / JOURNALS, create=True) as directory,
        guarded(directory.fd) as begun,
    ):
        yield begun
