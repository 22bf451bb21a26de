"""Which capabilities the kernel wants for a program, by its type, its helpers and its targets."""

from typing import TYPE_CHECKING, Final

from bpfpack.runner.capabilities import least
from bpfpack.spec.code import ProgramSpec
from bpfpack.spec.sections import PROG_TYPES

if TYPE_CHECKING:
    from bpfpack.runner.attach.attachments import Attachment

# kernel/bpf/syscall.c, is_perfmon_prog_type.
_PERFMON_TYPES: Final = tuple(
    PROG_TYPES.index(name)
    for name in (
        *("kprobe", "tracepoint", "perf_event", "raw_tracepoint", "raw_tracepoint_writable"),
        *("tracing", "lsm", "struct_ops", "ext"),
    )
)
# Of the same file, is_net_admin_prog_type.
_NET_ADMIN_LOADED: Final = tuple(
    PROG_TYPES.index(name)
    for name in (
        *("sched_cls", "sched_act", "xdp", "sk_skb", "sk_msg", "flow_dissector", "sock_ops", "ext"),
        *("lwt_in", "lwt_out", "lwt_xmit", "lwt_seg6local"),
        *("cgroup_sock", "cgroup_sock_addr", "cgroup_sockopt", "cgroup_sysctl", "cgroup_device"),
    )
)
# For this one attaching takes CAP_NET_ADMIN (bpf_prog_attach_check_attach_type).
_NET_ADMIN_TYPES: Final = (*_NET_ADMIN_LOADED, PROG_TYPES.index("cgroup_skb"))
# What kernel/bpf/helpers.c, bpf_base_func_proto, gives to CAP_PERFMON alone: trace_printk,
# get_current_task, probe_read_{user,kernel}[_str], snprintf_btf, get_current_task_btf,
# snprintf, task_pt_regs, trace_vprintk; and probe_read, probe_read_str of older kernels.
_PERFMON_HELPERS: Final = frozenset((4, 6, 35, 45, 112, 113, 114, 115, 149, 158, 165, 175, 177))


def to_load(program_type: int) -> tuple[str, ...]:
    """The capabilities that loading any program of a type takes, or asking whether there is one."""
    network = ("CAP_NET_ADMIN",) if program_type in _NET_ADMIN_LOADED else ()
    return ("CAP_BPF", "CAP_PERFMON", *network)


def needed(program: ProgramSpec, attachments: "tuple[Attachment, ...]") -> tuple[str, ...]:
    """The capabilities that loading a program, and attaching it there, takes."""
    found = ["CAP_BPF"]
    if program.kind.prog_type in _PERFMON_TYPES or program.helpers & _PERFMON_HELPERS:
        found.append("CAP_PERFMON")
    if program.kind.type == "tracepoint":
        # The number of an event is read from tracefs, which is root's alone.
        found.append("CAP_DAC_READ_SEARCH")
    if program.kind.prog_type in _NET_ADMIN_TYPES:
        found.append("CAP_NET_ADMIN")
    if program.kind.type == "socket":
        found.append("CAP_NET_RAW")
    if program.kind.type in ("uprobe", "uretprobe", "usdt"):
        # kernel/events/core.c, perf_uprobe_event_init; CAP_PERFMON will not do since Linux
        # 6.16 (commit ba677dbe77af), nor with the fixes for kernels before.
        found.append("CAP_SYS_ADMIN")
        if any(getattr(a, "pid", None) is not None for a in attachments):
            # proc_pid_root(5): what another process sees.
            found.append("CAP_SYS_PTRACE")
    return least(found)
