"""Iterators: the text that a program prints about each task, map or program."""

import json
import os
from pathlib import Path

import pytest

from bpfpack.spec.config import Program
from bpfpack.spec.errors import KernelError, Unsupported
from tests.kit.cli import Host
from tests.kit.kernelobjects import descriptors, eventually, in_kernel, opened, prepared

pytestmark = pytest.mark.kernel

#: Prints the number of each process, found by CO-RE in the kernel's own types.
TASKS = """
#include <bpf/bpf_tracing.h>
#define RELOCATED __attribute__((preserve_access_index))
struct seq_file;
struct bpf_iter_meta { struct seq_file *seq; u64 session_id; u64 seq_num; } RELOCATED;
struct task_struct { int pid; int tgid; } RELOCATED;
struct bpf_iter__task { struct bpf_iter_meta *meta; struct task_struct *task; } RELOCATED;
const char text[] = "TEXT";
SEC("iter/task") int tasks(struct bpf_iter__task *ctx)
{
    struct task_struct *task = ctx->task;
    if (task && task->pid == task->tgid)
        BPF_SEQ_PRINTF(ctx->meta->seq, "%d\\t%s\\n", task->tgid, text);
    return 0;
}
"""
PLAIN = TASKS.replace("TEXT", "x")
#: What would clear a terminal.
HOSTILE = TASKS.replace("TEXT", "\\x1b[2J")
MAPS = """
SEC("iter/bpf_map") int maps(void *ctx) { return 0; }
"""


def test_the_tasks_of_this_host() -> None:
    with opened(PLAIN) as session:
        session.attach()
        found = [line.split("\t") for line in session.text("tasks").decode().splitlines()]
        assert [str(os.getpid()), "x"] in found
        assert len(found) > 1 and all(int(pid) > 0 and text == "x" for pid, text in found)
        session.detach()
        assert str(os.getpid()) in session.text("tasks").decode()


@pytest.mark.parametrize(
    "target", ["task_file", "bpf_map", "bpf_prog", "bpf_link", "ksym", "tcp", "udp", "unix"]
)
def test_every_iterator_that_needs_nothing_else_is_read(target: str) -> None:
    with opened(f'SEC("iter/{target}") int found(void *ctx) {{ return 0; }}') as session:
        session.attach()
        assert session.text("found") == b""


@pytest.mark.parametrize(
    ("target", "told"),
    [
        ("nothing", "this kernel has no such iterator"),
        ("bpf_map_elem", "iterators of one map are not supported yet"),
        ("cgroup", "iterators of one cgroup are not supported yet"),
    ],
)
def test_what_cannot_be_iterated_is_told_before_anything_is_loaded(target: str, told: str) -> None:
    with pytest.raises(Unsupported, match=told):
        prepared(f'SEC("iter/{target}") int found(void *ctx) {{ return 0; }}')


def test_one_that_is_not_here_may_be_optional() -> None:
    optional = (Program(name="found", section="iter/nothing", optional=True),)
    _, made = prepared(
        PLAIN + 'SEC("iter/nothing") int found(void *ctx) { return 0; }', programs=optional
    )
    assert [o.name for o in made.outputs] == ["tasks"]


def test_a_line_longer_than_the_kernel_s_buffer_is_an_error_and_no_loss() -> None:
    source = PLAIN.replace("if (task &&", "for (int i = 0; i < 5000 && task; i++) if (task &&")
    with opened(source) as session:
        session.attach()
        with pytest.raises(KernelError, match=r"iterator tasks: .*too (big|long|large)"):
            session.text("tasks")


def test_nothing_is_left_behind() -> None:
    before, open_before = in_kernel(), descriptors()
    with opened(PLAIN) as session:
        session.attach()
        session.text("tasks")
    assert descriptors() == open_before
    assert eventually(lambda: in_kernel() <= before)


@pytest.fixture(scope="module")
def host(tmp_path_factory: pytest.TempPathFactory) -> Host:
    """A user with two packages of iterators."""
    made = Host(root=tmp_path_factory.mktemp("user"))
    prelude = '#include <linux/bpf.h>\n#include <bpf/bpf_helpers.h>\n#include "bpfpack.h"\n'
    prelude += 'typedef unsigned long long u64;\nchar LICENSE[] SEC("license") = "GPL";\n'
    for name, source in (("tasks", HOSTILE), ("two", HOSTILE + MAPS)):
        (made.root / name).mkdir()
        (made.root / name / f"{name}.bpf.c").write_text(prelude + source)
    return made


def test_a_run_prints_the_text_and_ends(host: Host) -> None:
    done = host.run("run", "./tasks")
    assert f"\n{os.getpid()} " in done.stdout
    assert "\\x1b[2J" in done.stdout and "\x1b" not in done.stdout
    assert done.stderr == ""


def test_lines_as_json(host: Host) -> None:
    lines = host.run("run", "-o", "json", "./tasks").lines
    assert {"line": f"{os.getpid()}\t\x1b[2J"} in lines


def test_of_two_each_line_says_whose_it_is(host: Host) -> None:
    lines = host.run("run", "-o", "json", "./two").lines
    assert {line["output"] for line in lines} == {"tasks"}
    assert host.run("run", "./two").stdout.startswith("tasks:\n")
    assert host.run("run", "-o", "maps:raw", "./two").stdout == ""


def test_raw_text_is_what_the_program_wrote(host: Host) -> None:
    assert f"\n{os.getpid()}\t\x1b[2J\n" in host.run("run", "-o", "raw", "./tasks").stdout


def test_csv_is_refused(host: Host) -> None:
    done = host.run("run", "-o", "csv", "./tasks", code=125)
    assert "tasks is text: it is shown as table, json or raw, not as csv" in done.stderr


def test_a_plan_shows_it(host: Host) -> None:
    assert "output tasks: text of program tasks\n" in host.run("run", "--dry-run", "./tasks").stdout
    shown = host.run("run", "--dry-run", "-o", "json", "./tasks").json
    assert shown["outputs"] == [{"name": "tasks", "program": "tasks", "kind": "text"}]
    json.dumps(shown)


def test_a_file_gets_it(host: Host, tmp_path: Path) -> None:
    host.run("run", "-f", tmp_path / "out", "./tasks")
    assert f"{os.getpid()} " in (tmp_path / "out").read_text()
