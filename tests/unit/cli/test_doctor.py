"""``bpfpack doctor`` on hosts that lack something: it says what, why and what to do."""

import os
import tempfile
from pathlib import Path
from typing import Any

import pytest

from tests.kit import bell
from tests.kit.cli import Host


def examined(host: Host, *, code: int | None = None, **env: str) -> dict[str, dict[str, Any]]:
    """The findings by part."""
    rows = host.run("doctor", "-o", "json", code=code, env=env).json
    return {row["part"]: row for row in rows}


def test_every_fault_has_a_cure_and_nothing_else_has(fresh: Host) -> None:
    rows = examined(fresh).values()
    assert {row["area"] for row in rows} == {"running", "building", "keeping and trusting"}
    for row in rows:
        assert row["state"] in ("ok", "warning", "failed")
        assert (row["cure"] is None) == (row["state"] == "ok"), row
        assert row["found"]


def test_it_says_what_runs_here(fresh: Host) -> None:
    found = examined(fresh)
    assert found["libbpf"]["found"].startswith("v1.")
    assert found["clang"]["found"].endswith("clang")


def test_it_changes_nothing(fresh: Host) -> None:
    fresh.run("doctor", code=None)
    assert sorted(p.name for p in fresh.root.iterdir()) == ["home"]


def test_text_has_a_line_for_each_and_a_sum(fresh: Host) -> None:
    rows = examined(fresh)
    lines = fresh.run("doctor", code=None).stdout.splitlines()
    for row in rows.values():
        assert any(row["part"] in line and row["state"] in line for line in lines)
    failed = sum(row["state"] == "failed" for row in rows.values())
    assert lines[-1].startswith(f"{failed} failure")
    assert "\x1b" not in "".join(lines)


def test_no_libbpf(fresh: Host) -> None:
    found = examined(fresh, code=1, BPFPACK_LIBBPF="/nonexistent/libbpf.so")
    assert found["libbpf"]["state"] == "failed"
    assert "BPFPACK_LIBBPF" in found["libbpf"]["cure"]


def test_a_library_that_is_no_libbpf(fresh: Host) -> None:
    found = examined(fresh, code=1, BPFPACK_LIBBPF="libc.so.6")
    assert "too old" in found["libbpf"]["found"]


def test_a_policy_that_cannot_be_read_denies_and_is_told(fresh: Host) -> None:
    config = Path(fresh.environment["BPFPACK_CONFIG_DIR"])
    config.mkdir(mode=0o700)
    (config / "policy.toml").write_text("version = [")
    found = examined(fresh, code=1)["policy"]
    assert found["state"] == "failed"
    assert "policy.toml" in found["found"]


@pytest.mark.parametrize(
    ("kind", "part"),
    [("DATA", "data directory"), ("CONFIG", "config directory"), ("STATE", "state directory")],
)
def test_a_directory_that_others_can_write(kind: str, part: str, fresh: Host) -> None:
    place = Path(fresh.environment[f"BPFPACK_{kind}_DIR"])
    place.mkdir()
    place.chmod(0o777)
    found = examined(fresh, code=1)[part]
    assert found["state"] == "failed"
    assert found["cure"] == f"chmod go-w {place}"


def test_a_key_that_others_can_read(fresh: Host) -> None:
    fresh.keygen()
    key = Path(fresh.environment["BPFPACK_CONFIG_DIR"], "identity.key")
    assert examined(fresh)["identity"] == {
        "area": "keeping and trusting",
        "part": "identity",
        "state": "ok",
        "found": str(key),
        "cure": None,
    }
    key.chmod(0o644)
    assert examined(fresh, code=1)["identity"]["cure"] == f"chmod 600 {key}"


@pytest.mark.parametrize(("mode", "told"), [(0o644, "others can read"), (0o600, "")])
def test_a_host_key_that_cannot_be_used(mode: int, told: str, fresh: Host) -> None:
    """`build` would fail, and so it does, with nothing left in the store."""
    state = Path(fresh.environment["BPFPACK_STATE_DIR"])
    state.mkdir(mode=0o700)
    (state / "host.key").write_bytes(bytes(range(100)))
    (state / "host.key").chmod(mode)
    found = examined(fresh, code=1)["host key"]
    assert found["state"] == "failed" and told in found["found"] and found["cure"]
    done = fresh.run("build", "-q", "-t", "bell:1", bell.write(fresh.root / "bell"), code=None)
    assert done.code != 0 and "Traceback" not in done.stderr
    assert fresh.run("list", "-q").stdout == ""


def test_a_host_without_a_compiler(fresh: Host) -> None:
    found = examined(fresh, PATH="/nonexistent")
    assert found["clang"]["state"] == "warning"
    assert found["clang"]["cure"] == "Debian, Ubuntu: apt install clang"


@pytest.mark.kernel
def test_a_user_without_privileges() -> None:
    with tempfile.TemporaryDirectory() as name:
        root = Path(name)
        os.chown(root, 65534, 65534)
        drop = ("setpriv", "--reuid=65534", "--regid=65534", "--clear-groups")
        user = Host(root=root, prefix=drop)
        os.chown(user.environment["HOME"], 65534, 65534)
        found = examined(user)
    assert found["privileges"]["state"] == "warning"
    assert "CAP_BPF" in found["privileges"]["found"]
    assert found["program types"]["cure"] == "run doctor as root"
