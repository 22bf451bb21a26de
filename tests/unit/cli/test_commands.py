"""The commands that need no kernel, on real stores, registries and terminals."""

import base64
import json
import os
import stat
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from bpfpack.cli.commands.init import as_root
from bpfpack.spec.policy import fingerprint
from tests.kit import bell
from tests.kit.cli import PASSWORD, PROGRAM, Host
from tests.kit.hostile import Reply, listener
from tests.kit.servers import RunningRegistry, bpfpack_registry, docker_registry
from tests.kit.tokenserver import token_server

LOCKED = {"BPFPACK_PASSWORD": PASSWORD}


@pytest.fixture
def registry(tmp_path: Path) -> Iterator[RunningRegistry]:
    with bpfpack_registry(tmp_path / "registry") as running:
        yield running


@pytest.fixture
def mine(fresh: Host) -> Host:
    """A host with an identity and ``bell:1``, for the test to change."""
    fresh.keygen()
    fresh.run("build", "-q", "-t", "bell:1", bell.write(fresh.root / "bell"))
    return fresh


class TestStore:
    def test_build_names_it_after_itself(self, fresh: Host) -> None:
        directory = bell.write(fresh.root / "bell")
        (directory / "bpfpack.toml").write_text('name = "chime"\nversion = "0.3"\n')
        told = fresh.run("build", cwd=directory).stdout
        assert told.startswith("chime:0.3  sha256:")

    def test_build_gives_several_names_and_an_archive(self, fresh: Host) -> None:
        directory = bell.write(fresh.root / "bell")
        fresh.run("build", "-t", "a/b:1", "-t", "c:2", "-f", "out.tar", directory)
        rows = fresh.run("list", "-o", "json").json
        assert [r["reference"] for r in rows] == ["a/b:1", "c:2"]
        assert len({r["digest"] for r in rows}) == 1
        other = Host(root=fresh.root / "other")
        loaded = other.run("load", "-q", "-f", fresh.root / "out.tar").stdout
        assert rows[0]["digest"] in loaded

    def test_a_build_that_fails_leaves_nothing(self, fresh: Host) -> None:
        (fresh.root / "bad").mkdir(parents=True)
        (fresh.root / "bad" / "x.bpf.c").write_text("int f(void) { return nothing; }\n")
        done = fresh.run("build", "-t", "x:1", "bad", cwd=fresh.root, code=8)
        assert "x.bpf.c:1" in done.stderr
        assert fresh.run("list", "-q").stdout == ""

    def test_tag_and_rmi(self, mine: Host) -> None:
        mine.run("tag", "bell:1", "ghcr.io/x/bell:2")
        listed = mine.run("list", "-o", "json").json
        assert {r["reference"] for r in listed} == {"bell:1", "ghcr.io/x/bell:2"}
        done = mine.run("rmi", "no/such:1", "bell:1", code=4)
        assert done.stdout == "removed bell:1\n"
        assert "no/such:1" in done.stderr
        assert mine.run("list", "-q", "ghcr.io/x/bell").stdout.strip() == listed[0]["digest"]
        mine.run("tag", "bell:1", "x:1", code=4)
        mine.run("tag", "ghcr.io/x/bell:2", f"x@{listed[0]['digest']}", code=2)

    def test_prune(self, mine: Host) -> None:
        """What was just touched stays, and it says so."""
        mine.run("rmi", "bell:1")
        assert "0 blobs" in mine.run("prune", "--dry-run").stdout
        for path in (mine.root / "data").rglob("*"):
            if path.is_file():
                _age(path)
        assert "0 blobs" not in mine.run("prune", "--dry-run").stdout
        assert "--force" in mine.run("prune", code=2).stderr
        with mine.terminal("prune") as screen:
            screen.answer(r"\[y/N\]", "n")
            assert screen.end() == 130
        assert mine.run("prune", "-f").stdout.startswith("deleted ")
        assert "0 blobs" in mine.run("prune", "--dry-run").stdout

    def test_a_damaged_package_does_not_hide_the_others(self, mine: Host) -> None:
        digest = mine.run("list", "-q").stdout.strip().partition(":")[2]
        (mine.root / "bell" / "bpfpack.toml").write_text('version = "2"\n')
        mine.run("build", "-q", "-t", "bell:2", mine.root / "bell")
        (manifest,) = (mine.root / "data").rglob(digest)
        manifest.write_bytes(b"{}")
        rows = mine.run("list").stdout.splitlines()
        assert [row.split()[-1] == "damaged" for row in rows] == [False, True, False]
        mine.run("run", "--dry-run", "bell:1", code=126)
        mine.run("rmi", "bell:1")

    @pytest.mark.parametrize("way", ["path", "stdin", "source"])
    def test_inspect_of_what_has_no_name_here(self, way: str, mine: Host, tmp_path: Path) -> None:
        archive = tmp_path / "bell.tar"
        mine.run("save", "-q", "-f", archive, "bell:1")
        wanted = mine.run("inspect", "-o", "json", "bell:1").json
        data = archive.read_bytes() if way == "stdin" else None
        name = {"path": archive, "stdin": "-", "source": mine.root / "bell"}[way]
        shown = mine.run("inspect", "-o", "json", str(name), stdin=data).json
        assert shown["config"] == wanted["config"]
        assert shown["layers"] == wanted["layers"]
        assert shown["place"] == {"path": "file", "stdin": "stdin", "source": "source"}[way]
        assert shown["trust"]["accepted"] is (way == "source")

    def test_a_readme_is_of_a_reference(self, mine: Host) -> None:
        assert "--readme" in mine.run("inspect", "--readme", str(mine.root), code=2).stderr

    def test_inspect(self, mine: Host) -> None:
        shown = mine.run("inspect", "bell:1").stdout
        assert "program      on_call (raw_tp/sys_enter)" in shown
        assert "option       --pid" in shown
        assert "may run here" in shown
        document = mine.run("inspect", "-o", "json", "bell:1").json
        assert document["config"]["name"] == "bell"
        assert document["trust"]["accepted"] is True

    def test_save_and_load_carry_signatures(self, mine: Host) -> None:
        mine.run("tag", "bell:1", "ghcr.io/x/bell:1")
        mine.run("sign", "ghcr.io/x/bell:1", env=LOCKED)
        mine.run("save", "-q", "-f", "bell.tar", "ghcr.io/x/bell:1")
        other = Host(root=mine.root / "other")
        with (mine.root / "bell.tar").open("rb") as stream:
            other.run("load", "-q", stdin=stream.read())
        other.run("trust", "add", "ghcr.io/x", "--key", mine.root / "config/identity.pub")
        assert "accepted by" in other.run("verify", "ghcr.io/x/bell:1").stdout
        other.run("load", "-q", "-f", mine.root / "bell.tar", "-t", "mirror.test/x/bell:1")
        other.run("verify", "mirror.test/x/bell:1", code=6)

    def test_an_archive_is_not_for_a_terminal(self, mine: Host) -> None:
        with mine.terminal("save", "bell:1") as screen:
            assert screen.end() == 2
        with mine.terminal("load") as screen:
            assert screen.end() == 2


