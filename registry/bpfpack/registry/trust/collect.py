"""Finds every signature of some content, and says of each place what became of looking.

Three places: the ``.sig`` tag, the referrers API, the referrers tag.  All three are always
asked, each within bounds of its own, so that nothing found in one hides another; ``.sig`` is
first, since only who may replace it can add to it.  Only "not there" is an answer; a registry
that fails to answer is never taken for one that has no signatures.  What has a signature's
type is looked at before anything else is fetched; bytes are capped, and so is the number.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Final

from bpfpack.spec import mediatypes
from bpfpack.spec.bounded import read_exactly
from bpfpack.spec.content import ReferrersUnsupported, Source
from bpfpack.spec.descriptor import Descriptor
from bpfpack.spec.digest import Digest
from bpfpack.spec.errors import (
    ContentError,
    LimitExceeded,
    NotFound,
    SpecError,
    StoreError,
    TransportError,
)
from bpfpack.spec.limits import LIMITS
from bpfpack.spec.manifest import Index, Manifest
from bpfpack.spec.signature import (
    Candidate,
    PlaceName,
    PlaceState,
    SignaturePlace,
    candidate_from_bundle,
    candidate_from_layer,
    fallback_tag,
    legacy_tag,
)
from bpfpack.spec.value import field, valuetype

# OCI 1.1 referrers as cosign 2 wrote them hold the same layers as a `.sig` tag.
_TYPES: Final = (mediatypes.SIGSTORE_BUNDLE, mediatypes.COSIGN_SIGNATURE)
_LAYERS: Final = (mediatypes.SIGSTORE_BUNDLE, mediatypes.SIMPLE_SIGNING)
# After so many failures in one place the registry is down, and not one blob.
_FAILURES: Final = 4


def collect(source: Source, subject: Descriptor) -> tuple[SignaturePlace, ...]:
    """Look everywhere for signatures of ``subject``; raises nothing that a registry can cause."""
    digest = subject.digest
    signature = _Look(source).at("sig-tag", lambda: (_signature_tag(source, digest),))
    return (
        _Look(source).at("referrers", lambda: source.referrers(digest)),
        _Look(source).at("referrers-tag", lambda: _tagged(source, digest)),
        signature,
    )


class _TooMuch(LimitExceeded):
    """There is more than we are willing to look at, which is no answer either."""


@valuetype(frozen=False, kw_only=False)
class _Look:
    """One place being looked at; what fails in it is noted, and the rest still looked at."""

    source: Source
    left: int = LIMITS.signature_bytes
    candidates: list[Candidate] = field(default_factory=list)
    faults: list[str] = field(default_factory=list)
    unseen: list[str] = field(default_factory=list)

    def at(
        self, name: PlaceName, listing: Callable[[], Iterable[Descriptor | Manifest]]
    ) -> SignaturePlace:
        """Look at everything that ``listing`` returns."""
        state, reason = self._outcome(listing)
        return SignaturePlace(
            name=name,
            state=state,
            reason=reason,
            candidates=tuple(self.candidates),
            faults=tuple(self.faults),
        )

    def _outcome(
        self, listing: Callable[[], Iterable[Descriptor | Manifest]]
    ) -> tuple[PlaceState, str | None]:
        try:
            entries = _of_interest(listing())
            self._entries(entries)
        except ReferrersUnsupported as e:
            return "unsupported", str(e)
        except NotFound:
            return "absent", None
        except (TransportError, StoreError, ContentError, SpecError) as e:
            self.unseen.append(str(e))
        if self.unseen:
            return "failed", self.unseen[0]
        return ("present" if self.candidates or self.faults else "absent"), None

    def _entries(self, entries: Sequence[Descriptor | Manifest]) -> None:
        for entry in entries[: LIMITS.signature_candidates]:
            with self._noted(entry.digest if isinstance(entry, Descriptor) else None):
                self._layers(self._manifest(entry) if isinstance(entry, Descriptor) else entry)
        self._none_beyond(len(entries))

    def _manifest(self, entry: Descriptor) -> Manifest:
        """Return what an entry names; one that is too large costs the others nothing."""
        if entry.media_type not in mediatypes.MANIFESTS:
            raise SpecError("not the manifest of a signature")
        if entry.size > LIMITS.signature_referrer:
            raise LimitExceeded(f"{entry.size} bytes, {LIMITS.signature_referrer} allowed")
        found = self.source.resolve(entry.digest)
        self._spend(len(found.raw))  # not what the listing says
        if len(found.raw) != entry.size:
            raise SpecError(f"{len(found.raw)} bytes, {entry.size} listed")
        if not isinstance(found, Manifest):
            raise SpecError("an index, not the manifest of a signature")
        return found

    def _spend(self, size: int) -> None:
        self.left -= size
        if self.left < 0:
            raise _TooMuch(f"more than {LIMITS.signature_bytes} bytes of signatures")

    def _layers(self, manifest: Manifest) -> None:
        layers = [layer for layer in manifest.layers if layer.media_type in _LAYERS]
        for layer in layers[: LIMITS.signature_candidates]:
            with self._noted(layer.digest):
                self.candidates.append(self._candidate(layer))
        self._none_beyond(len(layers))

    def _candidate(self, layer: Descriptor) -> Candidate:
        if layer.size > LIMITS.signature_payload:
            raise LimitExceeded(f"{layer.size} bytes, {LIMITS.signature_payload} allowed")
        self._spend(layer.size)
        with self.source.fetch(layer) as stream:
            data = read_exactly(stream, layer, LIMITS.signature_payload)
        if layer.media_type == mediatypes.SIGSTORE_BUNDLE:
            return candidate_from_bundle(data)
        return candidate_from_layer(layer, data)

    def _none_beyond(self, count: int) -> None:
        if count > LIMITS.signature_candidates:
            most = LIMITS.signature_candidates
            self.unseen.append(f"{count} signatures, only {most} were looked at")

    @contextmanager
    def _noted(self, digest: Digest | None) -> Iterator[None]:
        """Note what is wrong with one entry, and go on; give up when nothing answers."""
        what = f"{digest}: " if digest else ""
        try:
            yield
        except _TooMuch:
            raise
        except (NotFound, ContentError, SpecError) as e:
            self.faults.append(f"{what}{e}")
        except (TransportError, StoreError) as e:
            self.unseen.append(f"{what}{e}")
            if len(self.unseen) >= _FAILURES:
                raise


def _of_interest(entries: Iterable[Descriptor | Manifest]) -> list[Descriptor | Manifest]:
    """Filter by type before counting: junk of other types costs nothing.

    An entry of a referrers tag may lack its type, and must be opened to know; those come last.
    """
    found = list(entries)
    typed = [e for e in found if isinstance(e, Manifest) or e.artifact_type in _TYPES]
    untyped = [e for e in found if isinstance(e, Descriptor) and e.artifact_type is None]
    return typed + untyped


def _tagged(source: Source, subject: Digest) -> tuple[Descriptor, ...]:
    found = source.resolve(fallback_tag(subject))
    if not isinstance(found, Index):
        raise SpecError("the referrers tag names no index")
    return found.manifests


def _signature_tag(source: Source, subject: Digest) -> Manifest:
    found = source.resolve(legacy_tag(subject))
    if not isinstance(found, Manifest):
        raise SpecError("the .sig tag names no manifest")
    if len(found.raw) > LIMITS.signature_manifest:
        raise LimitExceeded(f"a .sig manifest of {len(found.raw)} bytes")
    return found
