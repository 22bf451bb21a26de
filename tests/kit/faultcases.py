"""What is put under `faults`: commands that write, and all that can be seen of what they wrote."""

import os
import shutil
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from bpfpack.cli.guard import guarded
from bpfpack.registry.archiving import save
from bpfpack.registry.client import credentials
from bpfpack.registry.client.remote import RegistryClient
from bpfpack.registry.store.archive import ArchiveWriter
from bpfpack.registry.store.disk import DiskStore, LocalRepository
from bpfpack.registry.store.layout import Layout
from bpfpack.registry.transfer import copy
from bpfpack.registry.trust import keys, policyfile
from bpfpack.registry.trust.hostkey import HostKey
from bpfpack.registry.trust.marks import MarkFiles
from bpfpack.spec.bounded import read_exactly
from bpfpack.spec.digest import Digest
from bpfpack.spec.errors import NotFound
from bpfpack.spec.judgement import Mark
from bpfpack.spec.limits import LIMITS
from bpfpack.spec.manifest import Manifest
from bpfpack.spec.package import children
from bpfpack.spec.reference import Reference
from bpfpack.spec.signature import legacy_tag
from tests.kit import bell
from tests.kit.cli import PASSWORD, Host
from tests.kit.packages import artifact, fill, package, signature_image
from tests.kit.signing import key_of

OLD, NEW = package("old"), package("new")
#: Large enough for its download to go on where one was killed.
LARGE = package("large", object_=bytes(LIMITS.partial_least + 1))
KEPT, MOVED, GONE = (Reference.parse(f"r.example/{name}:1") for name in ("kept", "moved", "gone"))
_BUILT: Final = package("built").manifest.descriptor.digest
BELL: Final = "r.example/bell:1"


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """One command that writes.

    ``prepare`` adds to the host that `make_host` made; ``again`` are the codes that the same
    command may end with after it had its effect; ``apart`` is what a kill may keep from a thing
    that is whole without it.  Without ``repeats`` doing it twice gives more than doing it once.
    """

    name: str
    argv: tuple[str, ...]
    prepare: Callable[..., None] = lambda host, *registry: None
    again: tuple[int, ...] = (0,)
    apart: frozenset[str] = frozenset()
    repeats: bool = True
    environ: Mapping[str, str] = field(default_factory=dict)
    stdin: str | None = None
    #: Of no or one registry that the case talks to, by ``{registry}`` in ``argv``.
    registry: tuple[str, ...] = ()

    def at(self, registry: str) -> "Case":
        """The same case with the address of a registry in it."""
        argv = tuple(word.replace("{registry}", registry) for word in self.argv)
        return replace(self, argv=argv, registry=(registry,) if argv != self.argv else ())


def make_host(root: Path) -> Host:
    """A user with two packages, one of them signed, a rule and a credential."""
    root.mkdir()
    host = Host(root=root)
    store = store_of(host)
    for reference, content in ((KEPT, OLD), (MOVED, OLD), (GONE, NEW)):
        fill(store.repository(reference.name), content, reference.tag)
    _sign(store.repository(KEPT.name), OLD.manifest)
    public = root / "alice.pub"
    public.write_text(key_of("alice").public_pem)
    (root / "signer.key").write_bytes(keys.plain_pem(key_of("alice")))
    (root / "signer.key").chmod(0o600)
    (root / "password").write_text("secret\n")
    host.run("trust", "add", "r.example/kept", "--key", public)
    credentials_file(host).parent.mkdir()
    credentials_file(host).write_text(
        '{"auths": {"other.example": {"auth": "dTpw"}, "third.example": {}}, "x": 1}'
    )
    credentials_file(host).chmod(0o600)
    for name in ("tmp", "cache", "state"):
        (root / name).mkdir(mode=0o700)
    return host


def store_of(host: Host) -> DiskStore:
    """The host's local store."""
    return DiskStore(host.root / "data/store")


def credentials_file(host: Host) -> Path:
    """Where the host's `login` writes."""
    return host.root / "docker/config.json"