def _age(path: Path) -> None:
    import os

    os.utime(path, (1e9, 1e9))


class TestStart:
    @pytest.mark.parametrize("template", ["tracepoint", "histogram"])
    def test_init_builds_at_once(self, fresh: Host, template: str) -> None:
        fresh.run("init", "tool", "--template", template)
        fresh.run("build", "-q", "-t", "tool:1", "tool")
        fresh.run("init", "tool", code=2)

    @pytest.mark.parametrize("path", [f"{PROGRAM.parent}:/usr/bin:/bin", "/usr/bin:/bin"])
    def test_what_init_says_to_try_works(
        self, path: str, fresh: Host, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Also where sudo looks only in the system's places."""
        monkeypatch.setenv("PATH", path)
        monkeypatch.setattr(sys, "argv", [str(PROGRAM)])
        monkeypatch.setattr(os, "geteuid", lambda: 1000)
        call = as_root()
        assert call.startswith("sudo ")
        script = f'sudo() {{ command -v "$1"; }}; {call} run ./tool'
        done = subprocess.run(["sh", "-c", script], capture_output=True, text=True, check=True)
        assert Path(done.stdout.strip()) == PROGRAM
        told = fresh.run("init", "tool").stderr.splitlines()
        assert told[0] == "try it:"
        assert told[1].endswith(" run ./tool")

    def test_gen_vmlinux(self, fresh: Host) -> None:
        header = fresh.run("gen", "vmlinux").stdout
        assert header.startswith("#ifndef __VMLINUX_H__")
        assert fresh.run("gen", "vmlinux", "--btf", "/sys/kernel/btf/vmlinux").stdout == header
        fresh.run("gen", "vmlinux", "--btf", "/etc/hostname", code=2)


class TestKeys:
    def test_keygen_never_overwrites_and_trusts_nothing(self, fresh: Host) -> None:
        public = fresh.keygen()
        private = public.with_suffix(".key")
        assert stat.S_IMODE(private.stat().st_mode) == 0o600
        before = private.read_bytes()
        done = fresh.run("keygen", env=LOCKED, code=None)
        assert done.code != 0
        assert private.read_bytes() == before
        assert fresh.run("pubkey").stdout == public.read_text()
        assert fresh.run("trust", "ls", "-o", "json").json == []
        assert PASSWORD.encode() not in before

    def test_keygen_asks_twice(self, fresh: Host) -> None:
        with fresh.terminal("keygen", "--output-key-prefix", "release") as screen:
            screen.answer("Password", "one")
            screen.answer("again", "two")
            screen.answer("Password", PASSWORD)
            screen.answer("again", PASSWORD)
            assert screen.end() == 0, screen.shown
        assert not {"one", "two", PASSWORD} & set(screen.shown.split("\r\n"))
        shown = fresh.run("pubkey", "--key", "release.key", env=LOCKED).stdout
        assert shown == (fresh.root / "release.pub").read_text()
        fresh.run("pubkey", "--key", "release.key", env={"BPFPACK_PASSWORD": "no"}, code=6)

    def test_ctrl_c_and_ctrl_d_at_a_prompt(self, fresh: Host) -> None:
        for key, code in (("\x03", 130), ("\x04", 2)):
            with fresh.terminal("keygen") as screen:
                screen.until("Password")
                screen.type(key)
                assert screen.end() == code
            assert "Traceback" not in screen.shown
        assert not (fresh.root / "config" / "identity.key").exists()

    def test_without_a_terminal_it_says_what_to_give(self, fresh: Host) -> None:
        told = fresh.run("keygen", code=2).stderr
        assert "a new key needs a password, and there is no terminal" in told
        assert "--password-file" in told

    def test_sign_and_verify(self, mine: Host, registry: RunningRegistry) -> None:
        name = f"{registry.host}/x/bell:1"
        mine.run("sign", "bell:1", env=LOCKED, code=2)  # a bare name says nothing
        mine.run("sign", "--as", name, "bell:1", env=LOCKED)
        mine.run("tag", "bell:1", name)
        mine.run("push", "-q", name)  # it bears the signature already: no password
        other = Host(root=mine.root / "other")
        public = mine.root / "config" / "identity.pub"
        assert "not signed" not in other.run("verify", name, code=6).stderr
        assert "accepted" in other.run("verify", "--key", public, name).stdout
        document = other.run("verify", "--key", public, "-o", "json", name).json
        assert document["accepted"] is True
        other.run("trust", "add", f"{registry.host}/x", "--key", public)
        other.run("verify", name)

    @pytest.mark.parametrize("part", ["config", "layers"])
    def test_verify_hashes_what_the_store_holds(self, part: str, mine: Host) -> None:
        """A good signature of a manifest says nothing about a blob that was changed since."""
        name = "registry.example/x/bell:1"
        mine.run("sign", "--as", name, "bell:1", env=LOCKED)
        public = mine.root / "config" / "identity.pub"
        mine.run("verify", "--key", public, name)
        digest = mine.run("list", "-q", name).stdout.strip()
        blobs = mine.root / "data/store/blobs"
        shown = json.loads((blobs / digest.replace(":", "/")).read_bytes())
        wanted = shown["config"] if part == "config" else shown["layers"][0]
        blob = blobs / wanted["digest"].replace(":", "/")
        changed = bytearray(blob.read_bytes())
        changed[-1] ^= 1
        blob.chmod(0o600)
        blob.write_bytes(changed)
        told = mine.run("verify", "--key", public, name, code=6).stderr
        assert wanted["digest"] in told and "damaged" in told

    def test_a_remote_tag_is_signed_only_when_its_digest_is_meant(
        self, mine: Host, registry: RunningRegistry
    ) -> None:
        name = f"{registry.host}/x/bell"
        mine.run("tag", "bell:1", f"{name}:1")
        digest = mine.run("push", "-q", "--no-sign", f"{name}:1").stdout.split()[-1]
        mine.run("rmi", f"{name}:1")
        assert f"{name}:1@{digest}" in mine.run("sign", f"{name}:1", env=LOCKED, code=2).stderr
        with mine.terminal("sign", f"{name}:1", env=LOCKED) as screen:
            screen.answer(digest, "y")
            screen.answer("Password", PASSWORD)
            assert screen.end() == 0, screen.shown
        told = mine.run("sign", f"{name}:1@{digest}", env=LOCKED).stdout
        assert told == f"signed {name}:1 ({digest})\n"

    def test_no_credential_helper_sees_the_key(self, fresh: Host) -> None:
        """The helper runs before the signing, with a registry that wants to know who asks."""
        program = fresh.root / "bin" / "docker-credential-spy"
        program.parent.mkdir(parents=True)
        program.write_text(f"#!/bin/sh\nenv > {fresh.root}/seen\nexit 1\n")
        program.chmod(0o755)
        (fresh.root / "docker").mkdir()
        (fresh.root / "docker" / "config.json").write_text('{"credsStore": "spy"}')
        environment = {
            "KEY": "s3cret-key",
            "COSIGN_PASSWORD": "s3cret-password",
            "PATH": f"{program.parent}:{fresh.environment['PATH']}",
        }
        with listener() as registry:
            refused = Reply(status=401, headers={"WWW-Authenticate": 'Basic realm="r"'})
            registry.on("GET", "/v2/x/manifests/1", refused)
            name = f"{registry.host}/x:1"
            fresh.run("sign", "-y", "--key", "env://KEY", name, env=environment, code=5)
        seen = (fresh.root / "seen").read_text()
        assert "PATH=" in seen
        assert "s3cret" not in seen

    def test_an_unsigned_push_is_never_silent(self, mine: Host, registry: RunningRegistry) -> None:
        """A key, a locked one, and nobody to ask: it fails before anything is sent."""
        name = f"{registry.host}/x/bell:1"
        mine.run("tag", "bell:1", name)
        mine.run("push", name, code=2)
        Host(root=mine.root / "other").run("pull", name, code=4)


class TestTrust:
    def test_rules_come_and_go(self, mine: Host) -> None:
        public = mine.root / "config" / "identity.pub"
        mine.run("trust", "add", "ghcr.io/x", "--key", public, "--name", "me")
        (row,) = mine.run("trust", "ls", "-o", "json").json
        assert (row["scope"], row["key"], row["level"]) == ("ghcr.io/x", "me", "enforce")
        mine.run("tag", "bell:1", "ghcr.io/x/bell:1")
        told = mine.run("trust", "test", "ghcr.io/x/bell:1").stdout
        assert "result   refused" in told
        mine.run("sign", "ghcr.io/x/bell:1", env=LOCKED)
        assert "result   accepted" in mine.run("trust", "test", "ghcr.io/x/bell:1").stdout
        mine.run("trust", "rm", "ghcr.io/x")
        assert mine.run("trust", "ls", "-o", "json").json == []
        assert mine.run("trust", "rm", "ghcr.io/x", code=None).code != 0

    def test_a_key_that_is_there_changes_the_rule(self, mine: Host) -> None:
        public = mine.root / "config" / "identity.pub"
        first = mine.run("trust", "add", "ghcr.io/x", "--key", public)
        assert mine.run("trust", "add", "ghcr.io/x", "--key", public).stdout == (
            f"already trusted: {first.stdout}"
        )
        more = mine.run("trust", "add", "ghcr.io/x", "--key", public, "--signed-as", "quay.io/x")
        assert more.stdout == f"{first.stdout.rstrip()} (signed-as quay.io/x)\n"
        assert more.stderr == ""
        last = mine.run("trust", "add", "ghcr.io/x", "--max-age", "14d", "--host")
        assert last.stdout.endswith("this host (signed-as quay.io/x, max-age 14d)\n")
        assert "holds for every key of ghcr.io/x" in last.stderr
        assert "needs a key" in mine.run("trust", "add", "ghcr.io/y", code=2).stderr

    def test_a_private_key_is_no_public_one(self, mine: Host) -> None:
        private = mine.root / "config" / "identity.key"
        told = mine.run("trust", "add", "ghcr.io/x", "--key", private, code=3).stderr
        assert f"{private} is a private key" in told
        assert f"its public half is {private.with_suffix('.pub')}" in told
        (mine.root / "config" / "identity.pub").unlink()
        told = mine.run("verify", "--key", private, "bell:1", code=None).stderr
        assert f"bpfpack pubkey --key {private} > " in told

    def test_wide_shows_all_of_a_rule(self, mine: Host) -> None:
        public = mine.root / "config" / "identity.pub"
        whole = f"SHA256:{fingerprint(public.read_text())}"
        mine.run(
            *("trust", "add", "ghcr.io/x", "--key", public, "--max-age", "2w"),
            *("--unnamed", "--signed-as", "quay.io/x", "--host"),
        )
        wide = mine.run("trust", "ls", "-o", "wide").stdout
        assert whole in wide
        assert wide.count("signed-as quay.io/x, max-age 14d, unnamed, host") == 2
        narrow = mine.run("trust", "ls").stdout
        assert whole not in narrow and whole[:23] in narrow

    def test_what_comes_from_a_file_is_explained_too(self, mine: Host) -> None:
        """As a path, as the scope that a rule would have, and from stdin."""
        name = "ghcr.io/x/bell:1"
        mine.run("tag", "bell:1", name)
        mine.run("sign", name, env=LOCKED)
        archive = mine.root / "bell.tar"
        mine.run("save", "-f", archive, name)
        for where in (f"file:{archive}", f"{archive}"):
            told = mine.run("trust", "test", where).stdout
            assert "scope    none covers it" in told
            assert f"{archive} (sha256:" in told
        mine.run("trust", "add", f"file:{mine.root}", "--key", mine.root / "config/identity.pub")
        told = mine.run("trust", "test", f"file:{archive}").stdout
        assert f"scope    file:{mine.root}" in told
        found = mine.run("trust", "test", "-o", "json", "-", stdin=archive.read_bytes()).json
        assert (found["reference"], found["accepted"]) == ("-", False)
        assert "no such file" in mine.run("trust", "test", "file:/none.tar", code=4).stderr

    def test_a_broken_policy_refuses_everything(self, mine: Host) -> None:
        (mine.root / "config" / "policy.toml").write_text("version = 1\nsurprise = true\n")
        assert "everything is refused" in mine.run("trust", "ls").stderr
        refused = mine.run("run", "--dry-run", "bell:1", code=126).stderr
        assert "surprise" in refused

    def test_import(self, mine: Host) -> None:
        public = mine.root / "config" / "identity.pub"
        policy = {
            "default": [{"type": "reject"}],
            "transports": {
                "docker": {"ghcr.io/x": [{"type": "sigstoreSigned", "keyPath": str(public)}]}
            },
        }
        (mine.root / "policy.json").write_text(json.dumps(policy))
        assert "ghcr.io/x" in mine.run("trust", "import", mine.root / "policy.json").stdout
        assert mine.run("trust", "ls", "-o", "json").json[0]["scope"] == "ghcr.io/x"


@pytest.mark.registry
class TestLogin:
    @pytest.fixture
    def private(self, tmp_path: Path) -> Iterator[str]:
        """Debian's registry, where only ``user`` with ``secret`` may do anything."""
        with (
            token_server(tmp_path / "tokens") as tokens,
            docker_registry(tmp_path, token_auth=tokens) as running,
        ):
            yield running.host

    def test_login_push_pull_logout(self, mine: Host, private: str) -> None:
        name = f"{private}/x/bell:1"
        mine.run("tag", "bell:1", name)
        mine.run("push", "-q", "--no-sign", name, code=5)
        mine.run("login", private, "-u", "user", "--password-stdin", stdin=b"wrong\n", code=5)
        assert not (mine.root / "docker" / "config.json").exists()
        done = mine.run("login", private, "-u", "user", "--password-stdin", stdin=b"secret\n")
        assert "secret" not in done.stdout + done.stderr
        kept = json.loads((mine.root / "docker" / "config.json").read_text())["auths"][private]
        assert base64.b64decode(kept["auth"]) == b"user:secret"
        mine.run("push", "-q", "--no-sign", name)
        mine.run("pull", "-q", name)
        assert "logged out" in mine.run("logout", private).stdout
        assert "not logged in" in mine.run("logout", private).stdout
        mine.run("pull", "-q", name, code=5)

    def test_on_a_terminal(self, fresh: Host, private: str) -> None:
        with fresh.terminal("login", private) as screen:
            screen.answer("Username", "user")
            screen.answer("Password", "secret")
            assert screen.end() == 0, screen.shown
        assert "secret" not in screen.shown

    def test_without_a_terminal_it_says_what_to_give(self, fresh: Host) -> None:
        assert "-u NAME" in fresh.run("login", "127.0.0.1:1", code=2).stderr
        told = fresh.run("login", "127.0.0.1:1", "-u", "x", code=2).stderr
        assert "--password-stdin" in told
