"""Mutated archives through ``load``, ``inspect`` and ``run --dry-run``: an exit code and a message.

Most damage is done to one document or object, and the digests above it are made right again:
otherwise everything would end at the first of them.  Workers are forks, so that what kills one
is seen; each archive has a number, and the same number gives the same archive.
"""

import contextlib
import functools
import gzip
import hashlib
import io
import json
import os
import resource
import shutil
import signal
import sys
import tarfile
import traceback
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from bpfpack.cli import entry
from tests.fuzz.mutation import Mutator
from tests.kit import bell
from tests.kit.cli import PASSWORD, REPO, Host

NAME: Final = "fuzzed:1"
_SECONDS: Final = 30
_MEMORY: Final = 3 << 30
_BLOCK: Final = 512


@dataclass(frozen=True, slots=True, kw_only=True)
class Sample:
    """A good archive, taken apart: the documents on the way from the index to the object."""

    files: dict[str, bytes]
    manifest: str
    config: str
    object: str
    signatures: tuple[str, ...]

    @classmethod
    def of(cls, path: Path) -> "Sample":
        """Take an archive of one package apart."""
        with tarfile.open(path) as tar:
            files = {m.name: tar.extractfile(m).read() for m in tar if m.isfile()}  # type: ignore[union-attr]
        listed = json.loads(files["index.json"])["manifests"]
        found = {
            _path(entry["digest"]): json.loads(files[_path(entry["digest"])]) for entry in listed
        }
        (main,) = (p for p, m in found.items() if m.get("artifactType", "").endswith("package.v1"))
        layers = {layer["mediaType"]: _path(layer["digest"]) for layer in found[main]["layers"]}
        return cls(
            files=files,
            manifest=main,
            config=_path(found[main]["config"]["digest"]),
            object=layers["application/vnd.bpfpack.object.v1+elf"],
            signatures=tuple(p for p in found if p != main),
        )


@dataclass(kw_only=True)
class Result:
    """What came of some archives: exit codes by command, and what must never be."""

    codes: Counter[str] = field(default_factory=Counter)
    faults: list[str] = field(default_factory=list)


def samples(directory: Path) -> list[Path]:
    """Build, sign and save packages whose archives are then mutated."""
    host = Host(root=directory)
    host.keygen()
    bell.write(directory / "bell")
    made = []
    for name, source in (
        ("bell", directory / "bell"),
        ("opensnoop", REPO / "examples/opensnoop"),
        ("softirqs", REPO / "examples/softirqs"),
    ):
        reference = f"r.example/{name}:1"
        host.run("build", "-q", "-t", reference, source)
        host.run("sign", reference, env={"BPFPACK_PASSWORD": PASSWORD})
        host.run("save", "-q", "-f", f"{name}.tar", reference)
        made.append(directory / f"{name}.tar")
    return made


def archive(sample: Sample, mutator: Mutator) -> bytes:
    """Return one mutated archive."""
    files = dict(sample.files)
    what = mutator.choose(_KINDS)
    if what in ("bytes", "blocks", "gzip"):
        return _container(tar_of(files), mutator, what)
    if what == "index":
        files["index.json"] = mutator.document(files["index.json"])
    elif what == "lost":
        del files[mutator.choose(sorted(files))]
    else:
        path = mutator.choose(sample.signatures) if what == "signature" else getattr(sample, what)
        change = mutator.object if what == "object" else mutator.document
        _change(files, path, change)
    return tar_of(files)


# As often as there is to find.
_KINDS: Final = (
    *("bytes", "blocks", "gzip", "lost", "index", "index", "signature"),
    *("manifest",) * 3,
    *("config",) * 5,
    *("object",) * 7,
)


def _change(files: dict[str, bytes], path: str, change: Callable[[bytes], bytes]) -> None:
    """Change a file, and make every digest and size that named it right again."""
    data = change(files.pop(path))
    new = f"blobs/sha256/{hashlib.sha256(data).hexdigest()}"
    files[new] = data
    old_digest, new_digest = _digest(path), _digest(new)
    for other in list(files):
        if other == new or old_digest.encode() not in files.get(other, b""):
            continue  # or it went when something below it was made right
        with contextlib.suppress(ValueError):
            document = _renamed(json.loads(files[other]), old_digest, new_digest, len(data))
            text = json.dumps(document, separators=(",", ":")).encode()
            if other == "index.json":
                files[other] = text
            else:
                _change(files, other, functools.partial(_first, text))


def _first(new: bytes, _: bytes) -> bytes:
    return new


def _renamed(value: Any, old: str, new: str, size: int) -> Any:
    if isinstance(value, list):
        return [_renamed(item, old, new, size) for item in value]
    if not isinstance(value, dict):
        return new if value == old else value
    found = {key: _renamed(item, old, new, size) for key, item in value.items()}
    if value.get("digest") == old and "size" in value:
        found["size"] = size
    return found


