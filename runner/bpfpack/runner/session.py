"""One package in the kernel, from open to clean."""

from collections.abc import Collection
from contextlib import ExitStack
from typing import TYPE_CHECKING

from bpfpack.runner import capabilities
from bpfpack.runner.buffers import ClosableSource, open_source
from bpfpack.runner.kernel import Kernel, LiveKernel
from bpfpack.runner.links import Link
from bpfpack.runner.loader import LoadedObject, OpenObject
from bpfpack.runner.maps import Map
from bpfpack.runner.plan import Plan
from bpfpack.runner.shortage import explained
from bpfpack.spec.config import Output
from bpfpack.spec.trust import VerifiedArtifact

if TYPE_CHECKING:
    from bpfpack.runner.attach.iterators import TextLink
    from bpfpack.runner.journal import Journal


class Session:
    """A loaded package: its maps, its sources, and, once attached, its links.

    Everything is owned by descriptors of this process, or written down in its journal: the
    end of the process, however it comes, leaves nothing behind, and `close` does the same
    at once.
    """

    def __init__(self, loaded: LoadedObject, plan: Plan, journal: "Journal | None" = None) -> None:
        self._loaded, self.plan, self._journal = loaded, plan, journal
        self.links: list[Link] = []
        self.sources: dict[str, ClosableSource] = {}
        self._texts: dict[str, TextLink] = {}
        self._ordered = True
        #: What is to be closed before the session is.
        self.closing = ExitStack()

    @classmethod
    def open(
        cls,
        artifact: VerifiedArtifact,
        plan: Plan,
        kernel: Kernel | None = None,
        journal: "Journal | None" = None,
        unread: Collection[str] = (),
        ordered: bool = True,
    ) -> "Session":
        """Load the verified bytes as planned and open the outputs; nothing runs yet.

        The buffers of the outputs ``unread`` are left to the caller; those of several processors
        are merged by time if ``ordered``.  A plan that `outlives` takes a ``journal``, which
        `reaper.guarded` gives.  Raises MissingCapability, ProgramRejected, Unsupported,
        KernelError, SpecError.
        """
        capabilities.require(plan.capabilities, f"run {plan.package}")
        with explained():
            opened = OpenObject.open(artifact, plan, kernel or LiveKernel())
            try:
                session = cls(opened.load(), plan, journal)
            except BaseException:
                opened.close()
                raise
            session._ordered = ordered
            try:
                session._open_sources(unread)
            except BaseException:
                session.close()
                raise
        return session

    def _open_sources(self, unread: Collection[str]) -> None:
        for output in self.plan.outputs:
            if output.kind == "events" and output.name not in unread:
                self.read(output)

    def read(self, output: Output) -> ClosableSource:
        """Open the buffer of an output that was left unread; raises KernelError, Unsupported."""
        of, pages = self.map(output.map), self.plan.perf_pages.get(output.map)
        self.sources[output.name] = source = open_source(of, pages=pages, ordered=self._ordered)
        return source

    def attach(self) -> None:
        """Attach every program that the plan loads; raises KernelError, explained."""
        with explained():
            for planned in self.plan.loaded:
                made = self._loaded.attach(planned, self._journal)
                if planned.kind.type == "iter":
                    self._keep(planned.name, made)
                else:
                    self.links += made

    def _keep(self, program: str, made: list[Link]) -> None:
        """Keep an iterator, which runs only as it is read, until all is freed."""
        from bpfpack.runner.attach.iterators import TextLink

        for link in made:
            if isinstance(link.held, TextLink):
                self._texts[program] = link.held

    def text(self, program: str) -> bytes:
        """What an iterator prints now, once it is attached; raises KernelError."""
        return self._texts[program].read()

    def map(self, name: str) -> Map:
        """A map by its name, a section's (``.bss``) for globals; raises KernelError."""
        return self._loaded.map(name)

    def detach(self) -> None:
        """Detach everything, the last attached first; what is in the buffers stays readable."""
        while self.links:
            self.links.pop().close()

    def close(self) -> None:
        """Detach and free everything; a second call does nothing."""
        try:
            self.detach()
        finally:
            try:
                self.closing.close()
            finally:
                self._free()

    def _free(self) -> None:
        try:
            while self._texts:
                self._texts.popitem()[1].close()
            while self.sources:
                self.sources.popitem()[1].close()
        finally:
            self._loaded.close()

    def __enter__(self) -> "Session":
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()
