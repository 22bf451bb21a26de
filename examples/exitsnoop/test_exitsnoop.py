"""exitsnoop builds with every clang and shows how the processes of this test end."""

import os
import signal
import subprocess
from pathlib import Path

import pytest

from tests.kit.exampleruns import attached, events, set_global, shown
from tests.kit.objects import CLANGS, run, tool
from tests.kit.sources import EXAMPLES, example


@pytest.mark.parametrize("clang", CLANGS)
def test_it_builds(clang: str) -> None:
    result = example("exitsnoop", clang)
    assert result.warnings == ()
    assert {p.option for p in result.config.params} == {"pid", "parent", "failed", "name"}


@pytest.mark.kernel
@pytest.mark.parametrize("clang", CLANGS)
def test_it_shows_how_processes_end(clang: str) -> None:
    result = example("exitsnoop", clang)
    with attached(result, **set_global(result, "parent", os.getpid())) as session:
        subprocess.run(["/bin/sleep", "0.05"], check=True)
        subprocess.run(["/bin/sh", "-c", "exit 7"], check=False)
        with subprocess.Popen(["/bin/sleep", "60"]) as killed:
            killed.send_signal(signal.SIGTERM)
        seen = events(session, result)
    assert [(e["comm"], e["code"], e["signal"]) for e in seen[:2]] == [
        ("sleep", 0, 0),
        ("sh", 7, 0),
    ]
    assert [(e["pid"], e["code"], e["signal"]) for e in seen[2:]] == [(killed.pid, 0, "SIGTERM")]
    assert 50_000_000 <= seen[0]["age"] < 60_000_000_000


THREADS = """
import threading
end = threading.Event()
threads = [threading.Thread(target=end.wait) for _ in range(4)]
[thread.start() for thread in threads]
end.set()
"""


@pytest.mark.kernel
def test_threads_are_no_processes() -> None:
    result = example("exitsnoop")
    with attached(result, **set_global(result, "parent", os.getpid())) as session:
        subprocess.run(["/usr/bin/python3", "-c", THREADS], check=True)
        assert [e["comm"] for e in events(session, result)] == ["python3"]


OUTLIVED = """
#include <pthread.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

static void *outlive(void *first)
{
	prctl(PR_SET_NAME, "worker");
	pthread_join(*(pthread_t *)first, NULL);
	syscall(ALL_AT_ONCE ? SYS_exit_group : SYS_exit, 4);
	return NULL;
}

int main(void)
{
	static pthread_t first, worker;

	first = pthread_self();
	pthread_create(&worker, NULL, outlive, &first);
	syscall(SYS_exit, 3);
}
"""


@pytest.mark.kernel
@pytest.mark.parametrize("all_at_once", [0, 1])
@pytest.mark.parametrize("clang", CLANGS)
def test_a_process_that_outlives_its_first_thread(
    tmp_path: Path, clang: str, all_at_once: int
) -> None:
    """Its name is that of the process, and its code the one that wait(2) tells."""
    (tmp_path / "first.c").write_text(OUTLIVED)
    command = ("cc", "-pthread", f"-DALL_AT_ONCE={all_at_once}", "-o", tmp_path / "first")
    run(tool(command[0]), *command[1:], tmp_path / "first.c")
    result = example("exitsnoop", clang)
    given = set_global(result, "parent", os.getpid()) | set_global(result, "name", "first")
    with attached(result, **given) as session:
        # Without exit_group kernels differ in which thread's code it is ("signal: Guarantee that
        # SIGNAL_GROUP_EXIT is set on process exit").
        code = subprocess.run([tmp_path / "first"], check=False).returncode
        assert code in ((4,) if all_at_once else (3, 4))
        assert [(e["comm"], e["code"]) for e in events(session, result)] == [("first", code)]


@pytest.mark.kernel
@pytest.mark.parametrize(
    ("values", "codes"),
    [({"failed": 1}, [7]), ({"name": "sh"}, [7]), ({"name": "s"}, []), ({"target_pid": 1}, [])],
)
def test_its_options(values: dict[str, int | str], codes: list[int]) -> None:
    result = example("exitsnoop")
    given = {k: b for name, v in values.items() for k, b in set_global(result, name, v).items()}
    with attached(result, **set_global(result, "parent", os.getpid()), **given) as session:
        subprocess.run(["/bin/true"], check=True)
        subprocess.run(["/bin/sh", "-c", "exit 7"], check=False)
        assert [e["code"] for e in events(session, result)] == codes


@pytest.mark.kernel
def test_the_command_shows_it(tmp_path: Path) -> None:
    (event,) = shown(
        tmp_path / "home",
        EXAMPLES / "exitsnoop",
        "--parent",
        str(os.getpid()),
        "--failed",
        run=("--max-events=1",),
        cause=lambda: subprocess.run(["/bin/sh", "-c", "kill -9 $$"], check=False),
    )
    assert (event["comm"], event["code"], event["signal"]) == ("sh", 0, "SIGKILL")
