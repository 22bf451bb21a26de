"""What a trust decision rests on, and what it says: values, and what `registry` brings."""

from datetime import datetime
from typing import Protocol

from bpfpack.spec.digest import Digest
from bpfpack.spec.errors import SpecError, TrustError
from bpfpack.spec.manifest import Index, Manifest, parse
from bpfpack.spec.origin import Origin
from bpfpack.spec.policy import Key, Scope, fold_host
from bpfpack.spec.signature import Candidate, Claims, Form, PlaceName, SignaturePlace
from bpfpack.spec.value import valuetype


class SignatureCheck(Protocol):
    """Checks one signature; `registry` implements it."""

    def verify(self, key_pem: str, signed: bytes, signature: bytes) -> None:
        """Return for a good signature, raise TrustError otherwise; no bool to ignore."""
        ...


@valuetype
class Mark:
    """The newest signature that this host accepted for a tag of a repository."""

    repository: str
    tag: str
    created: datetime
    digest: Digest


class Marks(Protocol):
    """The high-water marks of this host."""

    def newest(self, repository: str, tag: str | None = None) -> Mark | None:
        """Return the mark of a tag, or the newest of all tags; None when there is none.

        Raises TrustError when it cannot be told.
        """
        ...

    def tags(self, repository: str) -> tuple[str, ...]:
        """Return the tags that have a mark; raises TrustError."""
        ...


@valuetype
class Evidence:
    """What a judgement rests on: a named manifest and every place a signature can be.

    ``index`` is the index through which the manifest was found; its own signatures count for
    the manifests that it lists.
    """

    origin: Origin
    manifest: Manifest | Index
    index: Index | None = None
    places: tuple[SignaturePlace, ...] = ()

    @property
    def digests(self) -> tuple[Digest, ...]:
        """The digests whose signature vouches for the manifest.

        Raises SpecError when the index does not list the manifest, or the reference is by the
        digest of neither.
        """
        found = self._own_and_index()
        wanted = self.origin.reference.digest if self.origin.reference else None
        raws = (self.manifest.raw, *((self.index.raw,) if self.index else ()))
        if wanted is not None and wanted not in (wanted.of(raw) for raw in raws):
            raise SpecError(f"{self.origin} names other content than {found[0]}")
        return found

    def _own_and_index(self) -> tuple[Digest, ...]:
        own = Digest.sha256(self.manifest.raw)
        if self.index is None:
            return (own,)
        listed = parse(self.index.raw)
        if not isinstance(listed, Index) or not any(
            child.digest == own and child.size == len(self.manifest.raw)
            for child in listed.manifests
        ):
            raise SpecError(f"the index does not list {own}")
        return (own, Digest.sha256(self.index.raw))


@valuetype
class Signer:
    """Whose signature was accepted, and what it said."""

    name: str
    fingerprint: str
    form: Form
    claims: Claims


@valuetype
class Verdict:
    """One candidate weighed; ``key`` is who signed it, if that could be found out."""

    place: PlaceName
    candidate: Candidate
    good: bool
    reason: str
    key: Key | None = None
    claims: Claims | None = None
    hint: str | None = None

    def __str__(self) -> str:
        what = f" {self.candidate.digest}" if self.candidate.digest else ""
        return f"{self.candidate.form} signature{what} ({self.place}): {self.reason}"


@valuetype
class Judgement:
    """What the policy says about some evidence, with every reason and the next step."""

    origin: Origin
    scope: Scope | None
    accepted: bool
    reason: str
    hint: str | None = None
    verdicts: tuple[Verdict, ...] = ()
    places: tuple[SignaturePlace, ...] = ()

    @property
    def signers(self) -> tuple[Signer, ...]:
        """Who signed it, newest first, each key once."""
        found: dict[str, Signer] = {}
        for verdict in self.verdicts:
            if verdict.good and verdict.key and verdict.claims:
                signer = Signer(
                    name=verdict.key.name,
                    fingerprint=verdict.key.fingerprint,
                    form=verdict.candidate.form,
                    claims=verdict.claims,
                )
                held = found.get(signer.fingerprint)
                if held is None or _age_key(signer) > _age_key(held):
                    found[signer.fingerprint] = signer
        return tuple(sorted(found.values(), key=_age_key, reverse=True))

    @property
    def reasons(self) -> tuple[str, ...]:
        """Every reason against it, one line each."""
        refused = [str(verdict) for verdict in self.verdicts if not verdict.good]
        faults = [f"{place.name}: {fault}" for place in self.places for fault in place.faults]
        unseen = [
            f"{place.name}: could not look: {place.reason}"
            for place in self.places
            if place.state == "failed"
        ]
        return (*refused, *faults, *unseen)

    @property
    def policy_id(self) -> str:
        """Which rule decided."""
        return str(self.scope) if self.scope else "no rule"

    @property
    def mark(self) -> Mark | None:
        """What to record once the package is used; None for what has no tag or no time."""
        reference = self.origin.reference
        newest = self.signers[0].claims if self.signers else None
        if not reference or not reference.tag or reference.digest or not newest:
            return None
        if newest.created is None:
            return None
        return Mark(
            repository=fold_host(reference.name),
            tag=reference.tag,
            created=newest.created,
            digest=newest.digest,
        )

    def error(self) -> TrustError:
        """The refusal as an error."""
        error = TrustError(self.reason, reasons=self.reasons)
        return error.with_hint(self.hint) if self.hint else error


def _age_key(signer: Signer) -> float:
    return signer.claims.created.timestamp() if signer.claims.created else float("-inf")
