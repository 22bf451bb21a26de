"""The capabilities that a plan names are those that the kernel wants: all of them, no more."""

import os
import re
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Final

import pytest

from bpfpack.runner.mounts import ensure_tracefs
from tests.kernel.test_attach_usdt import SOURCE as TICKS
from tests.kernel.test_attach_usdt import VICTIM
from tests.kit import bell
from tests.kit.cgroups import cgroup
from tests.kit.cli import Host
from tests.kit.kernelobjects import compile_text, prepared
from tests.kit.network import network
from tests.kit.objects import CLANGS, run, tool
from tests.kit.sources import EXAMPLES, example, object_of

pytestmark = pytest.mark.kernel

ROOT: Final = Path(__file__).parents[2]
#: One line for each set of capabilities.  It asks the kernel alone: `Session` would refuse
#: first what lacks a capability of the plan.
AS_NOBODY: Final = """
import os, sys, tempfile
from bpfpack.runner import capabilities, reaper
from bpfpack.runner.kernel import LiveKernel
from bpfpack.runner.loader import OpenObject
from bpfpack.spec.errors import KernelError, MissingCapability
from tests.kit.kernelobjects import prepared
from tests.kit.oldkernel import BeforeTcx
object_, (sets, old, *attach) = sys.stdin.buffer.read(), sys.argv[1:]
kernel = BeforeTcx() if old == "old" else LiveKernel()
def attempt():
    artifact, made = prepared(object_, attach=attach, kernel=kernel)
    try:
        capabilities.require(made.capabilities, "it")
        missing = "nothing"
    except MissingCapability as e:
        missing = ",".join(e.capabilities)
    with tempfile.TemporaryDirectory() as place:
        at = os.open(place, os.O_RDONLY)
        try:
            with reaper.guarded(at) as journal:
                loaded = OpenObject.open(artifact, made, kernel).load()
                links = [link for p in made.loaded for link in loaded.attach(p, journal)]
                while links:
                    links.pop().close()
            result = " ".join(("attached", *made.capabilities))
        except KernelError as e:
            result = type(e).__name__
    return f"{missing}: {result}"
for names in sets.split(";"):
    if (pid := os.fork()) == 0:
        capabilities.drop(keep=[f"CAP_{name}" for name in names.split(",") if name])
        print(attempt(), flush=True)
        os._exit(0)
    os.waitpid(pid, 0)
"""
KINDS: Final = {
    "raw_tp/sys_enter": ("", ("BPF", "PERFMON")),
    "tp/sched/sched_switch": ("", ("BPF", "PERFMON", "DAC_READ_SEARCH")),
    "tp_btf/sys_enter": ("", ("BPF", "PERFMON")),
    "iter/task": ("", ("BPF", "PERFMON")),
    "perf_event": ("cpu-clock", ("BPF", "PERFMON")),
    "xdp": ("lo", ("BPF", "NET_ADMIN")),
    "tc/clsact": ("lo:egress", ("BPF", "NET_ADMIN")),
    "uprobe": ("bash:main", ("SYS_ADMIN",)),
    "usdt": ("VICTIM:demo:tick", ("SYS_ADMIN",)),
    "tcx/ingress": ("lo", ("BPF", "NET_ADMIN")),
    "socket": ("lo", ("BPF", "NET_RAW")),
    "cgroup_skb/egress": ("GROUP", ("BPF", "NET_ADMIN")),
    "cgroup/connect4": ("GROUP", ("BPF", "NET_ADMIN")),
    "cgroup/sock_create": ("GROUP", ("BPF", "NET_ADMIN")),
    "cgroup/sysctl": ("GROUP", ("BPF", "NET_ADMIN")),
    "cgroup/setsockopt": ("GROUP", ("BPF", "NET_ADMIN")),
    "cgroup/dev": ("GROUP", ("BPF", "NET_ADMIN")),
    "sockops": ("GROUP", ("BPF", "NET_ADMIN")),
}


@pytest.fixture(autouse=True)
def loopback() -> Iterator[None]:
    ensure_tracefs()  # where it is missing only root can mount it
    with network():
        yield


@pytest.fixture
def group() -> Iterator[Path]:
    with cgroup("test") as path:
        yield path


@pytest.fixture
def victim(tmp_path: Path) -> Path:
    """A program with a static tracepoint, which anybody may read."""
    for folder in (tmp_path, *tmp_path.parents[:2]):
        folder.chmod(folder.stat().st_mode | 0o055)
    (tmp_path / "victim.c").write_text(VICTIM)
    run(tool("cc"), "-O1", "-o", tmp_path / "victim", tmp_path / "victim.c")
    return tmp_path / "victim"


