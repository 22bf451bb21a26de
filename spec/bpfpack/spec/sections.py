"""The grammar of ELF section names: what kind of program a section holds.

libbpf knows such a table too, but each of its versions another one, and an object fails as a
whole on a name that is newer than the library.  So the table is here, up to libbpf 1.7, and
the loader sets type and attach type of every program itself.
"""

from collections.abc import Callable
from typing import Final

from bpfpack.spec.errors import SpecError
from bpfpack.spec.value import valuetype

# enum bpf_prog_type of include/uapi/linux/bpf.h: the number is the index.
PROG_TYPES: Final = (
    "unspec", "socket_filter", "kprobe", "sched_cls", "sched_act", "tracepoint", "xdp",
    "perf_event", "cgroup_skb", "cgroup_sock", "lwt_in", "lwt_out", "lwt_xmit", "sock_ops",
    "sk_skb", "cgroup_device", "sk_msg", "raw_tracepoint", "cgroup_sock_addr", "lwt_seg6local",
    "lirc_mode2", "sk_reuseport", "flow_dissector", "cgroup_sysctl", "raw_tracepoint_writable",
    "cgroup_sockopt", "tracing", "struct_ops", "ext", "lsm", "sk_lookup", "syscall", "netfilter",
)  # fmt: skip

# enum bpf_attach_type of the same file.
ATTACH_TYPES: Final = (
    "cgroup_inet_ingress", "cgroup_inet_egress", "cgroup_inet_sock_create", "cgroup_sock_ops",
    "sk_skb_stream_parser", "sk_skb_stream_verdict", "cgroup_device", "sk_msg_verdict",
    "cgroup_inet4_bind", "cgroup_inet6_bind", "cgroup_inet4_connect", "cgroup_inet6_connect",
    "cgroup_inet4_post_bind", "cgroup_inet6_post_bind", "cgroup_udp4_sendmsg",
    "cgroup_udp6_sendmsg", "lirc_mode2", "flow_dissector", "cgroup_sysctl",
    "cgroup_udp4_recvmsg", "cgroup_udp6_recvmsg", "cgroup_getsockopt", "cgroup_setsockopt",
    "trace_raw_tp", "trace_fentry", "trace_fexit", "modify_return", "lsm_mac", "trace_iter",
    "cgroup_inet4_getpeername", "cgroup_inet6_getpeername", "cgroup_inet4_getsockname",
    "cgroup_inet6_getsockname", "xdp_devmap", "cgroup_inet_sock_release", "xdp_cpumap",
    "sk_lookup", "xdp", "sk_skb_verdict", "sk_reuseport_select",
    "sk_reuseport_select_or_migrate", "perf_event", "trace_kprobe_multi", "lsm_cgroup",
    "struct_ops", "netfilter", "tcx_ingress", "tcx_egress", "trace_uprobe_multi",
    "cgroup_unix_connect", "cgroup_unix_sendmsg", "cgroup_unix_recvmsg",
    "cgroup_unix_getpeername", "cgroup_unix_getsockname", "netkit_primary", "netkit_peer",
    "trace_kprobe_session", "trace_uprobe_session", "trace_fsession",
)  # fmt: skip


@valuetype
class ProgramKind:
    """What a section name says of its programs.

    ``type`` is the name without flags and aliases; ``prog_type`` and ``attach_type`` are the
    kernel's numbers, ``attach_type`` None where the kernel expects none; ``target`` is what
    stands behind the type, None where the name leaves it open.
    """

    type: str
    prog_type: int
    attach_type: int | None = None
    target: str | None = None
    sleepable: bool = False
    multi: bool = False
    frags: bool = False
    autoload: bool = True


@valuetype(kw_only=False)
class _Entry:
    """One row: ``check`` says what a target must look like, None that there is none."""

    type: str
    prog_type: int
    attach_type: int | None
    check: Callable[[str], str | None] | None
    sleepable: bool
    multi: bool
    frags: bool


