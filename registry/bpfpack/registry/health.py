"""Whether the directories, the store and the trust of this user can be used."""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from bpfpack.registry.owned import OwnedDir
from bpfpack.registry.paths import Dirs
from bpfpack.registry.store.disk import DiskStore
from bpfpack.registry.trust.hostkey import HostKey
from bpfpack.registry.trust.keyfiles import IDENTITY, find_private
from bpfpack.spec.errors import BpfpackError
from bpfpack.spec.finding import Finding
from bpfpack.spec.policy import Policy

#: Room for a handful of packages and what is written beside them.
_LITTLE: Final = 64 * 1024 * 1024


def findings(dirs: Dirs, policy: Policy) -> Iterator[Finding]:
    """Examine one user's files; never raises for what is on the disk."""
    for name in ("config", "data", "state", "cache"):
        yield _directory(f"{name} directory", getattr(dirs, name))
    yield _store(dirs)
    yield _space(dirs)
    yield _policy(policy)
    yield _identity(dirs)
    yield _host_key(dirs)


def _directory(part: str, path: Path) -> Finding:
    try:
        directory = OwnedDir.find(path)
    except BpfpackError as e:
        return Finding.failed(part, str(e), e.hint or f"make {path} yours alone")
    if directory is None:
        return Finding.ok(part, f"{path} (made when needed)")
    directory.close()
    if os.access(path, os.W_OK):
        return Finding.ok(part, str(path))
    return Finding.failed(part, f"{path} cannot be written", "free or remount its file system")


def _store(dirs: Dirs) -> Finding:
    try:
        count = sum(1 for _ in DiskStore(dirs.store).records())
    except BpfpackError as e:
        return Finding.failed("store", str(e), e.hint or f"see {dirs.store}")
    return Finding.ok("store", f"{count} packages in {dirs.store}")


def _space(dirs: Dirs) -> Finding:
    place = dirs.store
    while not place.exists():
        place = place.parent
    status = os.statvfs(place)
    free = status.f_bavail * status.f_frsize
    if free < _LITTLE or (status.f_files and not status.f_favail):
        return Finding.failed(
            "space", f"{free >> 20} MiB free for the store",
            "free some space; `bpfpack prune` removes what no name refers to",
        )  # fmt: skip
    return Finding.ok("space", f"{free >> 20} MiB free for the store")


def _policy(policy: Policy) -> Finding:
    if policy.problem:
        return Finding.failed(
            "policy", f"{policy.problem}: nothing may run", "mend the file, or move it away"
        )
    if not policy.scopes:
        return Finding.warning(
            "policy",
            "no rule: nothing may run but what was built here",
            "bpfpack trust add ghcr.io/x --key x.pub",
        )
    return Finding.ok("policy", f"{len(policy.scopes)} rules")


def _identity(dirs: Dirs) -> Finding:
    try:
        directory = OwnedDir.find(dirs.config)
        if directory is not None:
            with directory:
                if find_private(directory, IDENTITY) is not None:
                    return Finding.ok("identity", str(dirs.config / IDENTITY))
    except BpfpackError as e:
        return Finding.failed("identity", str(e), e.hint or "make the key file yours alone")
    return Finding.ok("identity", "none; `bpfpack keygen` makes one to sign with")


def _host_key(dirs: Dirs) -> Finding:
    try:
        there = HostKey(dirs.state).usable()
    except BpfpackError as e:
        cure = "move it away: the next build makes another, and what it vouched for is built anew"
        return Finding.failed("host key", str(e), e.hint or cure)
    return Finding.ok("host key", "in use" if there else "none; the first build makes it")
