"""What outlives its descriptor: undone whatever ends its owner, and nothing else with it."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from bpfpack.runner._native.netlink import Netlink
from bpfpack.runner.journal import Owner
from bpfpack.runner.recovery import Recovered, recover
from tests.kit.clsact import add_foreign, in_network, network, reapers, sh, snapshot
from tests.kit.journalrun import running
from tests.kit.kernelobjects import eventually, held, in_kernel

pytestmark = pytest.mark.kernel

ROOT = Path(__file__).parents[2]
CLEAN_WITHIN = 2.0
EVERYWHERE = ("shared:ingress", "bare:ingress", "bare:egress", "empty:egress")


@pytest.fixture(scope="module")
def net() -> Iterator[tuple[str, ...]]:
    """Interfaces with and without filters of others; gives what goes before a command there."""
    with network() as name:
        yield in_network(name)


@pytest.fixture
def journals(tmp_path: Path) -> Path:
    directory = tmp_path / "journals"
    directory.mkdir(mode=0o700)
    return directory


def recovered(directory: Path) -> Recovered:
    """What the next start does, from here."""
    fd = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        return recover(fd)
    finally:
        os.close(fd)


def reaper_of(directory: Path) -> int:
    """The one reaper of a run."""
    assert eventually(lambda: len(reapers(directory)) == 1)
    return reapers(directory).pop()


def kill_both(directory: Path, run: "subprocess.Popen[str]") -> None:
    """Leave what the run has attached to the next start."""
    os.kill(reaper_of(directory), signal.SIGKILL)
    run.kill()
    run.wait(timeout=10)


def test_a_run_leaves_what_others_have(net: tuple[str, ...], journals: Path) -> None:
    before = snapshot(*net)
    with running(journals, *EVERYWHERE, prefix=net) as run:
        during = snapshot(*net)
        # clsact and two filters on one, a filter more on each of the others
        assert sum(a != b for a, b in zip(before, during, strict=True)) == 5
        run.finish()
    assert snapshot(*net) == before
    assert not list(journals.iterdir())
    assert not reapers(journals)


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM, signal.SIGHUP, signal.SIGINT])
def test_a_signal_to_the_whole_group_leaves_nothing(
    net: tuple[str, ...], journals: Path, number: signal.Signals
) -> None:
    before = snapshot(*net)
    with running(journals, *EVERYWHERE, prefix=net) as run:
        os.killpg(run.pid, number)
        run.wait(timeout=10)
        assert eventually(lambda: snapshot(*net) == before, CLEAN_WITHIN)
    assert eventually(lambda: not reapers(journals), CLEAN_WITHIN)
    assert not list(journals.iterdir())


def test_kills_at_random_lines(tmp_path: Path) -> None:
    """A small part of what ``python -m tests.kit.journalkills DIRECTORY 200 SEED`` does."""
    done = subprocess.run(
        (
            "unshare",
            "-n",
            sys.executable,
            "-m",
            "tests.kit.journalkills",
            tmp_path / "j",
            "21",
            "4",
        ),
        capture_output=True,
        text=True,
        cwd=ROOT,
        timeout=200,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("21 kills at ")


def test_the_reaper_ignores_what_ends_a_job(net: tuple[str, ...], journals: Path) -> None:
    before = snapshot(*net)
    with running(journals, "bare:ingress", prefix=net) as run:
        reaper = reaper_of(journals)
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGQUIT):
            os.kill(reaper, number)
        run.kill()
        run.wait(timeout=10)
        assert eventually(lambda: snapshot(*net) == before, CLEAN_WITHIN)


def test_the_reaper_holds_nothing_of_the_package(net: tuple[str, ...], journals: Path) -> None:
    with running(journals, "bare:ingress", prefix=net) as run:
        reaper = reaper_of(journals)
        assert held(run.told["pid"])
        assert held(reaper) == set()
        descriptors = {str(fd.readlink()) for fd in Path(f"/proc/{reaper}/fd").iterdir()}
        assert len(descriptors) == 3, descriptors  # nothing, the directory, the socket
        assert descriptors >= {os.devnull, str(journals)}
        assert os.getsid(reaper) == reaper
        # what the kernel shares of the parent's memory costs nothing
        private = sh("awk", "/^Private_Dirty/{print $2}", f"/proc/{reaper}/smaps_rollup")
        assert int(private) < 8 * 1024
        run.finish()


def test_both_killed_the_next_start_detaches(net: tuple[str, ...], journals: Path) -> None:
    before = snapshot(*net)
    with running(journals, *EVERYWHERE, prefix=net) as run:
        kill_both(journals, run)
    assert snapshot(*net) != before
    # From another namespace, into which that of the run is mounted.
    assert recovered(journals) == Recovered(undone=4)
    assert snapshot(*net) == before
    assert not list(journals.iterdir())
    assert recovered(journals) == Recovered()


def test_a_namespace_is_found_through_its_processes(journals: Path) -> None:
    with running(journals, "lo:ingress", prefix=("unshare", "-n")) as run:
        enter = ("nsenter", f"--net=/proc/{run.told['pid']}/ns/net")
        with subprocess.Popen((*enter, "cat"), stdin=subprocess.PIPE) as stays:
            enter = ("nsenter", f"--net=/proc/{stays.pid}/ns/net")
            assert eventually(lambda: Path(f"/proc/{stays.pid}/comm").read_text() == "cat\n")
            kill_both(journals, run)
            assert "clsact" in sh(*enter, "tc", "qdisc", "show", "dev", "lo")
            assert recovered(journals) == Recovered(undone=1)
            assert "clsact" not in sh(*enter, "tc", "qdisc", "show", "dev", "lo")
            stays.communicate()


def test_a_namespace_is_found_through_mounts_of_others(journals: Path) -> None:
    """As container runtimes keep them, in a mount namespace of their own."""
    keep = "mount -t tmpfs t /mnt; touch /mnt/net; unshare --net=/mnt/net true; echo; exec cat"
    command = ("unshare", "-m", "--propagation", "private", "sh", "-c", keep)
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as keeper:
        assert keeper.stdout and keeper.stdout.readline()
        enter = ("nsenter", "-t", str(keeper.pid), "-m", "nsenter", "--net=/mnt/net")
        with running(journals, "lo:ingress", prefix=(*enter, "env", "-C", str(ROOT))) as run:
            kill_both(journals, run)
        assert "clsact" in sh(*enter, "tc", "qdisc", "show", "dev", "lo")
        assert recovered(journals) == Recovered(undone=1)
        assert "clsact" not in sh(*enter, "tc", "qdisc", "show", "dev", "lo")
        keeper.communicate()
    assert not list(journals.iterdir())


def test_a_namespace_that_nobody_shows_is_not_taken_for_gone(journals: Path) -> None:
    """A socket keeps it, and no path of /proc leads into it."""
    with running(journals, "lo:ingress", prefix=("unshare", "-n")) as run:
        namespace = os.open(f"/proc/{run.told['pid']}/ns/net", os.O_RDONLY)
        stays = Netlink.open(namespace)
        os.close(namespace)
        kill_both(journals, run)
    for _ in range(2):
        found = recovered(journals)
        assert found.undone == 0
        assert "not seen from here" in found.problems[0]
        assert len(list(journals.iterdir())) == 1
    stays.close()
    assert eventually(lambda: recovered(journals) == Recovered(), CLEAN_WITHIN)
    assert not list(journals.iterdir())


def test_a_namespace_that_is_gone_took_the_filters_along(journals: Path) -> None:
    with running(journals, "lo:ingress", prefix=("unshare", "-n")) as run:
        kill_both(journals, run)
    # The kernel takes it down after its last process.
    assert eventually(lambda: recovered(journals) == Recovered(), CLEAN_WITHIN)
    assert not list(journals.iterdir())


def test_another_namespace_of_the_same_number_is_not_entered(
    net: tuple[str, ...], journals: Path
) -> None:
    """Inode numbers are used again; the cookie says that ours is gone."""
    with running(journals, "bare:ingress", prefix=net) as run:
        kill_both(journals, run)
    during = snapshot(*net)
    (file,) = journals.iterdir()
    true = file.read_text()
    cookie = run.told["entries"][0]["netns"]["cookie"]
    file.write_text(true.replace(f'"cookie":{cookie}', f'"cookie":{cookie + 1}'))
    assert recovered(journals) == Recovered()
    assert snapshot(*net) == during
    file.touch(0o600)
    file.write_text(true)
    assert recovered(journals) == Recovered(undone=1)


def changed(journals: Path, **to: Any) -> None:
    """Have the journal's one entry say something else."""
    (file,) = journals.iterdir()
    head, line, _ = file.read_text().split("\n")
    file.write_text(f"{head}\n{json.dumps(json.loads(line) | to)}\n")


