"""Credentials: docker's and podman's files, helpers, and what login leaves behind."""

import base64
import json
import os
import stat
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from bpfpack.registry.client import _oras, helpers
from bpfpack.registry.client.credentials import DOCKER_HUB, CredentialStore
from bpfpack.registry.client.login import login, logout, write
from bpfpack.registry.client.settings import Settings
from bpfpack.registry.client.wire import Credential
from bpfpack.spec.errors import Denied, SpecError, StoreError, UsageError
from tests.kit.hostile import Listener, Reply, listener

USER = Credential(username="u", secret="p:w")


def auth(user: str = "u", secret: str = "p:w") -> dict[str, str]:
    return {"auth": base64.b64encode(f"{user}:{secret}".encode()).decode()}


def home(tmp_path: Path, config: object, **more: str) -> CredentialStore:
    """A user whose docker file says ``config``."""
    path = tmp_path / ".docker/config.json"
    path.parent.mkdir(exist_ok=True)
    path.write_text(config if isinstance(config, str) else json.dumps(config))
    return CredentialStore({"HOME": str(tmp_path), "PATH": f"{tmp_path}/bin:/usr/bin:/bin", **more})


def helper(tmp_path: Path, name: str, script: str) -> None:
    """Put a credential helper into the user's PATH."""
    path = tmp_path / "bin" / f"docker-credential-{name}"
    path.parent.mkdir(exist_ok=True)
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)


def keychain(tmp_path: Path, name: str = "keys") -> Path:
    """A helper that keeps what it is given in a file, which is returned."""
    kept = tmp_path / f"{name}.json"
    program = tmp_path / "bin" / f"docker-credential-{name}"
    program.parent.mkdir(exist_ok=True)
    program.write_text(
        f"""#!{sys.executable}
import json, pathlib, sys
kept = pathlib.Path({str(kept)!r})
have = json.loads(kept.read_text()) if kept.exists() else {{}}
said = sys.stdin.read()
if sys.argv[1] == "store":
    new = json.loads(said)
    have[new["ServerURL"]] = new
elif sys.argv[1] == "erase":
    have.pop(said, None)
elif said not in have:
    sys.exit(print("credentials not found in native keychain") or 1)
else:
    print(json.dumps(have[said]))
kept.write_text(json.dumps(have))
"""
    )
    program.chmod(0o755)
    return kept


@pytest.mark.parametrize(
    ("key", "registry"),
    [
        ("ghcr.io", "ghcr.io"),
        ("https://ghcr.io", "ghcr.io"),
        ("https://ghcr.io/v1/", "ghcr.io"),
        ("localhost:5000", "localhost:5000"),
        (DOCKER_HUB, "docker.io"),
        ("docker.io", "docker.io"),
        ("registry-1.docker.io", "docker.io"),
    ],
)
def test_dockers_file(tmp_path: Path, key: str, registry: str) -> None:
    store = home(tmp_path, {"auths": {key: auth()}})
    assert store.get(registry, "x/y") == USER
    assert store.get("other.io", "x/y") is None
    assert store.get(f"{registry}0", "x/y") is None


def test_the_order_of_files(tmp_path: Path) -> None:
    places = {
        "REGISTRY_AUTH_FILE": "named.json",
        "DOCKER_CONFIG": "docker/config.json",
        "XDG_RUNTIME_DIR": "run/containers/auth.json",
        "HOME": ".config/containers/auth.json",
    }
    environ = {
        "REGISTRY_AUTH_FILE": str(tmp_path / "named.json"),
        "DOCKER_CONFIG": str(tmp_path / "docker"),
        "XDG_RUNTIME_DIR": str(tmp_path / "run"),
        "HOME": str(tmp_path),
    }
    for name, place in places.items():
        path = tmp_path / place
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps({"auths": {"r.io": auth(name)}}))
    store = CredentialStore(environ)
    for name, place in places.items():
        found = store.get("r.io")
        assert found and found.username == name
        (tmp_path / place).unlink()
    assert store.get("r.io") is None


def test_docker_config_replaces_the_home_directory(tmp_path: Path) -> None:
    store = home(tmp_path, {"auths": {"r.io": auth()}}, DOCKER_CONFIG=str(tmp_path / "elsewhere"))
    assert store.get("r.io") is None


def test_podman_names_repositories_and_the_longest_wins(tmp_path: Path) -> None:
    store = home(
        tmp_path,
        {"auths": {"r.io": auth("all"), "r.io/a": auth("a"), "r.io/a/b": auth("ab")}},
    )
    found = {name: store.get("r.io", name) for name in ("a/b", "a/bc", "a", "ab", "c/a/b")}
    users = {name: c.username if c else None for name, c in found.items()}
    assert users == {"a/b": "ab", "a/bc": "a", "a": "a", "ab": "all", "c/a/b": "all"}


