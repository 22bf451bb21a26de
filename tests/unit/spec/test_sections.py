"""The section grammar: every name, its targets, and libbpf's own opinion."""

import ctypes

import pytest

from bpfpack.spec.errors import SpecError
from bpfpack.spec.sections import (
    ATTACH_TYPES,
    PROG_TYPES,
    SECTION_NAMES,
    ProgramKind,
    parse_section,
)


def kind(name: str) -> tuple[str, str, str | None, str | None]:
    found = parse_section(name)
    attach = None if found.attach_type is None else ATTACH_TYPES[found.attach_type]
    return found.type, PROG_TYPES[found.prog_type], attach, found.target


@pytest.mark.parametrize(
    ("section", "expected"),
    [
        (
            "tracepoint/syscalls/sys_enter_openat",
            ("tracepoint", "tracepoint", None, "syscalls/sys_enter_openat"),
        ),
        ("tp/sched/sched_switch", ("tracepoint", "tracepoint", None, "sched/sched_switch")),
        ("raw_tp/sys_enter", ("raw_tp", "raw_tracepoint", None, "sys_enter")),
        ("raw_tracepoint/sys_enter", ("raw_tp", "raw_tracepoint", None, "sys_enter")),
        ("raw_tracepoint.w/x", ("raw_tp.w", "raw_tracepoint_writable", None, "x")),
        ("tp_btf/sched_switch", ("tp_btf", "tracing", "trace_raw_tp", "sched_switch")),
        ("kprobe/do_unlinkat", ("kprobe", "kprobe", None, "do_unlinkat")),
        ("kprobe/do_unlinkat+0x10", ("kprobe", "kprobe", None, "do_unlinkat+0x10")),
        ("kprobe/__x64_sys_read.constprop.0", ("kprobe", "kprobe", None, None)),
        ("kretprobe", ("kretprobe", "kprobe", None, None)),
        ("kprobe.multi/tcp_*", ("kprobe", "kprobe", "trace_kprobe_multi", "tcp_*")),
        ("kprobe.session/*", ("kprobe.session", "kprobe", "trace_kprobe_session", "*")),
        ("uprobe//bin/bash:readline", ("uprobe", "kprobe", None, "/bin/bash:readline")),
        ("uretprobe.s/libc.so.6:malloc+8", ("uretprobe", "kprobe", None, "libc.so.6:malloc+8")),
        ("uprobe.multi.s//a:b", ("uprobe", "kprobe", "trace_uprobe_multi", "/a:b")),
        ("uprobe.session//a:b", ("uprobe.session", "kprobe", "trace_uprobe_session", "/a:b")),
        ("usdt/libc.so.6:libc:setjmp", ("usdt", "kprobe", None, "libc.so.6:libc:setjmp")),
        ("ksyscall/openat", ("ksyscall", "kprobe", None, "openat")),
        ("fentry.s/vfs_read", ("fentry", "tracing", "trace_fentry", "vfs_read")),
        ("fsession/vfs_read", ("fsession", "tracing", "trace_fsession", "vfs_read")),
        ("fmod_ret/x", ("fmod_ret", "tracing", "modify_return", "x")),
        ("freplace/x", ("freplace", "ext", None, "x")),
        ("lsm/file_open", ("lsm", "lsm", "lsm_mac", "file_open")),
        ("lsm_cgroup/socket_bind", ("lsm_cgroup", "lsm", "lsm_cgroup", "socket_bind")),
        ("iter.s/task", ("iter", "tracing", "trace_iter", "task")),
        ("struct_ops.s/init", ("struct_ops", "struct_ops", None, "init")),
        ("xdp", ("xdp", "xdp", "xdp", None)),
        ("xdp/drop-all", ("xdp", "xdp", "xdp", None)),
        ("xdp.frags/devmap", ("xdp/devmap", "xdp", "xdp_devmap", None)),
        ("tc", ("tc", "sched_cls", None, None)),
        ("tc/ingress", ("tcx/ingress", "sched_cls", "tcx_ingress", None)),
        ("classifier/old", ("classifier", "sched_cls", None, None)),
        ("netkit/peer", ("netkit/peer", "sched_cls", "netkit_peer", None)),
        ("sk_skb/verdict", ("sk_skb/verdict", "sk_skb", "sk_skb_verdict", None)),
        ("cgroup/connect6", ("cgroup/connect6", "cgroup_sock_addr", "cgroup_inet6_connect", None)),
        (
            "cgroup/sendmsg4",
            ("cgroup/sendmsg4", "cgroup_sock_addr", "cgroup_udp4_sendmsg", None),
        ),
        (
            "cgroup/bind4",
            ("cgroup/bind4", "cgroup_sock_addr", "cgroup_inet4_bind", None),
        ),
        ("netfilter", ("netfilter", "netfilter", "netfilter", None)),
        ("syscall", ("syscall", "syscall", None, None)),
    ],
)
def test_parses(section: str, expected: tuple[str, str, str | None, str | None]) -> None:
    found = kind(section)
    assert found[:3] == expected[:3]
    assert expected[3] is None or found[3] == expected[3]


