"""What ``bpfpack run REF`` takes for a package, and from where."""

import errno
import functools
import http.server
import os
import shutil
import signal
import ssl
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.kit import bell
from tests.kit.bell import ME
from tests.kit.cli import REPO, Done, Host
from tests.kit.pki import Certificates, make_ca
from tests.kit.servers import RunningRegistry, bpfpack_registry

pytestmark = pytest.mark.kernel

ONCE = ("-o", "json", "--max-events=1")


@pytest.fixture(scope="module")
def author(tmp_path_factory: pytest.TempPathFactory) -> Host:
    """A user with a key who built the bell, in two releases that differ."""
    root = tmp_path_factory.mktemp("author")
    made = Host(root=root)
    made.keygen()
    directory = bell.write(root / "bell")
    for version in ("1.9", "1.10"):
        (directory / "bpfpack.toml").write_text(f'version = "{version}"\n')
        made.run("build", "-q", "-t", f"bell:{version}", directory)
    return made


@pytest.fixture(scope="module")
def registry(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningRegistry]:
    with bpfpack_registry(tmp_path_factory.mktemp("registry")) as running:
        yield running


@pytest.fixture
def pushed(author: Host, registry: RunningRegistry, tmp_path: Path) -> str:
    """A repository of its own with both releases, signed."""
    name = f"{registry.host}/{tmp_path.name.replace('_', '-').lower()}/bell"
    for version in ("1.9", "1.10"):
        author.run("tag", f"bell:{version}", f"{name}:{version}")
    author.push("-q", "--all-tags", name)
    return name


@pytest.fixture
def host(author: Host, registry: RunningRegistry, tmp_path: Path) -> Host:
    """Another host, that trusts the author for all of the registry."""
    made = Host(root=tmp_path / "host")
    made.run("trust", "add", registry.host, "--key", author.root / "config" / "identity.pub")
    return made


def rings(
    host: Host, *argv: str | Path, stdin: Path | None = None, cwd: Path | None = None
) -> Done:
    """Run until the first event, which this test causes; returns how it ended."""
    source = os.open(stdin or os.devnull, os.O_RDONLY)
    with host.started("run", *ONCE, *argv, ME, stdin=source, cwd=cwd) as running:
        os.close(source)
        running.until("^attached ", stderr=True)
        bell.ring()
        done = running.end()
        assert (done.code, done.stdout) == (0, '{"number":1}\n'), done.stderr
        return Done(code=0, stdout=done.stdout, stderr="".join(running.seen) + done.stderr)


def test_a_reference_a_digest_and_the_highest_release(host: Host, pushed: str) -> None:
    told = rings(host, pushed).stderr
    assert "took 1.10" in told
    digest = host.run("list", "-q", pushed).stdout.strip()
    assert "running 1.10" in rings(host, "--no-pull", pushed).stderr
    for reference in (f"{pushed}:1.10", digest, f"{pushed}@{digest}", f"{pushed}:1.10@{digest}"):
        rings(host, "--no-pull", reference)


def test_latest_comes_before_releases(author: Host, host: Host, pushed: str) -> None:
    author.run("tag", f"{pushed}:1.9", f"{pushed}:latest")
    author.push("-q", f"{pushed}:latest")
    rings(host, pushed)
    rows = host.run("list", "-o", "json", pushed).json
    assert [row["tag"] for row in rows] == ["latest"]


def test_a_directory_does_not_shadow_a_reference(author: Host, tmp_path: Path) -> None:
    """Neither one named like the reference, nor one that would be a registry's path."""
    for name in ("bell:1.9", "localhost/bell", "bell"):
        decoy = tmp_path / name
        decoy.mkdir(parents=True)
        (decoy / "x.bpf.c").write_text("#error the directory was taken\n")
    rings(author, "bell:1.9", cwd=tmp_path)
    rings(author, "bell", cwd=tmp_path)
    author.run("run", "--no-pull", "localhost/bell", cwd=tmp_path, code=127)