@pytest.mark.parametrize("member", ["program", "handle", "priority", "direction"])
def test_a_filter_that_differs_in_anything_is_somebody_elses(
    net: tuple[str, ...], journals: Path, member: str
) -> None:
    """What a journal says, however it came to say it, removes no filter of another program."""
    with running(journals, "shared:ingress", prefix=net) as run:
        kill_both(journals, run)
    during = snapshot(*net)
    (entry,) = run.told["entries"]
    foreign = {"program": entry["programId"] - 1, "handle": 1, "priority": 49150}
    match member:
        case "program":
            changed(journals, programId=foreign["program"])
        case "direction":
            changed(journals, direction="egress")
        case _:
            changed(journals, **{member: foreign[member]})
    assert recovered(journals) == Recovered()
    assert snapshot(*net) == during
    # Put in order for the tests after this one.
    sh(*net, "tc", "filter", "del", "dev", "shared", "ingress", "prio", str(entry["priority"]))


def test_a_handle_that_another_program_took_over_is_left(
    net: tuple[str, ...], journals: Path
) -> None:
    with running(journals, "shared:ingress", prefix=net) as run:
        (entry,) = run.told["entries"]
        add_foreign(
            *net,
            interface="shared",
            direction="ingress",
            priority=entry["priority"],
            handle=entry["handle"],
            verb="replace",
        )
        during = snapshot(*net)
        run.finish()
    assert snapshot(*net) == during
    sh(*net, "tc", "filter", "del", "dev", "shared", "ingress", "prio", str(entry["priority"]))