def _sign(repository: LocalRepository, subject: Manifest) -> None:
    described = subject.descriptor
    fill(repository, artifact(b"bundle", subject=described))
    fill(repository, signature_image((b"payload", "s")), legacy_tag(described.digest))


def archive(host: Host, path: str = "in.tar") -> None:
    """An archive of two signed packages, one under a name that the store has already."""
    other = DiskStore(host.root / "other")
    added = Reference.parse("r.example/added:1")
    for reference in (MOVED, added):
        fill(other.repository(reference.name), NEW, reference.tag)
        _sign(other.repository(reference.name), NEW.manifest)
    with ArchiveWriter() as writer:
        save(other, [MOVED, added], writer)
        writer.save(host.root / path)
    shutil.rmtree(other.root)


def garbage(host: Host) -> None:
    """Content without a name, and all of the store two hours old."""
    store = store_of(host)
    store.remove(GONE)
    _sign(store.repository("r.example/nothing"), NEW.manifest)
    age(host)


def pushed(host: Host, registry: str) -> None:
    """A signed package at a registry, with a large object; here the name is of an older one."""
    reference = Reference.parse(f"{registry}/moved:1")
    other = DiskStore(host.root / "other")
    fill(other.repository(reference.name), LARGE, reference.tag)
    _sign(other.repository(reference.name), LARGE.manifest)
    assert reference.registry
    with RegistryClient() as client:
        copy(
            other.repository(reference.name),
            client.repository(reference.registry, reference.repository),
            "1",
            "1",
        )
    shutil.rmtree(other.root)
    fill(store_of(host).repository(reference.name), OLD, reference.tag)


def runnable(host: Host) -> None:
    """A package that a kernel takes, signed by a key that a rule trusts."""
    bell.write(host.root / "bell")
    host.run("build", "-q", "-t", BELL, "bell")
    host.run("sign", "--key", "signer.key", BELL)
    host.run("trust", "add", "r.example/bell", "--key", "alice.pub")


def age(host: Host) -> None:
    """Make everything on a host two hours old, as if no command ran since."""
    then = time.time() - 7200
    for path in host.root.rglob("*"):
        if not path.is_symlink():
            os.utime(path, (then, then))


def endorse(state: str) -> int:
    """Vouch for a digest, as `build` does; for `faultserver`."""
    return _guarded(lambda: HostKey(Path(state).absolute()).endorse(_BUILT))


def mark(state: str) -> int:
    """Raise the high-water mark of a tag, as `run` does; for `faultserver`."""
    return _guarded(lambda: MarkFiles(Path(state).absolute()).record(_mark(2)))


def _guarded(work: Callable[[], None]) -> int:
    def command() -> int:
        work()
        return 0

    return guarded(command)


def _mark(day: int) -> Mark:
    return Mark(
        repository=KEPT.name,
        tag="1",
        created=datetime(2026, 11, day, tzinfo=UTC),
        digest=OLD.manifest.descriptor.digest,
    )


#: Those that need a kernel and a compiler.
KERNEL_CASES: Final = (
    Case(name="run", argv=("run", "--dry-run", BELL), prepare=runnable),
    Case(name="build", argv=("build", "-q", "-t", BELL, "bell"), prepare=runnable),
)
_HERE: Final = "tests.kit.faultcases"
CASES: Final = (
    Case(name="load", argv=("load", "-f", "in.tar"), prepare=archive),
    Case(name="load-pipe", argv=("load",), prepare=archive, stdin="in.tar"),
    Case(name="tag", argv=("tag", str(KEPT), "other.example/copy:1")),
    Case(name="rmi", argv=("rmi", str(GONE), str(MOVED)), again=(0, 4)),
    Case(name="prune", argv=("prune", "--force"), prepare=garbage),
    Case(
        name="save",
        argv=("save", "-f", "out.tar", str(KEPT)),
        prepare=lambda host: archive(host, "out.tar"),
    ),
    Case(name="sign", argv=("sign", "--key", "signer.key", str(KEPT)), repeats=False),
    Case(name="pull", argv=("pull", "{registry}/moved:1"), prepare=pushed),
    Case(
        name="login",
        argv=("login", "{registry}", "-u", "me", "--password-stdin"),
        stdin="password",
    ),
    Case(
        name="trust-add",
        argv=("trust", "add", "r.example/more", "--key", "alice.pub"),
        again=(0, 3),
    ),
    Case(name="trust-rm", argv=("trust", "rm", "r.example/kept"), again=(0, 4)),
    Case(name="logout", argv=("logout", "other.example")),
    Case(
        name="keygen",
        argv=("keygen",),
        environ={"BPFPACK_PASSWORD": PASSWORD},
        again=(0, 2),
        apart=frozenset({"identity.pub"}),
    ),
    Case(name="host-key", argv=(f"{_HERE}:endorse", "state")),
    Case(
        name="mark",
        argv=(f"{_HERE}:mark", "state"),
        prepare=lambda host: MarkFiles(host.root / "state").record(_mark(1)),
    ),
)


