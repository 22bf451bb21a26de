"""What tests of a lying registry share: one blob, one manifest, an impatient client."""

from collections.abc import Callable

from bpfpack.registry.client.remote import RemoteRepository
from bpfpack.registry.client.settings import Settings
from bpfpack.registry.client.wire import Credential
from bpfpack.spec import mediatypes
from bpfpack.spec.bounded import read_exactly
from bpfpack.spec.descriptor import Descriptor
from bpfpack.spec.digest import Digest
from bpfpack.spec.errors import NotFound
from bpfpack.spec.limits import LIMITS
from bpfpack.spec.manifest import Manifest, build_index, build_manifest, parse
from tests.kit.hostile import NOT_FOUND, Reply, Seen, json_reply, manifest_reply, ranged
from tests.kit.signing import MemoryRepository

USER = Credential(username="user", secret="s3cret-password")
EMPTY = Descriptor.of(b"{}", mediatypes.EMPTY)
BLOB = bytes(range(256)) * 4096  # 1 MiB
WANT = Descriptor.of(BLOB, mediatypes.WASM)
MANIFEST = build_manifest(artifact_type=mediatypes.ARTIFACT, config=EMPTY, layers=(WANT,))
QUICK = Settings(connect_timeout=1, read_timeout=0.3, deadline=5, attempts=3)
BASIC = Reply(status=401, headers={"WWW-Authenticate": 'Basic realm="r"'})


def fetched(repository: RemoteRepository, want: Descriptor = WANT) -> bytes:
    """Read a blob as every command does."""
    with repository.fetch(want) as source:
        return read_exactly(source, want, LIMITS.layer)


def blob_path(want: Descriptor = WANT) -> str:
    return f"/v2/x/blobs/{want.digest}"


def referrers_path() -> str:
    return f"/v2/x/referrers/{MANIFEST.descriptor.digest}"


def signature_for(subject: Manifest, kind: str = "a/sig") -> Manifest:
    """A referrer; each ``kind`` is another one."""
    return build_manifest(
        artifact_type=kind,
        config=EMPTY,
        layers=(EMPTY,),
        subject=subject.descriptor,
        annotations={"who": kind},
    )


def honest(repository: MemoryRepository) -> Callable[[Seen], Reply]:
    """Answer as a registry that keeps ``repository``, whatever an attacker has put there."""

    def answer(seen: Seen) -> Reply:
        _, _, kind, name = seen.target.partition("?")[0].rsplit("/", 3)
        try:
            match kind:
                case "manifests":
                    digest = Digest.parse(name) if ":" in name else repository.names[name]
                    raw = repository.manifests[digest]
                    return manifest_reply(raw, parse(raw).media_type)
                case "blobs":
                    return ranged(repository.blobs[Digest.parse(name)])(seen)
                case "referrers" if repository.has_referrers:
                    listed = build_index(repository.referrers(Digest.parse(name)))
                    return manifest_reply(listed.raw, mediatypes.INDEX)
                case "tags":
                    return json_reply({"name": "x", "tags": list(repository.tags())})
        except (KeyError, NotFound):
            return NOT_FOUND
        return NOT_FOUND

    return answer