@pytest.mark.parametrize("how", ["replace", "anew"])
def test_a_clsact_that_others_made_theirs_is_left(
    net: tuple[str, ...], journals: Path, how: str
) -> None:
    with running(journals, "bare:ingress", prefix=net) as run:
        if how == "replace":
            sh(*net, "tc", "qdisc", "replace", "dev", "bare", "clsact")
        else:
            sh(*net, "tc", "qdisc", "del", "dev", "bare", "clsact")
            sh(*net, "tc", "qdisc", "add", "dev", "bare", "clsact")
        run.finish()
    assert "clsact" in sh(*net, "tc", "qdisc", "show", "dev", "bare")
    assert not sh(*net, "tc", "filter", "show", "dev", "bare", "ingress")
    sh(*net, "tc", "qdisc", "del", "dev", "bare", "clsact")


def test_a_clsact_of_ours_with_a_filter_of_others_is_left(
    net: tuple[str, ...], journals: Path
) -> None:
    with running(journals, "bare:ingress", prefix=net) as run:
        add_foreign(*net, interface="bare", direction="egress", priority=7)
        run.kill()
        run.wait(timeout=10)
        assert eventually(lambda: not reapers(journals), CLEAN_WITHIN)
    assert not sh(*net, "tc", "filter", "show", "dev", "bare", "ingress")
    assert "foreign" in sh(*net, "tc", "filter", "show", "dev", "bare", "egress")
    sh(*net, "tc", "qdisc", "del", "dev", "bare", "clsact")


def test_the_last_of_two_runs_takes_the_clsact_of_the_first(
    net: tuple[str, ...], journals: Path
) -> None:
    before = snapshot(*net)
    with (
        running(journals, "bare:ingress", prefix=net) as first,
        running(journals, "bare:ingress", prefix=net) as second,
    ):
        first.finish()
        assert "bpfpack_ours" in sh(*net, "tc", "filter", "show", "dev", "bare", "ingress")
        # A start while the second runs leaves its journal alone.
        assert recovered(journals) == Recovered()
        assert "bpfpack_ours" in sh(*net, "tc", "filter", "show", "dev", "bare", "ingress")
        second.finish()
    assert snapshot(*net) == before