@pytest.mark.parametrize(
    "broken",
    [
        {"auth": "%%%"},
        {"auth": "bm9jb2xvbg=="},
        {"auth": 7},
        {"identitytoken": ["x"]},
        [],
        None,
        7,
        "text",
        {"auth": base64.b64encode(b"\xff:\xff").decode()},
    ],
)
def test_one_broken_entry_hides_no_other(tmp_path: Path, broken: object) -> None:
    auths = {"bad.io": broken, "r.io": auth(), "https://bad.io": auth("second")}
    store = home(tmp_path, {"auths": auths})
    assert store.get("r.io") == USER
    second = store.get("bad.io")
    assert second and second.username == "second"


@pytest.mark.parametrize(
    "config",
    ["", "{", "[]", "\x00", '{"auths": 7}', '{"auths": {}, "credsStore": 7}', "[" * 100_000],
)
def test_a_broken_file_hides_no_other(tmp_path: Path, config: str) -> None:
    store = home(tmp_path, config)
    podman = tmp_path / ".config/containers/auth.json"
    podman.parent.mkdir(parents=True)
    podman.write_text(json.dumps({"auths": {"r.io": auth()}}))
    assert store.get("r.io") == USER


def test_tokens_in_files(tmp_path: Path) -> None:
    entries = {"a.io": {"identitytoken": "t1"}, "b.io": {"registrytoken": "t2"}}
    store = home(tmp_path, {"auths": entries})
    assert store.get("a.io") == Credential(identity_token="t1")
    assert store.get("b.io") == Credential(registry_token="t2")


# Helpers.


def test_a_helper_is_asked_for_its_registry(tmp_path: Path) -> None:
    helper(tmp_path, "one", 'read s; printf \'{"Username":"%s","Secret":"x"}\' "$s"')
    helper(tmp_path, "rest", 'printf \'{"Username":"rest","Secret":"x"}\'')
    store = home(
        tmp_path, {"credHelpers": {"r.io": "one", "docker.io": "one"}, "credsStore": "rest"}
    )
    users = [(store.get(r) or Credential()).username for r in ("r.io", "docker.io", "other.io")]
    assert users == ["r.io", DOCKER_HUB, "rest"]


def test_an_identity_token_from_a_helper(tmp_path: Path) -> None:
    helper(tmp_path, "keys", 'printf \'{"Username":"<token>","Secret":"refresh"}\'')
    store = home(tmp_path, {"credsStore": "keys"})
    assert store.get("r.io") == Credential(identity_token="refresh")


@pytest.mark.parametrize(
    "script",
    [
        "echo credentials not found in native keychain; exit 1",
        "exit 3",
        "echo nonsense",
        "echo '[]'",
        "echo '{\"Username\":7}'",
        "kill -9 $$",
    ],
)
def test_a_helper_that_fails_leaves_the_entries_of_the_file(tmp_path: Path, script: str) -> None:
    helper(tmp_path, "keys", script)
    store = home(tmp_path, {"credsStore": "keys", "auths": {"r.io": auth()}})
    assert store.get("r.io") == USER


def test_a_helper_that_prints_without_end_is_ended(tmp_path: Path) -> None:
    helper(tmp_path, "keys", "exec cat /dev/zero")
    with pytest.raises(StoreError, match="too much"):
        helpers.get("keys", "r.io", {"PATH": f"{tmp_path}/bin:/usr/bin:/bin"})