def _prefix(names: Iterable[str]) -> tuple[str, ...]:
    """Run as nobody with these capabilities and no other."""
    given = ",".join(("-all", *(f"+{name.lower()}" for name in names)))
    return (
        *(tool("setpriv"), "--reuid=65534", "--regid=65534", "--clear-groups"),
        *(f"--inh-caps={given}", f"--ambient-caps={given}", f"--bounding-set={given}"),
    )


def _as_nobody(
    object_: bytes, sets: Sequence[Sequence[str]], attach: Sequence[str], *, old: bool = False
) -> list[str]:
    """What is said to be missing, and what comes of a program, with each set."""
    done = subprocess.run(
        [
            *_prefix(sorted({name for names in sets for name in names})),
            *(sys.executable, "-c", AS_NOBODY, ";".join(map(",".join, sets))),
            *("old" if old else "new", *attach),
        ],
        env={"PYTHONPATH": str(ROOT), "PYTHONDONTWRITEBYTECODE": "1", "PATH": os.environ["PATH"]},
        cwd="/",
        input=object_,
        capture_output=True,
        timeout=60,
        check=False,
    )
    assert done.stderr == b""
    return done.stdout.decode().splitlines()


def _without_each(names: Sequence[str]) -> list[list[str]]:
    return [[other for other in names if other != name] for name in names]


@pytest.mark.parametrize("section", KINDS)
def test_each_kind_needs_what_its_plan_says_and_no_less(
    group: Path, victim: Path, section: str
) -> None:
    target, names = KINDS[section]
    target = target.replace("GROUP", str(group)).replace("VICTIM", str(victim))
    result = 1 if str(group) in target else 0
    old, code = section == "tc/clsact", section.replace("tc/clsact", "tc")
    source = f'SEC("{code}") int program(void *ctx) {{ return {result}; }}'
    object_ = compile_text(TICKS if section == "usdt" else source)
    attach = [target] if target else []
    enough, *lacking = _as_nobody(object_, [names, *_without_each(names)], attach, old=old)
    assert enough == " ".join(("nothing: attached", *(f"CAP_{name}" for name in names)))
    assert [line.split(": ")[0] for line in lacking] == [f"CAP_{name}" for name in names]
    assert {line.split(": ")[1] for line in lacking} <= {"MissingCapability", "Unsupported"}


EXAMPLE_TARGETS: Final = {
    "bashreadline": ["bash:main"],
    "profile": ["cpu-clock:99hz"],
    "tc-count": ["lo"],
    "xdp-count": ["lo"],
}
#: What the verifier says of packets depends on what the compiler makes of them.
EXAMPLE_BUILDS: Final = [
    (path.name, clang)
    for path in sorted(EXAMPLES.iterdir())
    for clang in (CLANGS if path.name.endswith("-count") else CLANGS[:1])
]


@pytest.mark.parametrize(("name", "clang"), EXAMPLE_BUILDS)
def test_each_example_runs_with_what_its_plan_names(name: str, clang: str) -> None:
    """Nobody can see in a program what the verifier lets pass with CAP_PERFMON alone."""
    object_, attach = object_of(example(name, clang)), EXAMPLE_TARGETS.get(name, [])
    _, made = prepared(object_, attach=attach)
    names = [capability.removeprefix("CAP_") for capability in made.capabilities]
    (told,) = _as_nobody(object_, [names], attach)
    assert told == " ".join(("nothing: attached", *made.capabilities))


def test_helpers_of_tracing_take_a_capability_more() -> None:
    object_ = compile_text('SEC("xdp") int program(void *ctx) { bpf_printk("x"); return 2; }')
    sets = [["BPF", "PERFMON", "NET_ADMIN"], ["BPF", "NET_ADMIN"]]
    assert _as_nobody(object_, sets, ["lo"]) == [
        "nothing: attached CAP_BPF CAP_PERFMON CAP_NET_ADMIN",
        "CAP_PERFMON: ProgramRejected",
    ]


def test_another_process_s_files_take_the_right_to_look_into_it() -> None:
    source = 'SEC("uprobe") int program(void *ctx) { return 0; }'
    _, made = prepared(source, attach=(f"libc:getppid,pid={os.getpid()}",))
    assert made.capabilities == ("CAP_SYS_ADMIN", "CAP_SYS_PTRACE")


PRINTS: Final = bell.SOURCE.replace("number++;", 'number++; bpf_printk("rung");')