def test_source(author: Host, tmp_path: Path) -> None:
    """A directory and a file; what is built here runs here."""
    directory = bell.write(tmp_path / "bell")
    rings(author, "./bell", cwd=tmp_path)
    rings(author, "./bell.bpf.c", cwd=directory)
    rings(author, ".", cwd=directory)
    rings(author, "../bell/bell.bpf.c", cwd=directory)
    rings(author, directory)


def test_source_in_the_home(author: Host) -> None:
    bell.write(Path(author.environment["HOME"]) / "bell")
    rings(author, "~/bell")


def test_a_prebuilt_object_is_not_built_here(author: Host, tmp_path: Path) -> None:
    """Packing an object vouches for nothing; only a host that made these bytes from source does."""
    _extract_object(author, tmp_path / "bell.bpf.o")
    other = Host(root=tmp_path / "other")
    refused = other.run("run", "./bell.bpf.o", ME, cwd=tmp_path, code=126)
    assert "bell.bpf.o is a prebuilt object: it was not compiled here" in refused.stderr
    assert f"bpfpack build -t bell:1 {tmp_path}/bell.bpf.o\n" in refused.stderr
    other.run("build", "-q", "-t", "bell:1", tmp_path / "bell.bpf.o")
    assert other.run("list", "-o", "json").json[0]["origin"] == "object"
    refused = other.run("run", "bell:1", ME, code=126)
    assert "bell:1 is a prebuilt object: it was not compiled here" in refused.stderr
    for told in ("bpfpack sign --as REGISTRY/bell:1 bell:1\n", "--insecure-skip-verify"):
        assert told in refused.stderr
    told = rings(other, "--insecure-skip-verify", tmp_path / "bell.bpf.o").stderr
    assert "RUNNING UNVERIFIED CODE" in told


def _extract_object(author: Host, where: Path) -> None:
    """The object out of the store, by its layer's digest."""
    layers = author.run("inspect", "-o", "json", "bell:1.9").json["layers"]
    (digest,) = [x["digest"] for x in layers if x["mediaType"].endswith("+elf")]
    (blob,) = (author.root / "data").rglob(digest.partition(":")[2])
    shutil.copy(blob, where)


@pytest.fixture
def archive(author: Host, pushed: str, tmp_path: Path) -> tuple[Path, str]:
    """A saved archive with its signatures, and its name."""
    path = tmp_path / "bell.tar"
    author.run("save", "-q", "-f", path, f"{pushed}:1.9")
    return path, f"{pushed}:1.9"


def test_an_archive(host: Host, author: Host, archive: tuple[Path, str]) -> None:
    """The name inside is for display: --as, a rule for the place, or a key is needed."""
    path, name = archive
    host.run("run", path, ME, code=126)
    rings(host, "--as", name, path)
    rings(host, "--key", author.root / "config" / "identity.pub", path)
    host.run(
        "trust",
        "add",
        f"file:{path.parent}",
        "--key",
        author.root / "config/identity.pub",
        "--unnamed",
    )
    rings(host, path)


def test_an_archive_is_judged_by_the_name_it_is_given(
    host: Host, archive: tuple[Path, str]
) -> None:
    path, name = archive
    refused = host.run("run", "--as", name.replace("/bell:1.9", "/other:1.9"), path, ME, code=126)
    assert "/bell:1.9" in refused.stderr


def test_stdin(host: Host, archive: tuple[Path, str]) -> None:
    path, name = archive
    rings(host, "--as", name, "-", stdin=path)
    host.run("run", "-", ME, stdin=path.read_bytes(), code=126)
    host.run("run", "--as", name, "-", stdin=b"junk", code=125)
    assert host.run("run", "--as", name, "-", stdin=path.read_bytes()[:5000], code=None).code in (
        125,
        126,
    )