def parse_section(name: str) -> ProgramKind:
    """Return what kind of program the section called ``name`` holds.

    A leading ``?`` means that the program is not loaded by itself.
    Raises SpecError, naming a known section that is near, for an unknown one.

    >>> parse_section("tp/syscalls/sys_enter_openat").target
    'syscalls/sys_enter_openat'
    >>> parse_section("tracepoin/a/b")
    Traceback (most recent call last):
    ...
    bpfpack.spec.errors.SpecError: unknown program section, nearest 'tracepoint' in 'tracepoin/a/b'
    """
    if not name.isprintable():
        raise SpecError("section name with unprintable characters", path=(name,))
    written = name.removeprefix("?")
    word, target = _split(written)
    entry = _ENTRIES.get(word)
    if entry is None:
        near = "".join(f", nearest {known!r}" for known in _nearest(written))
        raise SpecError(f"unknown program section{near}", path=(name,))
    if target is not None:
        fault = entry.check(target) if entry.check else f"{word!r} takes no target"
        if fault:
            raise SpecError(fault, path=(name,))
    return ProgramKind(
        type=entry.type,
        prog_type=entry.prog_type,
        attach_type=entry.attach_type,
        target=None if entry.check is _label else target,
        sleepable=entry.sleepable,
        multi=entry.multi,
        frags=entry.frags,
        autoload=not name.startswith("?"),
    )


def _split(written: str) -> tuple[str, str | None]:
    """Split into a known section, the longest that fits, and its target."""
    if written in _ENTRIES:
        return written, None
    at = len(written)
    while (at := written.rfind("/", 0, at)) > 0:
        if written[:at] in _ENTRIES:
            return written[:at], written[at + 1 :]
    return written, None


def _nearest(written: str) -> list[str]:
    """Return the section that was meant, or none that could have been."""
    # Imported here: it costs 2 ms, and most starts know all their sections.
    from difflib import get_close_matches

    short = written[:64]
    whole = get_close_matches(short, _ENTRIES, n=1, cutoff=0.7)
    return whole or get_close_matches(short.split("/")[0], _ENTRIES, n=1, cutoff=0.6)


def _is_name(text: str) -> bool:
    """Say whether it can be the name of something in the kernel."""
    return text.isascii() and text.replace(".", "_").isidentifier()


def _name(target: str) -> str | None:
    return None if _is_name(target) else "target is not a name"


def _tracepoint(target: str) -> str | None:
    category, slash, event = target.partition("/")
    if slash and all(part and _is_name("_" + part.replace("-", "_")) for part in (category, event)):
        return None
    return "target is not CATEGORY/NAME"


def _kprobe(target: str) -> str | None:
    function, plus, offset = target.partition("+")
    if _is_name(function) and (not plus or _is_number(offset)):
        return None
    return "target is not FUNCTION or FUNCTION+OFFSET"


def _pattern(target: str) -> str | None:
    named = target.replace("*", "").replace("?", "")
    return None if not named or _is_name("_" + named) else "target is not a pattern of names"


def _uprobe(target: str) -> str | None:
    path, colon, function = target.partition(":")
    return None if path and colon and function else "target is not FILE:FUNCTION"


def _usdt(target: str) -> str | None:
    parts = target.rsplit(":", 2)
    return None if len(parts) == 3 and all(parts) else "target is not FILE:PROVIDER:NAME"


def _label(target: str) -> str | None:
    """Accept what libbpf before 1.0 let people write: it tells programs apart, no more."""
    return None if _is_name("_" + target.replace("-", "_").replace("/", "_")) else "not a name"


def _is_number(text: str) -> bool:
    try:
        return int(text, 0) >= 0
    except ValueError:
        return False


