"""Keys, packages and a repository in memory for the tests of trust; nothing here is mocked.

`vector_key` is the key of the byte vectors: its scalar is a hash of fixed text, and its
signatures are deterministic (RFC 6979), so that every byte below it can be written down.
"""

import hashlib
import io
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import cache

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives import serialization as s
from cryptography.hazmat.primitives.asymmetric import ec

from bpfpack.registry.trust.attach import Repository as AttachedTo
from bpfpack.registry.trust.attach import attach
from bpfpack.registry.trust.check import CryptographyCheck
from bpfpack.registry.trust.collect import collect
from bpfpack.registry.trust.keys import PrivateKey, generate
from bpfpack.registry.trust.sign import Signed, sign
from bpfpack.spec import mediatypes
from bpfpack.spec.bounded import Readable, check_bytes
from bpfpack.spec.config import Config
from bpfpack.spec.content import ReferrersUnsupported
from bpfpack.spec.descriptor import Descriptor
from bpfpack.spec.digest import Digest
from bpfpack.spec.errors import NotFound
from bpfpack.spec.manifest import Index, Manifest, build_index, parse
from bpfpack.spec.origin import Origin
from bpfpack.spec.package import Package, build_package
from bpfpack.spec.policy import Key, Policy
from bpfpack.spec.reference import Reference
from bpfpack.spec.signature import SignaturePlace, fallback_tag
from bpfpack.spec.trust import Mark, RemoteArtifact, VerifiedArtifact, admit
from bpfpack.spec.value import replace

_N = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551
NOW = datetime(2026, 11, 24, 12, 0, tzinfo=UTC)
REF = Reference.parse("ghcr.io/x/opensnoop:1.0")
CHECK = CryptographyCheck()


@cache
def vector_secret() -> ec.EllipticCurvePrivateKey:
    """The private key of the vectors."""
    digest = hashlib.sha256(b"bpfpack signing vector 1").digest()
    return ec.derive_private_key(int.from_bytes(digest) % _N, ec.SECP256R1())


def vector_key() -> PrivateKey:
    """The same, as a key that signs with random nonces."""
    return PrivateKey(vector_secret())


def vector_sign(data: bytes) -> bytes:
    """Sign with RFC 6979 nonces."""
    return vector_secret().sign(data, ec.ECDSA(hashes.SHA256(), deterministic_signing=True))


@cache
def key_of(name: str) -> PrivateKey:
    """One key for each name, made once a run."""
    return generate()


def trusted(name: str, **window: datetime) -> Key:
    """The public half of `key_of`, as a rule holds it."""
    return Key(name=name, pem=key_of(name).public_pem, **window)


def policy_for(scope: str, *names: str, **options: object) -> Policy:
    """A policy of one scope that trusts the keys of ``names``, by way of the parser."""
    keys: list[dict[str, object]] = [{"name": n, "pem": key_of(n).public_pem} for n in names]
    return Policy.from_dict({"version": 1, "scopes": {scope: {"keys": keys, **options}}})


def make_package(
    name: str = "opensnoop", content: bytes = b"\x7fELF one", *, version: str | None = None
) -> Package:
    """A package whose object need not be one: trust never looks inside."""
    return build_package(Config(name=name, version=version), content, file_name=f"{name}.o")


