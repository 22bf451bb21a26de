"""How a transfer is shown: bars on a terminal, a line for each blob in a pipe, nothing with -q."""

from contextlib import AbstractContextManager
from types import TracebackType
from typing import TYPE_CHECKING, Final, Self

from bpfpack.cli.printer import Printer
from bpfpack.cli.units import size
from bpfpack.spec import mediatypes
from bpfpack.spec.content import Progress
from bpfpack.spec.descriptor import Descriptor
from bpfpack.spec.digest import Digest
from bpfpack.spec.safetext import printable

if TYPE_CHECKING:
    from rich.progress import TaskID


#: What people call a blob that has no name of its own.
_NAMES: Final = {
    mediatypes.CONFIG: "config",
    mediatypes.IMAGE_CONFIG: "config",
    mediatypes.EMPTY: "empty config",
    mediatypes.SIMPLE_SIGNING: "signature",
    mediatypes.SIGSTORE_BUNDLE: "signature bundle",
}


class Shown(Progress, AbstractContextManager["Shown"]):
    """A progress that is there for the length of a block."""


def shown(printer: Printer) -> Shown:
    """Return what suits the place where messages go."""
    return Bars() if printer.progress_on_terminal else Lines(printer)


def _named(want: Descriptor) -> str:
    known = _NAMES.get(want.media_type) or want.media_type.rpartition("/")[2]
    return printable(f"{want.digest.short} {want.title or known}", 40)


class Lines(Shown):
    """One line for each blob, when it is there; the printer drops them with ``-q``."""

    def __init__(self, printer: Printer) -> None:
        self._printer = printer
        self._verbs: dict[Digest, str] = {}

    def start(self, want: Descriptor, verb: str) -> None:
        """See `Progress.start`."""
        self._verbs[want.digest] = verb

    def advance(self, want: Descriptor, size: int) -> None:
        """See `Progress.advance`; a pipe is told when it is done."""

    def finish(self, want: Descriptor) -> None:
        """See `Progress.finish`."""
        verb = self._verbs.pop(want.digest, "copy")
        self._printer.info(f"{verb:<6}  {_named(want)}  {size(want.size)}")

    def __exit__(
        self, kind: type[BaseException] | None, e: BaseException | None, tb: TracebackType | None
    ) -> None:
        return None


class Bars(Shown):
    """A bar for each blob, on the terminal of stderr."""

    def __init__(self) -> None:
        from rich.console import Console
        from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn

        self._bars = Progress(
            TextColumn("{task.fields[verb]:<6} {task.fields[name]:<40}", markup=False),
            BarColumn(),
            DownloadColumn(),
            console=Console(stderr=True, markup=False, emoji=False, highlight=False),
        )
        self._tasks: dict[Digest, TaskID] = {}

    def start(self, want: Descriptor, verb: str) -> None:
        """See `Progress.start`."""
        self._tasks[want.digest] = self._bars.add_task(
            "", total=want.size, verb=verb, name=_named(want)
        )

    def advance(self, want: Descriptor, size: int) -> None:
        """See `Progress.advance`."""
        self._bars.advance(self._tasks[want.digest], size)

    def finish(self, want: Descriptor) -> None:
        """See `Progress.finish`."""
        self._bars.update(self._tasks[want.digest], completed=want.size)

    def __enter__(self) -> Self:
        self._bars.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, e: BaseException | None, tb: TracebackType | None
    ) -> None:
        self._bars.stop()
