"""What a registry answered, checked before anybody believes it."""

from typing import Any

from bpfpack.registry.client.wire import Answer
from bpfpack.spec import fields, mediatypes, strictjson
from bpfpack.spec.content import ReferrersUnsupported
from bpfpack.spec.descriptor import Descriptor
from bpfpack.spec.digest import Digest
from bpfpack.spec.errors import DigestMismatch, SpecError, TransportError
from bpfpack.spec.limits import LIMITS
from bpfpack.spec.manifest import Index, Manifest, parse
from bpfpack.spec.safetext import printable

_SHOWN = 80


def read_manifest(answer: Answer, name: str | Digest) -> Manifest | Index:
    """Return the manifest in ``answer``, whose bytes must be those that ``name`` names.

    Raises DigestMismatch before anything is parsed, SpecError for a Content-Type that is
    missing or contradicts the manifest's own.
    """
    raw = answer.body or b""
    if isinstance(name, Digest) and (got := name.of(raw)) != name:
        raise DigestMismatch(f"asked for {name}, got {got}")
    check_digest(answer, raw)
    if not (media_type := _content_type(answer)):
        raise SpecError("the registry did not say what it sent", path=("Content-Type",))
    return parse(raw, media_type=media_type)


def check_digest(answer: Answer, raw: bytes) -> None:
    """Compare Docker-Content-Digest with our own hash of ``raw``; it is used for nothing else.

    Raises DigestMismatch for another digest and for what is none.
    """
    said = answer.head.headers.get("docker-content-digest")
    if said is None:
        return
    try:
        digest = Digest.parse(said)
    except SpecError as e:
        raise DigestMismatch(f"the registry names no digest: {printable(said, _SHOWN)}") from e
    if (got := digest.of(raw)) != digest:
        raise DigestMismatch(f"the registry says {digest}, it is {got}")


def read_referrers(answer: Answer) -> tuple[Descriptor, ...]:
    """Return one page of referrers, without the entries that are no descriptors.

    Anybody may add an entry, and one that is malformed must not hide the others.  Raises
    ReferrersUnsupported for a page that is no OCI index (a catch-all web page), and
    TransportError for an index that cannot be read: that is a failure to look.
    """
    if _content_type(answer) != mediatypes.INDEX:
        raise ReferrersUnsupported("referrers are not answered with an OCI index", status=200)
    try:
        data = strictjson.loads_object(answer.body or b"", LIMITS.manifest)
        fields.required(data, "manifests")
        entries = fields.items(data, "manifests", most=LIMITS.index_children, parse=_descriptor)
    except SpecError as e:
        raise TransportError(f"the list of referrers is malformed: {e}", status=200) from e
    return tuple(entry for entry in entries if entry is not None)


def _descriptor(entry: Any) -> Descriptor | None:
    try:
        return Descriptor.from_dict(entry) if isinstance(entry, dict) else None
    except SpecError:
        return None


def _content_type(answer: Answer) -> str:
    """The media type without parameters, which registries may add."""
    return (answer.head.headers.get("content-type") or "").partition(";")[0].strip()