@dataclass(slots=True)
class MemoryRepository:
    """One repository in memory; attackers change it at will.

    ``broken`` maps a tag or a digest to the error that looking for it raises.
    """

    blobs: dict[Digest, bytes] = field(default_factory=dict)
    manifests: dict[Digest, bytes] = field(default_factory=dict)
    names: dict[str, Digest] = field(default_factory=dict)
    has_referrers: bool = True
    broken: dict[object, Exception] = field(default_factory=dict)
    before_put: Callable[[str | None], None] | None = None

    def resolve(self, name: str | Digest) -> Manifest | Index:
        self._fail(name)
        digest = name if isinstance(name, Digest) else self.names.get(name)
        if digest is None or digest not in self.manifests:
            raise NotFound(f"no {name}")
        raw = self.manifests[digest]
        found = parse(raw)
        check_bytes(raw, replace(found.descriptor, digest=digest))
        return found

    @contextmanager
    def fetch(self, want: Descriptor) -> Iterator[Readable]:
        self._fail(want.digest)
        if want.digest not in self.blobs:
            raise NotFound(f"no {want.digest}")
        yield io.BytesIO(self.blobs[want.digest])

    def referrers(self, subject: Digest) -> tuple[Descriptor, ...]:
        self._fail("referrers")
        if not self.has_referrers:
            raise ReferrersUnsupported("no referrers API", status=404)
        return tuple(self._children(subject))

    def tags(self) -> tuple[str, ...]:
        return tuple(sorted(self.names))

    def has(self, want: Descriptor) -> bool:
        return want.digest in self.blobs

    def push(self, want: Descriptor, source: Readable) -> None:
        self.blobs[want.digest] = check_bytes(source.read(want.size + 1), want)

    def put(self, manifest: Manifest | Index, tag: str | None = None) -> None:
        if self.before_put:
            self.before_put(tag)
        self.manifests[manifest.descriptor.digest] = manifest.raw
        if tag:
            self.names[tag] = manifest.descriptor.digest
        if manifest.subject and not self.has_referrers:
            subject = manifest.subject.digest
            self.put(build_index(tuple(self._children(subject))), fallback_tag(subject))

    def _children(self, subject: Digest) -> Iterator[Descriptor]:
        for raw in list(self.manifests.values()):
            found = parse(raw)
            if found.subject and found.subject.digest == subject:
                yield found.descriptor

    def _fail(self, name: object) -> None:
        if name in self.broken:
            raise self.broken[name]


def repository_with(package: Package, tag: str = "1.0") -> MemoryRepository:
    """A repository that holds one package."""
    repository = MemoryRepository(blobs=dict(package.blobs))
    repository.put(package.manifest, tag)
    return repository


def sign_into(
    repository: AttachedTo,
    subject: Descriptor,
    name: str = "alice",
    reference: Reference = REF,
    *,
    now: datetime = NOW - timedelta(days=1),
    lifetime: timedelta = timedelta(days=400),
) -> Signed:
    """Sign and attach in both forms."""
    signed = sign(subject, reference, key_of(name), now=now, lifetime=lifetime)
    attach(repository, signed)
    return signed


def origin_of(reference: Reference = REF) -> Origin:
    """A reference in a registry."""
    return Origin(kind="registry", reference=reference, location=str(reference))


def artifact_of(
    package: Package,
    places: tuple[SignaturePlace, ...],
    *,
    origin: Origin | None = None,
    index: Index | None = None,
) -> RemoteArtifact:
    """A package as it came from somewhere."""
    object_ = next(x for x in package.manifest.layers if x.media_type == mediatypes.OBJECT)
    return RemoteArtifact(
        origin=origin or origin_of(),
        manifest=package.manifest,
        index=index,
        config=package.blobs[package.manifest.config.digest],
        object=package.blobs[object_.digest],
        places=places,
    )


def signed_artifact(
    name: str = "alice", reference: Reference = REF, *, version: str | None = None
) -> RemoteArtifact:
    """The everyday case: one package, signed by one key for the name it is run under."""
    package = make_package(version=version)
    repository = repository_with(package)
    sign_into(repository, package.manifest.descriptor, name, reference)
    return artifact_of(package, collect(repository, package.manifest.descriptor))


@dataclass(slots=True)
class MemoryMarks:
    """High-water marks in memory."""

    held: dict[tuple[str, str], Mark] = field(default_factory=dict)

    def newest(self, repository: str, tag: str | None = None) -> Mark | None:
        if tag is not None:
            return self.held.get((repository, tag))
        found = (mark for mark in self.held.values() if mark.repository == repository)
        return max(found, key=lambda mark: mark.created, default=None)

    def tags(self, repository: str) -> tuple[str, ...]:
        return tuple(sorted(tag for name, tag in self.held if name == repository))

    def record(self, mark: Mark) -> None:
        self.held[mark.repository, mark.tag] = mark


def admitted(
    artifact: RemoteArtifact, policy: Policy, *, now: datetime = NOW, **options: object
) -> VerifiedArtifact:
    """Call `admit` with the real check, and no marks unless given."""
    keywords = {"marks": MemoryMarks(), **options}
    return admit(artifact, policy, CHECK, now=now, **keywords)  # type: ignore[arg-type]


def pkcs8_der(key: ec.EllipticCurvePrivateKey) -> bytes:
    """The key as unencrypted PKCS#8."""
    return key.private_bytes(s.Encoding.DER, s.PrivateFormat.PKCS8, s.NoEncryption())
