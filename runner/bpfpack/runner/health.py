"""Whether packages can run on this host: library, kernel, mounts, privileges.

Nothing is changed: what is missing is named, not mounted or loaded for good.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Final

from bpfpack.runner import capabilities, mounts
from bpfpack.runner._native import libbpf
from bpfpack.runner.kernel import Answer, Kernel
from bpfpack.spec.errors import BpfpackError
from bpfpack.spec.finding import Finding
from bpfpack.spec.sections import PROG_TYPES

_LOCKDOWN: Final = Path("/sys/kernel/security/lockdown")
_JIT: Final = Path("/proc/sys/net/core/bpf_jit_enable")
#: What most packages need: to load, to trace, to read the numbers of tracepoints.
_USUAL: Final = ("CAP_BPF", "CAP_PERFMON", "CAP_DAC_READ_SEARCH")
_NETWORK: Final = ("CAP_NET_ADMIN",)


def findings(kernel: Kernel) -> Iterator[Finding]:
    """Examine this host; never raises for what it finds."""
    library = _library()
    yield library
    if library.state == "failed":
        return  # the kernel is asked through it
    yield _btf(kernel)
    yield _lockdown()
    yield _privileges()
    yield _tracefs()
    yield _cgroup()
    yield _programs(kernel)
    yield _jit()


def _library() -> Finding:
    try:
        version = libbpf.version()
    except BpfpackError as e:
        return Finding.failed("libbpf", str(e), e.hint or "install libbpf 1.0 or newer")
    return Finding.ok("libbpf", version)


def _btf(kernel: Kernel) -> Finding:
    answer = kernel.has_btf()
    if answer is Answer.YES:
        return Finding.ok("kernel BTF", "/sys/kernel/btf/vmlinux")
    if answer is Answer.UNKNOWN:
        return Finding.warning(
            "kernel BTF", "cannot be read", "mount sysfs: mount -t sysfs sysfs /sys"
        )
    return Finding.failed(
        "kernel BTF",
        "this kernel does not describe its types, so nothing can be relocated to it",
        "boot a kernel with CONFIG_DEBUG_INFO_BTF=y; distributions' have it since about 2021",
    )


def _lockdown() -> Finding:
    text = _text(_LOCKDOWN)
    if text is None:
        return Finding.ok("lockdown", "not said by the kernel (no securityfs)")
    mode = lockdown_mode(text)
    if mode == "confidentiality":
        return Finding.failed(
            "lockdown",
            "confidentiality: the kernel refuses programs that read its memory",
            "boot with lockdown=integrity, or without; see kernel_lockdown(7)",
        )
    return Finding.ok("lockdown", mode or "none")


def lockdown_mode(text: str) -> str | None:
    """Return the mode that the kernel marks with brackets.

    >>> lockdown_mode("none [integrity] confidentiality")
    'integrity'
    """
    return next((word[1:-1] for word in text.split() if word.startswith("[")), None)


def _privileges() -> Finding:
    lacking = capabilities.missing((*_USUAL, *_NETWORK))
    if capabilities.in_user_namespace():
        return Finding.warning(
            "privileges",
            "capabilities of a user namespace do not count for BPF",
            "run it as root of the host",
        )
    if not lacking:
        return Finding.ok("privileges", f"{', '.join((*_USUAL, *_NETWORK))} are held")
    cure = "run packages as root, for example with sudo, or grant these capabilities"
    if set(lacking) <= set(_NETWORK):
        return Finding.warning("privileges", "CAP_NET_ADMIN is missing: no XDP, no tc", cure)
    return Finding.warning("privileges", f"missing: {', '.join(lacking)}", cure)


def _tracefs() -> Finding:
    try:
        place = mounts.find_tracefs()
    except BpfpackError as e:
        return Finding.warning("tracefs", str(e), e.hint or "mount /proc")
    if place is not None:
        return Finding.ok("tracefs", str(place))
    if "CAP_SYS_ADMIN" in capabilities.held():
        return Finding.ok("tracefs", "not mounted; `run` mounts it for itself alone")
    return Finding.warning(
        "tracefs",
        "not mounted: tracepoints cannot be found",
        "as root: mount -t tracefs tracefs /sys/kernel/tracing",
    )


def _cgroup() -> Finding:
    found = sorted(mounts.mount_points("cgroup2"))
    if found:
        return Finding.ok("cgroup v2", found[0])
    return Finding.warning(
        "cgroup v2",
        "not mounted: packages that attach to a cgroup cannot",
        "as root: mount -t cgroup2 cgroup2 /sys/fs/cgroup/unified",
    )


def _programs(kernel: Kernel) -> Finding:
    """Ask for one type of each family: a kernel that has it has its siblings."""
    families = ("tracepoint", "raw_tracepoint", "perf_event", "xdp", "sched_cls", "cgroup_skb")
    answers = {name: kernel.probe(PROG_TYPES.index(name)) for name in families}
    absent, unknown = (
        [name for name, answer in answers.items() if answer is wanted]
        for wanted in (Answer.NO, Answer.UNKNOWN)
    )
    if absent:
        return Finding.warning(
            "program types",
            f"this kernel takes none of type {', '.join(absent)}",
            "boot a kernel with CONFIG_BPF_SYSCALL, CONFIG_BPF_EVENTS and CONFIG_NET",
        )
    if unknown:
        which = "" if len(unknown) == len(families) else f" for {', '.join(unknown)}"
        told = f"only who may load programs can ask{which}"
        return Finding.warning("program types", told, "run doctor as root")
    return Finding.ok("program types", f"{', '.join(families)}")


def _jit() -> Finding:
    value = (_text(_JIT) or "").strip()
    if value == "0":
        return Finding.warning(
            "JIT", "off: programs are interpreted, several times slower",
            "as root: sysctl net.core.bpf_jit_enable=1",
        )  # fmt: skip
    return Finding.ok("JIT", "on" if value else "not said by the kernel")


def _text(path: Path) -> str | None:
    try:
        return path.read_text()
    except OSError:
        return None