@pytest.fixture(scope="module")
def archives(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Packages that anybody may read: one with stacks, one that prints."""
    host = Host(root=tmp_path_factory.mktemp("author"))
    (bell.write(host.root / "bell") / "bell.bpf.c").write_text(PRINTS)
    host.run("build", "-q", "-t", "bell:1", host.root / "bell")
    host.run("build", "-q", "-t", "profile:1", ROOT / "examples" / "profile")
    made = tmp_path_factory.mktemp("archives")
    for folder in (made, *made.parents[:2]):
        folder.chmod(folder.stat().st_mode | 0o055)
    for name in ("bell", "profile"):
        host.run("save", "-q", "-f", made / f"{name}.tar", f"{name}:1")
        (made / f"{name}.tar").chmod(0o644)
    return made


@pytest.fixture
def root_of_nobody() -> Iterator[Path]:
    """Directories of nobody's own, which root's packages do not hide from it."""
    with tempfile.TemporaryDirectory() as made:
        os.chown(made, 65534, 65534)
        yield Path(made)


SHOWN: Final[dict[str, tuple[tuple[str, ...], tuple[str, ...]]]] = {
    "stacks": (
        ("--timeout", "0.3s", "-o", "folded", "profile.tar"),
        ("PERFMON", "BPF", "SYSLOG", "SYS_PTRACE"),
    ),
    "trace-pipe": (
        ("--timeout", "0.1s", "--trace-pipe", "bell.tar", f"--pid={os.getpid()}"),
        ("PERFMON", "BPF", "DAC_OVERRIDE"),
    ),
}


@pytest.fixture
def at_work() -> Iterator[None]:
    """A process that is in the kernel most of its time: nothing samples an idle machine."""
    argv = ["dd", "if=/dev/zero", "of=/dev/null", "bs=64k"]
    with subprocess.Popen(argv, stderr=subprocess.DEVNULL) as process:
        yield
        process.kill()


@pytest.mark.parametrize("what", SHOWN)
def test_what_is_shown_may_take_more(
    archives: Path, root_of_nobody: Path, at_work: None, what: str
) -> None:
    argv, names = SHOWN[what]
    words = [f"./{word}" if word.endswith(".tar") else word for word in argv]
    for given in (names, *_without_each(names)):
        host = Host(root=root_of_nobody, prefix=_prefix(given))
        done = host.run("run", "--insecure-skip-verify", *words, cwd=archives, code=None)
        lacking = set(names) - set(given)
        if not lacking:
            assert done.code == 0, done
            assert what != "stacks" or re.search(
                r";[a-z_]+(_idle|syscall|entry|do_)[a-z_0-9]*", done.stdout
            )
            continue
        (name,) = lacking
        assert done.code == 126 and f": needs CAP_{name}\n" in done.stderr, done
        everything = "+" + ",+".join(sorted(n.lower() for n in names))
        told = re.search(r"--ambient-caps (\S+) bpfpack run", done.stderr)
        assert told and ",".join(sorted(told[1].split(","))) == everything


@pytest.mark.parametrize("user", ["root", "nobody"])
def test_once_attached_every_thread_has_given_up_what_it_does_not_need(
    archives: Path, root_of_nobody: Path, user: str
) -> None:
    prefix = _prefix(("BPF", "PERFMON")) if user == "nobody" else ()
    if user == "root":
        os.chown(root_of_nobody, 0, 0)
    host = Host(root=root_of_nobody, prefix=prefix)
    argv = ("run", "-o", "json", "--insecure-skip-verify", "./bell.tar", bell.ME)
    with host.started(*argv, cwd=archives) as running:
        running.until("attached", stderr=True)
        bell.ring()
        running.until('"number":1')
        threads = list(Path(f"/proc/{running.pid}/task").iterdir())
        assert threads
        for thread in threads:
            status = dict(
                line.split(":\t", 1) for line in (thread / "status").read_text().splitlines()
            )
            only_bpf = f"{1 << 39:016x}"
            assert status["CapEff"] == status["CapPrm"] == only_bpf, thread
            assert int(status["CapInh"], 16) == int(status["CapAmb"], 16) == 0
            assert status["NoNewPrivs"] == "1"
        assert running.end(signal.SIGINT).code == 130


def test_doctor_does_not_take_what_it_may_not_ask_for_a_no(root_of_nobody: Path) -> None:
    for names, told in (
        (("BPF", "PERFMON"), "only who may load programs can ask for xdp, sched_cls"),
        (("BPF", "PERFMON", "NET_ADMIN"), "tracepoint, raw_tracepoint, perf_event, xdp, sched_cls"),
    ):
        host = Host(root=root_of_nobody, prefix=_prefix(names))
        rows = host.run("doctor", "-o", "json", code=None).json
        (found,) = [row["found"] for row in rows if row["part"] == "program types"]
        assert found.startswith(told)