def _rows() -> "dict[str, _Entry]":
    """Build the table; ``.s`` and ``.multi`` of a name become flags."""
    table: dict[str, _Entry] = {}

    def add(
        names: str,
        prog_type: str,
        attach_type: str | None = None,
        check: Callable[[str], str | None] | None = None,
        *,
        sleepable: bool = False,
    ) -> None:
        first, *_ = names.split()
        plain = first.removesuffix(".s")
        entry = _Entry(
            plain.replace(".multi", "").replace(".frags", ""),
            PROG_TYPES.index(prog_type),
            None if attach_type is None else ATTACH_TYPES.index(attach_type),
            check,
            sleepable or first != plain,
            ".multi" in first or ".session" in first,
            ".frags" in first,
        )
        for name in names.split():
            table[name] = entry

    add("socket", "socket_filter", None, _label)
    add("sk_reuseport/migrate", "sk_reuseport", "sk_reuseport_select_or_migrate")
    add("sk_reuseport", "sk_reuseport", "sk_reuseport_select")
    for name in ("kprobe", "kretprobe"):
        add(name, "kprobe", None, _kprobe)
        add(f"{name}.multi", "kprobe", "trace_kprobe_multi", _pattern)
    add("kprobe.session", "kprobe", "trace_kprobe_session", _pattern)
    for sleep in ("", ".s"):
        for name in ("uprobe", "uretprobe"):
            add(f"{name}{sleep}", "kprobe", None, _uprobe)
            add(f"{name}.multi{sleep}", "kprobe", "trace_uprobe_multi", _uprobe)
        add(f"uprobe.session{sleep}", "kprobe", "trace_uprobe_session", _uprobe)
        add(f"usdt{sleep}", "kprobe", None, _usdt)
        add(f"fentry{sleep}", "tracing", "trace_fentry", _name)
        add(f"fexit{sleep}", "tracing", "trace_fexit", _name)
        add(f"fmod_ret{sleep}", "tracing", "modify_return", _name)
        add(f"fsession{sleep}", "tracing", "trace_fsession", _name)
        add(f"lsm{sleep}", "lsm", "lsm_mac", _name)
        add(f"iter{sleep}", "tracing", "trace_iter", _name)
        add(f"struct_ops{sleep}", "struct_ops", None, _name)
    add("lsm_cgroup", "lsm", "lsm_cgroup", _name)
    add("ksyscall", "kprobe", None, _name)
    add("kretsyscall", "kprobe", None, _name)
    add("tracepoint tp", "tracepoint", None, _tracepoint)
    add("raw_tp raw_tracepoint", "raw_tracepoint", None, _name)
    add("raw_tp.w raw_tracepoint.w", "raw_tracepoint_writable", None, _name)
    add("tp_btf", "tracing", "trace_raw_tp", _name)
    add("freplace", "ext", None, _name)
    add("syscall", "syscall", sleepable=True)
    add("perf_event", "perf_event")
    add("tcx/ingress tc/ingress", "sched_cls", "tcx_ingress")
    add("tcx/egress tc/egress", "sched_cls", "tcx_egress")
    add("tc", "sched_cls")
    add("classifier", "sched_cls", None, _label)
    add("action", "sched_act", None, _label)
    add("netkit/primary", "sched_cls", "netkit_primary")
    add("netkit/peer", "sched_cls", "netkit_peer")
    for frags in ("", ".frags"):
        add(f"xdp{frags}/devmap", "xdp", "xdp_devmap")
        add(f"xdp{frags}/cpumap", "xdp", "xdp_cpumap")
        add(f"xdp{frags}", "xdp", "xdp", _label)
    for name in ("lwt_in", "lwt_out", "lwt_xmit", "lwt_seg6local"):
        add(name, name)
    add("sockops", "sock_ops", "cgroup_sock_ops")
    for name in ("stream_parser", "stream_verdict", "verdict"):
        add(f"sk_skb/{name}", "sk_skb", f"sk_skb_{name}")
    add("sk_skb", "sk_skb")
    add("sk_msg", "sk_msg", "sk_msg_verdict")
    for name in ("lirc_mode2", "flow_dissector", "sk_lookup", "netfilter"):
        add(name, name, name)
    add("cgroup_skb/ingress", "cgroup_skb", "cgroup_inet_ingress")
    add("cgroup_skb/egress", "cgroup_skb", "cgroup_inet_egress")
    add("cgroup/skb", "cgroup_skb")
    add("cgroup/sock_create cgroup/sock", "cgroup_sock", "cgroup_inet_sock_create")
    add("cgroup/sock_release", "cgroup_sock", "cgroup_inet_sock_release")
    for family in ("4", "6"):
        add(f"cgroup/post_bind{family}", "cgroup_sock", f"cgroup_inet{family}_post_bind")
        for name in ("bind", "connect", "getpeername", "getsockname"):
            add(f"cgroup/{name}{family}", "cgroup_sock_addr", f"cgroup_inet{family}_{name}")
        for name in ("sendmsg", "recvmsg"):
            add(f"cgroup/{name}{family}", "cgroup_sock_addr", f"cgroup_udp{family}_{name}")
    for name in ("connect", "sendmsg", "recvmsg", "getpeername", "getsockname"):
        add(f"cgroup/{name}_unix", "cgroup_sock_addr", f"cgroup_unix_{name}")
    add("cgroup/sysctl", "cgroup_sysctl", "cgroup_sysctl")
    for name in ("getsockopt", "setsockopt"):
        add(f"cgroup/{name}", "cgroup_sockopt", f"cgroup_{name}")
    add("cgroup/dev", "cgroup_device", "cgroup_device")
    return table


_ENTRIES: Final = _rows()

SECTION_NAMES: Final = tuple(_ENTRIES)
