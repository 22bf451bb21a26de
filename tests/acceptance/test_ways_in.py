"""Attacks through what the user names: files, pipes, links, and a registry that keeps half.

Nothing here needs the kernel: what is accepted is only planned.
"""

import json
import os
import shutil
import tarfile
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
import requests

from tests.kit import bell
from tests.kit.bell import ME
from tests.kit.cli import Host
from tests.kit.hostile import Reply, Seen, listener
from tests.kit.servers import bpfpack_registry


@pytest.fixture(scope="module")
def author(tmp_path_factory: pytest.TempPathFactory) -> Host:
    root = tmp_path_factory.mktemp("author")
    made = Host(root=root)
    made.keygen()
    made.run("build", "-q", "-t", "bell:1", bell.write(root / "bell"))
    return made


@pytest.fixture
def archive(author: Host, tmp_path: Path) -> Path:
    author.run("save", "-q", "-f", tmp_path / "bell.tar", "bell:1")
    return tmp_path / "bell.tar"


@pytest.fixture
def host(author: Host, tmp_path: Path) -> Host:
    """Trusts whatever lies in one directory, only warning."""
    made = Host(root=tmp_path / "host")
    (tmp_path / "trusted").mkdir()
    key = author.root / "config" / "identity.pub"
    made.run("trust", "add", f"file:{tmp_path / 'trusted'}", "--key", key, "--level", "warn")
    return made


def planned(host: Host, *argv: str | Path, stdin: bytes | None = None) -> int:
    return host.run("run", "--dry-run", *argv, ME, stdin=stdin, code=None).code


def test_a_file_is_judged_by_where_it_lies(host: Host, archive: Path, tmp_path: Path) -> None:
    assert planned(host, archive) == 126
    shutil.copy(archive, tmp_path / "trusted" / "bell.tar")
    assert planned(host, tmp_path / "trusted" / "bell.tar") == 0
    (tmp_path / "link.tar").symlink_to(tmp_path / "trusted" / "bell.tar")
    assert planned(host, tmp_path / "link.tar") == 0


def test_a_pipe_lies_nowhere(host: Host, archive: Path, tmp_path: Path) -> None:
    """The path may lead to the trusted directory by the time that it is asked."""
    pipe, trusted = tmp_path / "p.tar", tmp_path / "trusted" / "bell.tar"
    shutil.copy(archive, trusted)
    os.mkfifo(pipe)

    def attack() -> None:
        with pipe.open("wb") as into:
            into.write(archive.read_bytes())
            (tmp_path / "swap").symlink_to(trusted)
            (tmp_path / "swap").rename(pipe)

    attacker = threading.Thread(target=attack)
    attacker.start()
    assert planned(host, pipe) == 126
    attacker.join()


def test_dev_stdin_is_stdin(host: Host, archive: Path) -> None:
    assert planned(host, "/dev/stdin", stdin=archive.read_bytes()) == 126


def test_a_prebuilt_object_is_vouched_for_by_nobody(
    host: Host, author: Host, tmp_path: Path
) -> None:
    blobs = (author.root / "data/store/blobs/sha256").iterdir()
    shutil.copy(max(blobs, key=lambda p: p.stat().st_size), tmp_path / "trusted" / "bell.o")
    assert planned(host, tmp_path / "trusted" / "bell.o") == 126


@pytest.mark.parametrize(
    ("argument", "code"),
    [
        ("./" + "a" * 300, 125),
        ("~nosuchuser/x", 127),
        ("./missing", 127),
        ("./\x01", 127),
        ("https://exa mple/x", 125),
        ("https://*.x/y", 125),
        ("http://example.test/x", 125),
        ("", 125),
    ],
)
def test_what_cannot_be_opened_is_said_in_one_line(host: Host, argument: str, code: int) -> None:
    done = host.run("run", argument, code=code)
    assert done.stderr.startswith("error: ") and "internal error" not in done.stderr


def test_an_empty_reference_to_be_judged_as_is_none(host: Host, archive: Path) -> None:
    host.run("run", "--as", "", archive, code=125)


def test_annotations_in_an_archive_are_not_kept(author: Host, host: Host, tmp_path: Path) -> None:
    """A hundred referrers with megabytes of annotations each would fill the memory."""
    place = tmp_path / "layout"
    author.run("save", "-q", "-f", tmp_path / "bell.tar", "bell:1")
    with tarfile.open(tmp_path / "bell.tar") as packed:
        packed.extractall(place)
    index = json.loads((place / "index.json").read_text())
    from bpfpack.registry.store.layout import Layout
    from bpfpack.spec import mediatypes
    from bpfpack.spec.descriptor import Descriptor
    from bpfpack.spec.manifest import build_manifest

    subject = Descriptor.from_dict(index["manifests"][0])
    empty = Descriptor.of(b"{}", mediatypes.EMPTY)
    about = build_manifest(
        artifact_type="text/plain",
        config=empty,
        layers=(),
        subject=subject,
        annotations={"a": "\N{BELL}" * 1000},
    )
    (place / "blobs/sha256" / about.descriptor.digest.encoded).write_bytes(about.raw)
    index["manifests"].append(about.descriptor.to_dict())
    (place / "index.json").write_text(json.dumps(index))
    with Layout.open(place) as layout:
        (found,) = layout.referrers()[subject.digest]
    assert found.digest == about.descriptor.digest
    assert not found.annotations


@pytest.mark.skipif(os.geteuid() != 0, reason="makes a link that belongs to somebody else")
def test_save_follows_no_link_of_somebody_else(author: Host, tmp_path: Path) -> None:
    target, link = tmp_path / "secret", tmp_path / "out.tar"
    target.write_text("mine")
    link.symlink_to(target)
    os.lchown(link, 65534, 65534)
    done = author.run("save", "-q", "-f", link, "bell:1", code=1)
    assert "a link that somebody else made" in done.stderr
    assert target.read_text() == "mine"


@pytest.fixture
def forgetful(tmp_path: Path) -> Iterator[str]:
    """A registry in front of ours that takes packages, and refuses every signature."""
    with bpfpack_registry(tmp_path / "registry") as real, listener() as front:

        def forward(seen: Seen) -> Reply:
            front.seen.append(seen)
            signature = seen.method == "PUT" and "/manifests/" in seen.target
            if signature and (".sig" in seen.target or b'"subject"' in seen.body):
                return Reply(status=403)
            given = requests.request(
                seen.method,
                real.url + seen.target,
                data=seen.body,
                headers={k: v for k, v in seen.headers.items() if k.lower().startswith("content-")},
                timeout=30,
                allow_redirects=False,
            )
            dropped = ("content-length", "connection", "date", "server")
            headers = {k: v for k, v in given.headers.items() if k.lower() not in dropped}
            if "Location" in headers:
                headers["Location"] = headers["Location"].replace(real.url, front.url)
            return Reply(status=given.status_code, headers=headers, body=given.content)

        vars(front)["answer"] = forward
        yield front.host


def test_push_fails_when_its_signature_did_not_arrive(author: Host, forgetful: str) -> None:
    author.run("tag", "bell:1", f"{forgetful}/x/bell:1")
    done = author.push("-q", f"{forgetful}/x/bell:1", code=5)
    assert "but not your signature" in done.stderr
    author.run("push", "-q", "--no-sign", f"{forgetful}/x/bell:1")
