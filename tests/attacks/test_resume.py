"""Downloads that broke off go on in the next process, and what was kept of them is not believed."""

import os
import signal
import stat
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from bpfpack.registry import partial
from bpfpack.registry.partial import Partials
from bpfpack.spec import mediatypes
from bpfpack.spec.descriptor import Descriptor
from bpfpack.spec.errors import ContentError, TransportError
from bpfpack.spec.limits import LIMITS
from bpfpack.spec.value import replace
from tests.kit.cli import Host
from tests.kit.hostile import Listener, Reply, listener, ranged, serve
from tests.kit.packages import TINY_ELF, package

BIG = package("big", object_=TINY_ELF + os.urandom(3 << 20))
WANT = BIG.manifest.layers[0]
DATA = BIG.blobs[WANT.digest]
HALF = WANT.size // 2
PATH = f"/v2/x/blobs/{WANT.digest}"


@pytest.fixture
def registry() -> Iterator[Listener]:
    with listener() as found:
        serve(found, BIG, "1")
        yield found


@pytest.fixture
def host(tmp_path: Path) -> Host:
    return Host(root=tmp_path)


def kept(host: Host) -> Path:
    """The file that holds the beginning."""
    name = f"{WANT.digest.algorithm}-{WANT.digest.encoded}.part"
    return host.root / "cache" / "downloads" / name


def broken_off(registry: Listener, data: bytes = DATA) -> list[Reply]:
    """Half of it, promised whole, and then a refusal."""
    return [Reply(body=data[:HALF], length=WANT.size), Reply(status=403)]


def break_off(host: Host, registry: Listener, data: bytes = DATA) -> None:
    """Run a pull that fails half way through the object; the registry is honest afterwards."""
    registry.on("GET", PATH, broken_off(registry, data))
    host.run("pull", "-q", f"{registry.host}/x:1", code=5)
    assert kept(host).read_bytes() == data[:HALF]
    registry.on("GET", PATH, ranged(DATA))
    registry.seen.clear()


def ranges(registry: Listener) -> list[str | None]:
    """What part of the object each request asked for."""
    return [seen.headers.get("range") for seen in registry.requests("GET", str(WANT.digest))]


def check_pulled(host: Host, registry: Listener) -> None:
    host.run("pull", "-q", f"{registry.host}/x:1")
    out = host.root / "out.tar"
    host.run("save", "-f", out, f"{registry.host}/x:1")
    assert DATA in out.read_bytes()
    assert not kept(host).exists()


def test_the_next_process_goes_on(host: Host, registry: Listener) -> None:
    break_off(host, registry)
    status = kept(host).stat()
    assert stat.S_IMODE(status.st_mode) == 0o600
    assert stat.S_IMODE(kept(host).parent.stat().st_mode) == 0o700
    check_pulled(host, registry)
    assert ranges(registry) == [f"bytes={HALF}-"]


def test_after_a_kill(host: Host, registry: Listener) -> None:
    """SIGKILL leaves no time to put anything in order."""
    code = """
import os, signal, sys
from pathlib import Path
from bpfpack.registry.client.remote import RegistryClient
from bpfpack.registry.partial import Partials
from bpfpack.spec.descriptor import Descriptor
host, directory, digest, size, half = sys.argv[1:]
want = Descriptor.from_dict({"mediaType": "a/b", "digest": digest, "size": int(size)})
client = RegistryClient(lookup=lambda *_: None, partials=Partials(Path(directory)))
with client.repository(host, "x").fetch(want) as blob:
    left = int(half)
    while left:
        left -= len(blob.read(left))
    os.kill(os.getpid(), signal.SIGKILL)
"""
    arguments = [registry.host, str(kept(host).parent), str(WANT.digest), str(WANT.size), str(HALF)]
    done = subprocess.run([sys.executable, "-c", code, *arguments], check=False)
    assert done.returncode == -signal.SIGKILL
    assert kept(host).read_bytes() == DATA[:HALF]
    registry.seen.clear()
    check_pulled(host, registry)
    assert ranges(registry) == [f"bytes={HALF}-"]


def test_the_registry_may_not_know_ranges(host: Host, registry: Listener) -> None:
    break_off(host, registry)
    registry.on("GET", PATH, Reply(body=DATA))
    check_pulled(host, registry)


def test_what_was_kept_may_be_whole(host: Host, registry: Listener) -> None:
    """There is no range after the last byte: it is not asked for."""
    break_off(host, registry)
    kept(host).write_bytes(DATA)
    check_pulled(host, registry)
    assert ranges(registry) == []


@pytest.mark.parametrize(
    "junk",
    [b"\0" * HALF, b"\0" * WANT.size, DATA[:HALF] + b"\0", b"\0"],
    ids=["zeros", "zeros of the whole size", "one byte too many", "one byte"],
)
def test_a_beginning_that_is_another_blobs(host: Host, registry: Listener, junk: bytes) -> None:
    """Bad once is not bad for ever: it is thrown away, and all is asked for, in one command."""
    break_off(host, registry)
    kept(host).write_bytes(junk)
    check_pulled(host, registry)
    assert ranges(registry)[-1] is None


def test_a_registry_that_lied_first(host: Host, registry: Listener) -> None:
    break_off(host, registry, bytes(WANT.size))
    check_pulled(host, registry)


