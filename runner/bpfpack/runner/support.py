"""Which kinds of programs can run here, and in which words to refuse the others."""

from typing import Final

from bpfpack.runner.kernel import Answer, Kernel
from bpfpack.spec.errors import Unsupported, UsageError
from bpfpack.spec.sections import ProgramKind
from bpfpack.spec.value import valuetype

#: The kinds whose section names what they are attached to, by `ProgramKind.type`.
NAMED: Final = ("tracepoint", "raw_tp", "tp_btf", "iter")
#: The kinds that this bpfpack can attach, for people.
SUPPORTED: Final = (
    *(*NAMED, "perf_event", "uprobe", "uretprobe", "usdt"),
    *("xdp", "tc", "cgroup", "sockops", "socket"),
)
_FAMILIES: Final = ("perf_event", "uprobe", "usdt", "xdp", "tc", "cgroup", "socket")
_OF_SOMETHING: Final = {
    "bpf_map_elem": "map",
    "bpf_sk_storage_map": "map",
    "sockmap": "map",
    "cgroup": "cgroup",
}
# Without these options of the build a kernel has no such programs.
_NEEDS: Final = {
    "perf_event": ("CONFIG_BPF_EVENTS", "CONFIG_PERF_EVENTS"),
    "uprobe": ("CONFIG_BPF_EVENTS", "CONFIG_UPROBE_EVENTS"),
    "usdt": ("CONFIG_BPF_EVENTS", "CONFIG_UPROBE_EVENTS"),
    "tc": ("CONFIG_NET_SCH_INGRESS",),
    "cgroup": ("CONFIG_CGROUP_BPF",),
    "socket": ("CONFIG_PACKET",),
}
_KPROBES: Final = ("kprobe", "kretprobe", "ksyscall", "kretsyscall")


@valuetype
class Fault:
    """Why a program cannot run: what is missing, why, and what would do instead.

    ``wanted`` is False where not loading it is no loss, ``sure`` where the kernel could not
    be asked, so that only trying will tell, ``usage`` is True where only the user can tell.
    """

    feature: str
    why: str
    hint: str | None = None
    wanted: bool = True
    sure: bool = True
    usage: bool = False

    def __str__(self) -> str:
        return f"{self.feature}: {self.why}"

    def error(self, program: str | None = None) -> Unsupported | UsageError:
        """The fault of a program that the package cannot do without, or of all of them."""
        why = f"{self.why} (program {program})" if program else self.why
        error: Unsupported | UsageError = (
            UsageError(f"{self.feature}: {why}") if self.usage else Unsupported(self.feature, why)
        )
        return error.with_hint(self.hint) if self.hint else error


def why_not(kind: ProgramKind, kernel: Kernel) -> Fault | None:
    """Return what keeps, or may keep, programs of that kind from running; None for nothing."""
    if kind.type not in NAMED:
        return _by_target(kind, kernel)
    if kind.type == "iter":
        return _iterator(kind, kernel)
    if kind.target is None:
        return Fault(feature=kind.type, why="its section names no tracepoint to attach to")
    if (fault := _type_missing(kind, kernel, ("CONFIG_BPF_EVENTS",))) is not None:
        return fault
    if kind.type == "tracepoint":
        category, _, event = kind.target.partition("/")
        answer = kernel.has_tracepoint(category, event)
    else:
        if kind.type == "tp_btf" and kernel.has_btf() is Answer.NO:
            return no_btf(kind.type, kernel)
        answer = kernel.has_raw_tracepoint(kind.target)
    if answer is Answer.UNKNOWN:
        return _doubt(kind, kernel)
    return unknown_tracepoint(kind, kernel) if answer is Answer.NO else None


def _iterator(kind: ProgramKind, kernel: Kernel) -> Fault | None:
    if kind.target is None:
        return Fault(feature="iter", why="its section names no iterator")
    if kind.target in _OF_SOMETHING:
        return Fault(
            feature=f"iter {kind.target}",
            why=f"iterators of one {_OF_SOMETHING[kind.target]} are not supported yet by bpfpack",
        )
    if kernel.has_btf() is Answer.NO:
        return no_btf("iter", kernel)
    # include/linux/bpf.h, DEFINE_BPF_ITER_FUNC; the context of each is a struct of this name.
    answer = kernel.has_type(f"bpf_iter__{kind.target}")
    if answer is Answer.UNKNOWN:
        return Fault(feature="iter", why="the kernel's BTF cannot be read here", sure=False)
    return unknown_iterator(kind) if answer is Answer.NO else None


def unknown_iterator(kind: ProgramKind) -> Fault:
    """The kernel has no such iterator."""
    return Fault(feature=f"iter {kind.target}", why="this kernel has no such iterator")


def _doubt(kind: ProgramKind, kernel: Kernel) -> Fault:
    if kind.type == "tracepoint":
        why = "tracefs cannot be read here"
    elif kernel.has_btf() is Answer.YES:
        why = "its tracepoint may be one of a module, which the kernel's BTF does not list"
    else:
        why = "the kernel's BTF cannot be read here"
    return Fault(feature=kind.type, why=why, sure=False)


def _by_target(kind: ProgramKind, kernel: Kernel) -> Fault | None:
    from bpfpack.spec.targets import family  # a tool that only traces needs none of it

    of = family(kind)
    if of not in _FAMILIES:
        return _unsupported(kind, kernel)
    return _type_missing(kind, kernel, _NEEDS.get(of, ()))


def _type_missing(kind: ProgramKind, kernel: Kernel, options: tuple[str, ...]) -> Fault | None:
    """Ask the build's options, which costs nothing, and the kernel only without them."""
    said = [kernel.option(option) for option in options]
    for option, value in zip(options, said, strict=True):
        if value == "n":
            return Fault(feature=kind.type, why=f"{option} is not set in this kernel")
    if None in said and kernel.probe(kind.prog_type) is Answer.NO:
        return Fault(feature=kind.type, why="this kernel takes no programs of that type")
    return None


def _unsupported(kind: ProgramKind, kernel: Kernel) -> Fault:
    why = "not supported yet by bpfpack"
    if kind.type in _KPROBES and kernel.option("CONFIG_KPROBES") == "n":
        why += ", and CONFIG_KPROBES is not set in this kernel"
    return Fault(feature=kind.type, why=why, hint=f"what can be attached: {', '.join(SUPPORTED)}")


def no_btf(feature: str, kernel: Kernel) -> Fault:
    """The kernel does not describe its types, or where it does cannot be read."""
    if kernel.has_btf() is not Answer.NO:
        return Fault(
            feature=feature,
            why="the kernel's BTF, /sys/kernel/btf/vmlinux, cannot be read",
            hint="is sysfs mounted at /sys here?",
        )
    return Fault(
        feature=feature,
        why="this kernel has no BTF (CONFIG_DEBUG_INFO_BTF is not set)",
        hint="a tracepoint or raw_tp program needs none to attach" if feature == "tp_btf" else None,
    )


def unknown_tracepoint(kind: ProgramKind, kernel: Kernel) -> Fault:
    """The kernel has no such tracepoint, or iterator; names that are spelled alike may be meant."""
    if kind.type == "iter":
        return unknown_iterator(kind)
    near = kernel.near(kind.target or "")
    if kind.type != "tracepoint":
        near = tuple(name.rpartition("/")[2] for name in near)
    return Fault(
        feature=f"{kind.type} {kind.target}",
        why="this kernel has no such tracepoint",
        hint=f"spelled alike: {', '.join(near)}" if near else None,
    )
