"""From a verified artifact to a session: open, plan, load."""

from collections.abc import Collection, Mapping, Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Any, Final

from bpfpack.runner.kernel import Kernel, LiveKernel
from bpfpack.runner.package_options import (
    PackageOption,
    encode_values,
    package_options,
    parse_value,
)
from bpfpack.runner.plan import Plan, find_variable, plan
from bpfpack.runner.session import Session
from bpfpack.spec.agreement import check_config
from bpfpack.spec.config import Config, Value
from bpfpack.spec.errors import UsageError
from bpfpack.spec.objectspec import ObjectSpec
from bpfpack.spec.trust import VerifiedArtifact

if TYPE_CHECKING:
    from bpfpack.runner.api.session import PackageSession
    from bpfpack.runner.journal import Journal


class Package:
    """A verified package that is not in the kernel yet; `open` makes one."""

    def __init__(self, artifact: VerifiedArtifact, kernel: Kernel | None = None) -> None:
        """Raise SpecError for a bad object, ConfigMismatch when config and object differ."""
        if not isinstance(artifact, VerifiedArtifact):
            raise TypeError(f"open() takes a VerifiedArtifact, not {type(artifact).__name__}")
        self.artifact: Final = artifact
        #: What the object holds: programs, maps, globals, types.
        self.spec: Final = ObjectSpec.from_bytes(artifact.object)
        check_config(self.spec, artifact.config)
        #: What is asked what it can.
        self.kernel: Final = kernel or LiveKernel()

    @property
    def config(self) -> Config:
        """What the package says of itself: name, outputs, params."""
        return self.artifact.config

    @cached_property
    def params(self) -> Mapping[str, PackageOption]:
        """The package's own options by their names, and what each takes."""
        return {o.param.option: o for o in package_options(self.spec, self.config)}

    def plan(
        self,
        params: Mapping[str, Value] | None = None,
        *,
        constants: Mapping[str, Any] | None = None,
        attach: Sequence[str] = (),
        targets: Mapping[str, Sequence[str]] | None = None,
        map_sizes: Mapping[str, int] | None = None,
        perf_pages: Mapping[str, int] | None = None,
        trace_pipe: bool = False,
    ) -> Plan:
        """Decide what runs on this kernel, before anything is loaded.

        ``params`` are the package's options, by their names or those of their globals: values,
        or text as on the command line (``"10ms"``).  ``constants`` are any globals by their C
        names, with the values they begin with.  ``attach`` are words of ``--attach``,
        ``targets`` those of the package's options that name targets; ``map_sizes`` entries,
        of a ring buffer bytes, ``perf_pages`` pages of a perf buffer for each processor;
        ``trace_pipe`` says that what bpf_printk() prints is shown.
        Raises UsageError, Unsupported.
        """
        values = self._options(params or {})
        if constants:
            values |= self._constants(constants)
        return plan(
            self.spec,
            self.config,
            self.kernel,
            values=values,
            map_sizes=map_sizes,
            perf_pages=perf_pages,
            attach=attach,
            targets=targets,
            trace_pipe=trace_pipe,
        )

    def _constants(self, constants: Mapping[str, Any]) -> dict[str, bytes]:
        from bpfpack.runner.api.variables import codec_of

        found = {name: find_variable(self.spec, name) for name in constants}
        return {
            name: codec_of(self.spec, self.config, found[name]).encode(value)
            for name, value in constants.items()
        }

    def _options(self, params: Mapping[str, Value]) -> dict[str, bytes]:
        known = {o.param.variable: o for o in self.params.values()} | dict(self.params)
        values: dict[str, Value] = {}
        for name, value in params.items():
            if name not in known:
                raise UsageError(f"{self.config.name} has no option {name[:80]!r}").with_hint(
                    f"its options are {', '.join(self.params) or 'none'}"
                )
            option = known[name]
            typed = isinstance(value, str) and (option.type.kind != "text" or option.param.choices)
            values[option.param.variable] = parse_value(option, str(value)) if typed else value
        return encode_values(tuple(self.params.values()), values, self.spec.byte_order)

    def load(
        self,
        planned: Plan | None = None,
        params: Mapping[str, Value] | None = None,
        *,
        journal: "Journal | None" = None,
        unread: Collection[str] = (),
        ordered: bool = True,
    ) -> "PackageSession":
        """Load as planned, by default with ``params`` alone; nothing runs before `attach`.

        The buffers of the outputs ``unread`` are left to the caller; those of perf buffers come
        by time over all processors, unless not ``ordered``.
        A plan that `outlives` its process (tc programs without links) takes the ``journal`` of
        `bpfpack.runner.reaper.guarded`.  Raises MissingCapability, ProgramRejected,
        Unsupported, KernelError, UsageError.
        """
        if planned is not None and params:
            raise UsageError("params are part of the plan")
        chosen = planned or self.plan(params)
        if chosen.outlives and journal is None:
            raise UsageError(
                f"{self.config.name} attaches what outlives this process, which takes a journal"
            ).with_hint("with bpfpack.runner.reaper.guarded(directory) as journal: ...")
        from bpfpack.runner.api.session import PackageSession

        session = Session.open(self.artifact, chosen, self.kernel, journal, unread, ordered=ordered)
        return PackageSession(session, self.spec, self.config)


def open(artifact: VerifiedArtifact, *, kernel: Kernel | None = None) -> Package:
    """Open a package that `bpfpack.spec.trust.admit` let through; nothing else is taken.

    Raises SpecError, ConfigMismatch.
    """
    return Package(artifact, kernel)