def test_a_registry_that_goes_on_lying(host: Host, registry: Listener) -> None:
    """The right beginning makes nothing right of the rest; nothing has the name."""
    break_off(host, registry)
    registry.on("GET", PATH, ranged(DATA[:HALF] + bytes(WANT.size - HALF)))
    host.run("pull", "-q", f"{registry.host}/x:1", code=6)
    assert not kept(host).exists()
    assert not list((host.root / "data").rglob(f"*{WANT.digest.encoded}*"))


def test_a_longer_file_than_the_blob_is_none_of_it(host: Host, registry: Listener) -> None:
    break_off(host, registry)
    kept(host).write_bytes(DATA + b"more")
    check_pulled(host, registry)
    assert ranges(registry) == [None]


@pytest.mark.parametrize("trap", ["symlink", "hardlink", "fifo", "foreign", "writable", "readable"])
def test_a_file_that_is_not_ours_is_not_used(
    host: Host, registry: Listener, trap: str, tmp_path: Path
) -> None:
    """Neither read, so that nobody chooses what we hash, nor written, nor removed."""
    break_off(host, registry)
    kept(host).unlink()
    victim = tmp_path / "victim"
    victim.write_bytes(DATA[:HALF])
    match trap:
        case "symlink":
            kept(host).symlink_to(victim)
        case "hardlink":
            kept(host).hardlink_to(victim)
        case "fifo":
            os.mkfifo(kept(host), 0o600)
        case _:
            kept(host).write_bytes(DATA[:HALF])
            kept(host).chmod({"writable": 0o620, "readable": 0o640}.get(trap, 0o600))
            if trap == "foreign":
                os.chown(kept(host), 65534, 65534)
    host.run("pull", "-q", f"{registry.host}/x:1")
    assert ranges(registry) == [None]
    assert victim.read_bytes() == DATA[:HALF]
    assert kept(host).is_symlink() or kept(host).exists()


def test_a_directory_that_others_can_write_is_not_used(host: Host, registry: Listener) -> None:
    break_off(host, registry)
    kept(host).parent.chmod(0o777)
    host.run("pull", "-q", f"{registry.host}/x:1")
    assert ranges(registry) == [None]


class TestPartials:
    """The directory itself."""

    @pytest.fixture
    def partials(self, tmp_path: Path) -> Partials:
        return Partials(tmp_path / "downloads")

    def begun(self, partials: Partials, number: int, size: int) -> Descriptor:
        """Leave the beginning of a blob there."""
        want = Descriptor.of(str(number).encode() * LIMITS.partial_least, "a/b")
        with pytest.raises(TransportError), partials.hold(want) as found:
            assert found is not None
            found.append(b"x" * size)
            raise TransportError("it broke off")
        return want

    def test_one_download_at_a_time(self, partials: Partials) -> None:
        want = self.begun(partials, 1, 10)
        with partials.hold(want) as first, partials.hold(want) as second:
            assert first is not None
            assert first.held == 10
            assert second is None
        assert partials.clear(time.time()).count == 0

    def test_what_ended_well_or_was_wrong_is_gone(self, partials: Partials) -> None:
        for error in (None, ContentError("another digest")):
            want = self.begun(partials, 1, 10)
            try:
                with partials.hold(want):
                    if error:
                        raise error
            except ContentError:
                assert error
            assert partials.clear(time.time(), dry_run=True).count == 0

    def test_small_and_immense_blobs_are_not_kept(self, partials: Partials) -> None:
        for size in (LIMITS.partial_least - 1, LIMITS.layer + 1):
            want = replace(Descriptor.of(b"", mediatypes.WASM), size=size)
            with partials.hold(want) as found:
                assert found is None

    def test_there_is_room_for_so_much(
        self, partials: Partials, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
    ) -> None:
        """The oldest go first; what a download holds stays."""
        least = LIMITS.partial_least
        monkeypatch.setattr(partial, "LIMITS", replace(LIMITS, partials=2 * least))
        wants = [self.begun(partials, n, least // 2) for n in range(3)]
        files = [tmp_path / "downloads" / f"sha256-{w.digest.encoded}.part" for w in wants]
        for age, file in zip((300, 200, 100), files, strict=True):
            os.utime(file, (time.time() - age,) * 2)
        with partials.hold(wants[0]):
            self.begun(partials, 4, 1)
            assert [f.exists() for f in files] == [True, False, True]

    def test_a_week_is_long_enough(self, partials: Partials, tmp_path: Path) -> None:
        want = self.begun(partials, 1, 10)
        file = tmp_path / "downloads" / f"sha256-{want.digest.encoded}.part"
        os.utime(file, (time.time() - 8 * 86400,) * 2)
        self.begun(partials, 2, 10)
        assert not file.exists()

    def test_more_than_the_blob_is_not_kept(self, partials: Partials) -> None:
        want = Descriptor.of(bytes(LIMITS.partial_least), "a/b")
        with partials.hold(want) as found:
            assert found is not None
            found.append(bytes(LIMITS.partial_least))
            found.append(b"one more than there may be")
            assert found.held == LIMITS.partial_least


def test_prune_takes_what_is_old(host: Host, registry: Listener) -> None:
    break_off(host, registry)
    assert "unfinished" not in host.run("prune", "--dry-run").stdout
    os.utime(kept(host), (time.time() - 2 * 3600,) * 2)
    assert "1 unfinished" in host.run("prune", "--dry-run").stdout
    assert kept(host).exists()
    host.run("prune", "--force")
    assert not kept(host).exists()