def test_a_run_that_attaches_while_another_takes_its_clsact_away(
    net: tuple[str, ...], journals: Path
) -> None:
    """It would take the filter of the first away with it; rtnetlink has no compare-and-delete."""
    before = snapshot(*net)
    done = subprocess.run(
        (*net, sys.executable, "-m", "tests.kit.clsactrace", str(journals), "bare"),
        capture_output=True,
        text=True,
        cwd=ROOT,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout == "there\n"
    assert snapshot(*net) == before


def test_a_clsact_is_left_where_somebody_holds_the_lock(
    net: tuple[str, ...], journals: Path
) -> None:
    """Anybody in the namespace can; then nothing is lost but that the qdisc goes, later."""
    before = snapshot(*net)
    with running(journals, "bare:ingress", prefix=net) as run:
        lock = ("flock", f"/proc/{run.told['pid']}/ns/net", "sh", "-c", "echo; exec cat")
        with subprocess.Popen(lock, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as holder:
            assert holder.stdout and holder.stdout.readline()
            run.finish()
            assert "clsact" in sh(*net, "tc", "qdisc", "show", "dev", "bare")
            assert not sh(*net, "tc", "filter", "show", "dev", "bare", "ingress")
            holder.communicate()
    with running(journals, "bare:egress", prefix=net) as run:
        run.finish()
    assert snapshot(*net) == before


def test_an_interface_that_went_away_is_undone(journals: Path) -> None:
    with network(filters=False) as name:
        net = in_network(name)
        with running(journals, "bare:ingress", "empty:egress", prefix=net) as run:
            sh(*net, "ip", "link", "del", "bare")
            run.finish()
        assert "clsact" not in sh(*net, "tc", "qdisc", "show", "dev", "empty")
    assert not list(journals.iterdir())


def test_a_pid_that_another_process_has_by_now_counts_for_nothing(
    net: tuple[str, ...], journals: Path
) -> None:
    before = snapshot(*net)
    with running(journals, "bare:ingress", prefix=net) as run:
        kill_both(journals, run)
    (file,) = journals.iterdir()
    head, _, rest = file.read_text().partition("\n")
    owner = json.loads(head)
    started = owner["started"]
    file.write_text(json.dumps(owner | {"pid": os.getpid()}) + "\n" + rest)
    assert Owner.me().started != started
    assert recovered(journals) == Recovered(undone=1)
    assert snapshot(*net) == before


def test_a_journal_of_an_earlier_boot_is_not_undone(net: tuple[str, ...], journals: Path) -> None:
    """The kernel that it was written under is gone; what it names is somebody else's."""
    with running(journals, "bare:ingress", prefix=net) as run:
        kill_both(journals, run)
    during = snapshot(*net)
    (file,) = journals.iterdir()
    true = file.read_text()
    owner, _, entry = true.partition("\n")
    file.write_text(json.dumps(json.loads(owner) | {"boot": "earlier"}) + "\n" + entry)
    assert recovered(journals) == Recovered()
    assert snapshot(*net) == during
    assert not list(journals.iterdir())
    file.touch(0o600)
    file.write_text(true)
    assert recovered(journals) == Recovered(undone=1)


def test_an_owner_that_lives_is_believed_without_its_lock(
    net: tuple[str, ...], journals: Path
) -> None:
    """Some file systems have no locks that others see."""
    with running(journals, "bare:ingress", prefix=net) as run:
        during = snapshot(*net)
        (file,) = journals.iterdir()
        (journals / "copy.journal").write_bytes(file.read_bytes())
        assert recovered(journals) == Recovered()
        assert snapshot(*net) == during
        run.finish()
    assert recovered(journals) == Recovered()  # the copy's entry is not there any more
    assert not list(journals.iterdir())


def test_nothing_is_attached_that_the_kernel_refuses(net: tuple[str, ...], journals: Path) -> None:
    """Egress of an interface whose place of clsact the older ingress qdisc has."""
    sh(*net, "tc", "qdisc", "add", "dev", "bare", "ingress")
    before = snapshot(*net)
    with (
        pytest.raises(AssertionError, match="ingress qdisc leaves no room"),
        running(journals, "bare:egress", prefix=net),
    ):
        pass
    assert snapshot(*net) == before
    assert not list(journals.iterdir())
    sh(*net, "tc", "qdisc", "del", "dev", "bare", "ingress")


def test_programs_leave_the_kernel_with_their_filters(net: tuple[str, ...], journals: Path) -> None:
    with running(journals, "bare:ingress", prefix=net) as run:
        (entry,) = run.told["entries"]
        program = ("prog", entry["programId"])
        assert program in in_kernel("prog")
        kill_both(journals, run)
    assert program in in_kernel("prog")
    assert recovered(journals).undone == 1
    assert eventually(lambda: program not in in_kernel("prog"), CLEAN_WITHIN)
