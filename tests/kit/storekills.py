"""Kills a writer of the local store before each change that it makes, one after the other.

Run as ``python -m tests.kit.storekills DIRECTORY`` in a process of its own, since it forks
and an audit hook can never be taken off again.  Prints how many kills the store survived.
"""

import contextlib
import os
import signal
import sys
from pathlib import Path
from typing import Any

from bpfpack.registry.store.disk import DiskStore
from bpfpack.spec.bounded import read_exactly
from bpfpack.spec.errors import NotFound
from bpfpack.spec.limits import LIMITS
from bpfpack.spec.manifest import Manifest
from bpfpack.spec.package import children
from bpfpack.spec.reference import Reference
from bpfpack.spec.signature import legacy_tag
from tests.kit.packages import artifact, fill, package, signature_image

_OPERATIONS = frozenset({"os.rename", "os.mkdir", "os.rmdir", "os.remove", "os.utime"})
_WRITES = os.O_WRONLY | os.O_RDWR
_OLD, _NEW = package("old"), package("new")
_MOVED, _ADDED = Reference.parse("r.example/moved:1"), Reference.parse("r.example/added:1")
_REMOVED = Reference.parse("r.example/removed:1")


def main(root: Path) -> int:
    """Kill at operation 1, 2, 3 ... until the work gets done before."""
    store = DiskStore(root)
    _reset(store)
    kills = 0
    while _killed(store, at=kills + 1):
        kills += 1
        _check(store)
        _reset(store)
    _check(store)
    assert store.resolve(_MOVED) == _NEW.manifest
    print(kills)
    return 0


def _reset(store: DiskStore) -> None:
    """Go on after a kill as any next command would; what this acknowledges must stay."""
    fill(store.repository(_MOVED.name), _OLD, _MOVED.tag)
    fill(store.repository(_REMOVED.name), _OLD, _REMOVED.tag)
    with contextlib.suppress(NotFound):
        store.remove(_ADDED)
    store.prune(grace=-1)
    assert store.resolve(_MOVED) == _OLD.manifest


def _work(store: DiskStore) -> None:
    for reference in (_ADDED, _MOVED):
        fill(store.repository(reference.name), _NEW, reference.tag)
    described = _NEW.manifest.descriptor
    repository = store.repository(_ADDED.name)
    fill(repository, artifact(b"bundle", subject=described))
    fill(repository, signature_image((b"payload", "first")), legacy_tag(described.digest))
    fill(repository, signature_image((b"payload", "second")), legacy_tag(described.digest))
    store.remove(_REMOVED)
    store.prune(grace=-1)


def _killed(store: DiskStore, *, at: int) -> bool:
    pid = os.fork()
    if pid == 0:
        left = at

        def hook(event: str, args: tuple[Any, ...]) -> None:
            nonlocal left
            if event in _OPERATIONS or (event == "open" and args[2] & _WRITES):
                left -= 1
                if left == 0:
                    os.kill(os.getpid(), signal.SIGKILL)

        sys.addaudithook(hook)
        status = 1
        try:
            _work(store)
            status = 0
        finally:
            if status:
                sys.excepthook(*sys.exc_info())
            os._exit(status)  # this process must not go on with what its parent does
    _, status = os.waitpid(pid, 0)
    assert os.WIFSIGNALED(status) or os.WEXITSTATUS(status) == 0
    return os.WIFSIGNALED(status)


def _check(store: DiskStore) -> None:
    """What is named is whole; what was acknowledged is what it was, or what replaced it."""
    named = {record.reference: store.resolve(record.reference) for record in store.records()}
    assert named[_MOVED] in (_OLD.manifest, _NEW.manifest)
    assert named.get(_ADDED) in (None, _NEW.manifest)
    assert named.get(_REMOVED) in (None, _OLD.manifest)
    repository = store.repository(_ADDED.name)
    described = _NEW.manifest.descriptor
    whole = [
        *named.values(),
        *(repository.resolve(d.digest) for d in repository.referrers(described.digest)),
    ]
    with contextlib.suppress(NotFound):
        whole.append(repository.resolve(legacy_tag(described.digest)))
    for content in whole:
        assert isinstance(content, Manifest)
        for want in children(content):
            with repository.fetch(want) as stream:
                read_exactly(stream, want, LIMITS.layer)


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