def test_flags() -> None:
    assert parse_section("?xdp.frags") == ProgramKind(
        type="xdp",
        prog_type=6,
        attach_type=37,
        frags=True,
        autoload=False,
    )
    assert parse_section("uprobe.multi.s//a:b").sleepable
    assert parse_section("uprobe.multi.s//a:b").multi
    assert parse_section("syscall").sleepable
    assert not parse_section("kprobe/x").multi


@pytest.mark.parametrize(
    ("section", "nearest"),
    [
        ("tracepiont/a/b", "tracepoint"),
        ("kprob", "kprobe"),
        ("xpd", "xdp"),
        ("fentri/x", "fentry"),
        ("cgroup/conect4", "cgroup/connect4"),
        ("uprobe.mult/x", "uprobe.multi"),
        ("tcx/ingres", "tcx/ingress"),
    ],
)
def test_names_the_nearest(section: str, nearest: str) -> None:
    with pytest.raises(SpecError, match=f"nearest '{nearest}'") as error:
        parse_section(section)
    assert error.value.path == (section,)


@pytest.mark.parametrize("section", ["bogus/x", "", "/", "x" * 10000, "nothing"])
def test_names_none_that_is_far(section: str) -> None:
    with pytest.raises(SpecError) as error:
        parse_section(section)
    assert error.value.reason == "unknown program section"


@pytest.mark.parametrize("section", ["", "?", "??xdp", "/", "x" * 10000, "kprobes/x", " xdp"])
def test_refuses_other_names(section: str) -> None:
    with pytest.raises(SpecError, match="unknown program section"):
        parse_section(section)


@pytest.mark.parametrize(
    "section",
    [
        "tp/",
        "tp/sched",
        "tp/sched/",
        "tp/sched/a/b",
        "tp//x",
        "raw_tp/a/b",
        "raw_tp/",
        "tp_btf/a b",
        "kprobe/a+z",
        "kprobe/a+-1",
        "kprobe/a\x1b[0m",
        "kprobe.multi/a$",
        "uprobe/no-function",
        "uprobe/:f",
        "usdt/a:b",
        "fentry/é",
        "iter/x/y",
        "cgroup/dev/x",
        "netfilter/x",
        "xdp/\x1b",
        "uprobe/\x1b[2J:f",
        "usdt/a:b:\u202e",
    ],
)
def test_refuses_a_bad_target(section: str) -> None:
    with pytest.raises(SpecError):
        parse_section(section)


def test_agrees_with_libbpf_on_what_it_knows() -> None:
    """libbpf knows a part of the table, and leaves attach types that are implied at 0."""
    library = ctypes.CDLL("libbpf.so.1")
    library.libbpf_set_print(None)
    known = 0
    for name in SECTION_NAMES:
        prog, attach = ctypes.c_int(), ctypes.c_int()
        if library.libbpf_prog_type_by_name(
            name.encode(), ctypes.byref(prog), ctypes.byref(attach)
        ):
            continue
        known += 1
        found = parse_section(name)
        assert (found.prog_type, found.attach_type or 0) == (prog.value, attach.value), name
    assert known >= 80