def facts(host: Host) -> dict[str, str]:
    """Everything that a host holds, each thing whole; fails where something is not."""
    return {
        **_packages(store_of(host)),
        **_rules(host.root / "config"),
        **_keys(host.root / "config"),
        **_state(host.root / "state"),
        **_archives(host.root),
        **{f"login {name}": "is there" for name in _logins(host)},
    }


def _packages(store: DiskStore) -> dict[str, str]:
    found = {}
    for record in store.records():
        reference, content = record.reference, store.resolve(record.reference)
        repository, digest = store.repository(reference.name), content.descriptor.digest
        _whole(repository, content.descriptor.digest)
        found[f"package {reference}"] = str(digest)
        found[f"bundles {reference.name} {digest}"] = str(
            sum(_whole(repository, d.digest) for d in repository.referrers(digest))
        )
        try:
            signatures = repository.resolve(legacy_tag(digest))
        except NotFound:
            continue
        found[f"signatures {reference.name} {digest}"] = str(
            _whole(repository, signatures.descriptor.digest)
        )
    return found


def _whole(repository: LocalRepository, digest: Digest) -> int:
    """Read a manifest and all that it names; returns how many layers it has."""
    content = repository.resolve(digest)
    assert isinstance(content, Manifest)
    for want in children(content):
        with repository.fetch(want) as stream:
            read_exactly(stream, want, LIMITS.layer)
    return len(content.layers)


def _rules(config: Path) -> dict[str, str]:
    return {
        f"rule {scope.name}": ", ".join(str(key) for key in scope.keys)
        for scope in policyfile.read(config).scopes.values()
    }


def _keys(config: Path) -> dict[str, str]:
    found = {}
    for path in (config / "identity.key", config / "identity.pub"):
        if path.exists():
            assert path.read_text().rstrip().endswith("KEY-----"), f"{path} is half a key"
            found[path.name] = "whole"
    return found


def _state(state: Path) -> dict[str, str]:
    found = {}
    host_key = HostKey(state)
    if host_key.built_here(_BUILT):
        found["built"] = "here"
    else:
        assert host_key.place(_BUILT).state == "absent" or host_key.public_pem() is None
    for name in (KEPT.name, BELL.removesuffix(":1")):
        if newest := MarkFiles(state).newest(name, "1"):
            found[f"mark {name}"] = str(newest.created)
    return found


def _archives(root: Path) -> dict[str, str]:
    path = root / "out.tar"
    if not path.exists():
        return {}
    with Layout.open(path) as layout:
        for entry in layout.packages():
            content = layout.manifest(entry.descriptor.digest)
            assert isinstance(content, Manifest)
            for want in children(content):
                with layout.open_blob(want) as stream:
                    read_exactly(stream, want, LIMITS.layer)
        return {"archive": ", ".join(sorted(str(e.name) for e in layout.packages()))}


def _logins(host: Host) -> list[str]:
    config = credentials.load(credentials_file(host))
    assert config["x"] == 1, "what is none of ours is lost"
    return sorted(config["auths"])


def files(host: Host) -> set[str]:
    """Every file, by its path."""
    found = (path for path in host.root.rglob("*") if not path.is_dir())
    return {str(path.relative_to(host.root)) for path in found}
