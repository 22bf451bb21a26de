"""Groups of tests: what each needs, and `BPFPACK_REQUIRE`, which makes a skip a failure.

``BPFPACK_REQUIRE=all`` or a list such as ``kernel,registry``: a test of such a group that
would be skipped fails instead, so that a machine cannot quietly prove less than it should.
"""

import os
import shutil
import signal
from collections.abc import Generator
from pathlib import Path

import pytest

from tests.kit import docker, peers
from tests.kit.docker import docker_engine as docker_engine

_GROUPS = ("kernel", "registry", "image", "peers", "vm", "browser")


def _missing(group: str) -> str | None:
    """Say what this machine lacks for a group, or None."""
    if group == "kernel":
        if os.geteuid() != 0:
            return "needs root"
        if not Path("/sys/kernel/btf/vmlinux").exists():
            return "needs a kernel with BTF"
        return None
    if group == "registry":
        lacking = [t for t in ("docker-registry", "skopeo") if shutil.which(t) is None]
        return f"needs {' and '.join(lacking)}" if lacking else None
    if group == "image":
        return docker.missing()
    if group == "peers":
        lacking = peers.missing()
        return f"needs {' and '.join(lacking)} (scripts/peers)" if lacking else None
    return None


def _groups_of(item: pytest.Item) -> list[str]:
    return [group for group in _GROUPS if item.get_closest_marker(group)]


def _required(item: pytest.Item) -> bool:
    wanted = os.environ.get("BPFPACK_REQUIRE", "").split(",")
    return "all" in wanted or any(g in wanted for g in _groups_of(item) or ["core"])


def pytest_configure() -> None:
    """Let the signals that tests send arrive, also below nohup or a job in the background.

    What is ignored here would be ignored by every program that a test starts.
    """
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    if signal.getsignal(signal.SIGHUP) is signal.SIG_IGN:
        signal.signal(signal.SIGHUP, signal.SIG_DFL)


def pytest_runtest_setup(item: pytest.Item) -> None:
    for group in _groups_of(item):
        if reason := _missing(group):
            pytest.skip(f"{group}: {reason}")


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    report = yield
    if report.skipped and not hasattr(report, "wasxfail") and _required(item):
        report.outcome = "failed"
        report.longrepr = f"skipped, but BPFPACK_REQUIRE asks for it: {report.longrepr}"
    return report