def test_stdin_is_not_a_terminal(host: Host) -> None:
    with host.terminal("run", "-") as screen:
        assert screen.end() == 125
    assert "bpfpack save REF | bpfpack run -" in screen.shown


@contextmanager
def _https(directory: Path, tls: Certificates) -> Iterator[str]:
    handler = functools.partial(_Quiet, directory=str(directory))
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(tls.certificate, tls.key)
    server.socket = context.wrap_socket(server.socket, server_side=True)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield f"https://127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


class _Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, format: str, *args: object) -> None:
        """Nothing reads it."""


def test_a_url(author: Host, host: Host, archive: tuple[Path, str], tmp_path: Path) -> None:
    path, name = archive
    tls = make_ca(tmp_path / "pki", "127.0.0.1")
    with _https(path.parent, tls) as base:
        rings(host, "--ca-file", tls.ca, "--as", name, f"{base}/bell.tar")
        unknown = host.run("run", "--as", name, f"{base}/bell.tar", code=125)
        assert "certificate" in unknown.stderr.lower()
        missing = host.run("run", "--ca-file", tls.ca, "--as", name, f"{base}/no.tar", code=127)
        assert "404" in missing.stderr or "no.tar" in missing.stderr
        # A rule for where it lies.
        key = author.root / "config" / "identity.pub"
        host.run("trust", "add", f"{base}/", "--key", key, "--unnamed")
        rings(host, "--ca-file", tls.ca, f"{base}/bell.tar")


def test_pull_modes(author: Host, host: Host, pushed: str) -> None:
    tag = f"{pushed}:1.9"
    assert "not in the local store" in host.run("run", "--pull=never", tag, code=127).stderr
    assert "not in the local store" in host.run("run", "--no-pull", tag, code=127).stderr
    rings(host, "--pull=missing", tag)
    before = host.run("list", "-q", tag).stdout
    # The tag moves to something newer; only --pull always sees it.
    author.run("tag", "bell:1.10", tag)
    author.push("-q", tag)
    rings(host, tag)
    assert host.run("list", "-q", tag).stdout == before
    rings(host, "--pull=always", tag)
    assert host.run("list", "-q", tag).stdout != before


def test_pull_always_needs_the_registry(host: Host, pushed: str) -> None:
    """A registry that is gone: what is here runs, but never as an answer to --pull always."""
    tag = f"{pushed}:1.9"
    host.run("pull", "-q", tag)
    missing = tag.replace(tag.split("/")[0], "127.0.0.1:1")
    host.run("trust", "add", "127.0.0.1:1", "--host")
    assert host.run("run", "--pull=always", missing, code=125).stderr.startswith("error: ")


def test_nothing_there(host: Host, registry: RunningRegistry) -> None:
    for name in (f"{registry.host}/no/such", f"{registry.host}/no/such:1.0"):
        done = host.run("run", name, code=127)
        assert "Traceback" not in done.stderr


def test_the_examples_by_name(author: Host, tmp_path: Path) -> None:
    """opensnoop's options, against one process that opens what is there and what is not."""
    author.run("build", "-q", "-t", "opensnoop:1.0", REPO / "examples/opensnoop")
    there = tmp_path / "there"
    there.write_text("")
    with subprocess.Popen(
        ["sh", "-c", f"read go; : <{there}; : <{tmp_path}/missing; exit 0"], stdin=subprocess.PIPE
    ) as process:
        options = (f"--pid={process.pid}", "--failed", "--name=sh", f"--uid={os.geteuid()}")
        with author.started("run", "-o", "json", "opensnoop:1.0", *options) as running:
            running.until("^attached ", stderr=True)
            process.communicate(b"go\n")
            done = running.end(signal.SIGINT)
    (event,) = [e for e in done.lines if e["path"].startswith(str(tmp_path))]
    assert (event["path"], event["ret"], event["pid"]) == (
        f"{tmp_path}/missing",
        -errno.ENOENT,
        process.pid,
    )