def test_a_helper_that_never_answers_is_ended(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(helpers, "_SECONDS", 0.2)
    helper(tmp_path, "keys", f"echo $$ >{tmp_path}/pid; exec sleep 1000")
    store = home(tmp_path, {"credsStore": "keys"})
    assert store.get("r.io") is None
    if (pid := tmp_path / "pid").exists():
        assert not Path(f"/proc/{pid.read_text().strip()}").exists()


@pytest.mark.parametrize("name", ["../evil", "a/b", "", "A", "x;id", "x y", "-\n", "ä"])
def test_the_name_of_a_helper_is_no_path(tmp_path: Path, name: str) -> None:
    with pytest.raises(StoreError, match="not the name"):
        helpers.get(name, "r.io", {"PATH": str(tmp_path)})


def test_no_helper_from_the_working_directory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    helper(tmp_path, "evil", f"touch {tmp_path}/ran")
    monkeypatch.chdir(tmp_path / "bin")
    for path in ("", ".", ":/usr/bin", "../bin", "bin"):
        with pytest.raises(StoreError, match="not in PATH"):
            helpers.get("evil", "r.io", {"PATH": path})
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize("variable", ["BPFPACK_PASSWORD", "COSIGN_PASSWORD"])
def test_a_helper_does_not_learn_our_password(tmp_path: Path, variable: str) -> None:
    answer = '{"Username":"u","Secret":"%s"}'
    helper(tmp_path, "keys", f"printf '{answer}' \"${{{variable}:-none}}\"")
    store = home(tmp_path, {"credsStore": "keys"}, **{variable: "mine"})
    assert store.get("r.io") == Credential(username="u", secret="none")


# 20: login and logout.


@pytest.fixture
def registry() -> Iterator[Listener]:
    """One that takes `USER` and nobody else."""
    challenge = Reply(status=401, headers={"WWW-Authenticate": 'Basic realm="r"'})
    good = f"Basic {base64.b64encode(b'u:p:w').decode()}"
    with listener() as found:
        found.on("GET", "/v2/", lambda s: Reply() if s.authorization == good else challenge)
        yield found


def test_login_writes_a_file_that_only_its_owner_reads(registry: Listener, tmp_path: Path) -> None:
    before = os.umask(0)
    try:
        login(registry.host, USER, Settings(), {"HOME": str(tmp_path)})
    finally:
        os.umask(before)
    path = tmp_path / ".docker/config.json"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
    assert [p.name for p in path.parent.iterdir()] == ["config.json"]
    assert json.loads(path.read_text()) == {"auths": {registry.host: auth()}}


def test_login_keeps_what_else_is_in_the_file(registry: Listener, tmp_path: Path) -> None:
    config = {"HttpHeaders": {"X": "y"}, "auths": {"r.io": auth(), f"http://{registry.host}": {}}}
    store = home(tmp_path, config)
    (tmp_path / ".docker/config.json").chmod(0o644)
    login(registry.host, USER, Settings(), store.environ)
    path = tmp_path / ".docker/config.json"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    written = json.loads(path.read_text())
    assert written == {"HttpHeaders": {"X": "y"}, "auths": {"r.io": auth(), registry.host: auth()}}
    assert store.get(registry.host) == USER
    assert logout(registry.host, store.environ)
    assert json.loads(path.read_text())["auths"] == {"r.io": auth()}


def test_login_follows_the_link_that_people_make_of_the_file(
    registry: Listener, tmp_path: Path
) -> None:
    dotfiles = tmp_path / "dotfiles.json"
    dotfiles.write_text("{}")
    (tmp_path / ".docker").mkdir()
    (tmp_path / ".docker/config.json").symlink_to(dotfiles)
    login(registry.host, USER, Settings(), {"HOME": str(tmp_path)})
    assert (tmp_path / ".docker/config.json").is_symlink()
    assert json.loads(dotfiles.read_text())["auths"]


def test_login_gives_the_secret_to_the_helper_and_not_to_the_file(
    registry: Listener, tmp_path: Path
) -> None:
    kept = keychain(tmp_path)
    store = home(tmp_path, {"credsStore": "keys"})
    done = login(registry.host, USER, Settings(), store.environ)
    assert done.helper == "keys"
    assert "p:w" in kept.read_text()
    text = (tmp_path / ".docker/config.json").read_text()
    assert json.loads(text)["auths"] == {registry.host: {}}
    assert store.get(registry.host) == USER
    assert logout(registry.host, store.environ)
    assert kept.read_text() == "{}"
    assert store.get(registry.host) is None


def test_a_helper_that_cannot_keep_it_is_an_error(registry: Listener, tmp_path: Path) -> None:
    helper(tmp_path, "keys", "echo locked; exit 1")
    store = home(tmp_path, {"credsStore": "keys"})
    with pytest.raises(StoreError, match="locked"):
        login(registry.host, USER, Settings(), store.environ)
    assert json.loads((tmp_path / ".docker/config.json").read_text()) == {"credsStore": "keys"}


def test_login_does_not_overwrite_a_file_that_it_cannot_read(
    registry: Listener, tmp_path: Path
) -> None:
    store = home(tmp_path, '{"auths": ')
    with pytest.raises(SpecError):
        login(registry.host, USER, Settings(), store.environ)
    assert (tmp_path / ".docker/config.json").read_text() == '{"auths": '


@pytest.mark.parametrize("name", ["", "a b", "r.io/x", "https://r.io", "../x"])
def test_login_to_what_is_no_registry(tmp_path: Path, name: str) -> None:
    with pytest.raises(SpecError):
        login(name, USER, Settings(), {"HOME": str(tmp_path)})


def test_login_without_a_home(registry: Listener) -> None:
    with pytest.raises(UsageError):
        login(registry.host, USER, Settings(), {})


def test_a_file_that_cannot_be_replaced_stays(tmp_path: Path) -> None:
    (tmp_path / "config.json").mkdir()
    with pytest.raises(StoreError):
        write(tmp_path / "config.json", {})
    assert [p.name for p in tmp_path.iterdir()] == ["config.json"]


def test_secrets_do_not_show() -> None:
    shown = repr(Credential(username="u", secret="s1", identity_token="s2", registry_token="s3"))
    assert not any(secret in shown for secret in ("s1", "s2", "s3"))


# oras.


def test_only_ecr_hosts_ask_amazon(tmp_path: Path) -> None:
    assert not _oras.is_ecr("123456789012.dkr.ecr.eu-west-1.amazonaws.com.evil.test")
    assert CredentialStore({"HOME": str(tmp_path)}).get("ghcr.io") is None


def test_ecr_without_amazons_library_says_what_to_install(tmp_path: Path) -> None:
    store = CredentialStore({"HOME": str(tmp_path)})
    with pytest.raises(Denied) as caught:
        store.get("123456789012.dkr.ecr.eu-west-1.amazonaws.com")
    assert "oras[ecr]" in str(caught.value.hint)