def _container(data: bytes, mutator: Mutator, what: str) -> bytes:
    if what == "gzip":
        packed = gzip.compress(data, 1, mtime=0)
        return mutator.cut(packed) if mutator.chance() < 0.3 else mutator.bytes_(packed)
    if what == "bytes":
        return mutator.cut(data) if mutator.chance() < 0.2 else mutator.bytes_(data)
    blocks = [data[i : i + _BLOCK] for i in range(0, len(data), _BLOCK)]
    headers = [i for i, block in enumerate(blocks) if block[257:262] == b"ustar"]
    at = mutator.choose(headers)
    header = bytearray(blocks[at])
    start, end = mutator.choose(
        ((0, 100), (100, 124), (124, 136), (156, 157), (157, 257), (345, 500))
    )
    header = bytearray(mutator.bytes_(bytes(header), (start, end))[:_BLOCK].ljust(_BLOCK, b"\0"))
    if mutator.chance() < 0.2:
        header[156:157] = mutator.choose(
            (b"1", b"2", b"3", b"5", b"6", b"x", b"g", b"L", b"K", b"S")
        )
    header[148:156] = b" " * 8
    header[148:156] = b"%06o\0 " % sum(header)
    blocks[at] = bytes(header)
    if mutator.chance() < 0.3:
        other = mutator.choose(headers)
        blocks[at], blocks[other] = blocks[other], blocks[at]
    return b"".join(blocks)


def tar_of(files: dict[str, bytes]) -> bytes:
    """Pack files as they are."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=tarfile.USTAR_FORMAT) as tar:
        for name in sorted(files):
            info = tarfile.TarInfo(name)
            info.size = len(files[name])
            tar.addfile(info, io.BytesIO(files[name]))
    return out.getvalue()


def _path(digest: str) -> str:
    return f"blobs/{digest.replace(':', '/')}"


def _digest(path: str) -> str:
    return path.removeprefix("blobs/").replace("/", ":")


def commands(path: Path, mutator: Mutator) -> Iterator[tuple[str, list[str]]]:
    """The command lines that an archive goes through."""
    yield "load", ["load", "-q", "-f", str(path), "-t", NAME]
    yield "inspect", ["inspect", *mutator.choose(([], ["-o", "json"])), NAME]
    skip = ["--insecure-skip-verify"] if mutator.chance() < 0.7 else []
    yield "run", ["run", "--dry-run", *skip, str(path)]


class Worker:
    """Takes every ``step``-th archive in a fork and tells what came of it."""

    def __init__(self, directory: Path, found: list[Sample], seed: str) -> None:
        self._directory, self._samples, self._seed = directory, found, seed
        self._stderr = os.dup(2)  # where a fault of the worker itself is told

    def start(self, numbers: range) -> tuple[int, int]:
        """Return the fork's process id, and where its lines come from."""
        read, write = os.pipe()
        pid = os.fork()
        if pid:
            os.close(write)
            return pid, read
        code = 1
        try:
            os.close(read)
            self._work(numbers, write)
            code = 0
        except BaseException:  # noqa: BLE001 - it must not go on with what its parent does
            os.write(self._stderr, traceback.format_exc().encode())
        finally:
            os._exit(code)

    def _work(self, numbers: range, out: int) -> None:
        home = self._directory / f"worker{numbers.start % numbers.step}"
        host = Host(root=home)
        home.mkdir(exist_ok=True)
        os.environ.clear()
        os.environ.update(host.environment)
        log = os.open(home / "log", os.O_RDWR | os.O_CREAT | os.O_TRUNC)
        null = os.open(os.devnull, os.O_RDONLY)
        for old, new in ((null, 0), (log, 1), (log, 2)):
            os.dup2(old, new)
        resource.setrlimit(resource.RLIMIT_AS, (_MEMORY, _MEMORY))
        for number in numbers:
            shutil.rmtree(home / "data", ignore_errors=True)
            mutator = Mutator(f"{self._seed}:{number}")
            path = home / "fuzzed.tar"
            path.write_bytes(archive(mutator.choose(self._samples), mutator))
            for name, argv in commands(path, mutator):
                os.write(out, json.dumps([number, name, self._run(argv, log)]).encode() + b"\n")

    def _run(self, argv: list[str], log: int) -> Any:
        """Return the exit code, or what was said that must not be."""
        os.ftruncate(log, 0)
        os.lseek(log, 0, os.SEEK_SET)
        signal.signal(signal.SIGALRM, signal.SIG_DFL)
        signal.alarm(_SECONDS)
        try:
            code = entry(argv)
        except BaseException as e:  # noqa: BLE001 - whatever it is, it is to be told
            return f"{type(e).__name__}: {e}"
        finally:
            signal.alarm(0)
        sys.stdout.flush()
        sys.stderr.flush()
        said = os.pread(log, 1 << 20, 0)
        if b"internal error" in said or b"Traceback" in said or b"\x1b" in said:
            return said.decode(errors="replace")[-600:]
        return int(code)


def fuzz(
    directory: Path, count: int, *, seed: str = "1", first: int = 0, workers: int = 2
) -> Result:
    """Run ``count`` archives from number ``first`` on."""
    found = [Sample.of(path) for path in samples(directory)]
    worker, result = Worker(directory, found, seed), Result()
    numbers = [range(first + i, first + count, workers) for i in range(workers)]
    started = [worker.start(each) for each in numbers if each]
    for (pid, pipe), each in zip(started, numbers, strict=False):
        with os.fdopen(pipe, "rb") as lines:
            last = _gather(lines.readlines(), result)
        _, status = os.waitpid(pid, 0)
        if status:
            told = os.waitstatus_to_exitcode(status)
            result.faults.append(f"a worker for {each} ended with {told} after {last}")
    return result


def _gather(lines: list[bytes], result: Result) -> object:
    last = None
    for line in lines:
        last = json.loads(line)
        number, name, told = last
        if isinstance(told, int):
            result.codes[f"{name} {told}"] += 1
        else:
            result.faults.append(f"{number}: {name}: {told}")
    return last
