"""Makes signatures: both of cosign's forms, over the same facts."""

from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from importlib.metadata import version
from typing import Final

from bpfpack.registry.trust.keys import PrivateKey
from bpfpack.spec import signature, signature_writer
from bpfpack.spec.descriptor import Descriptor
from bpfpack.spec.digest import Digest
from bpfpack.spec.errors import SpecError, TrustError, UsageError
from bpfpack.spec.judgement import SignatureCheck
from bpfpack.spec.reference import Reference
from bpfpack.spec.signature import SignaturePlace
from bpfpack.spec.value import field, valuetype

#: How long a signature counts unless told otherwise.
LIFETIME: Final = timedelta(days=400)


@valuetype
class Signed:
    """One signing act in both forms, not yet stored anywhere."""

    subject: Descriptor
    reference: Reference
    created: datetime
    expires: datetime
    key_pem: str
    legacy_payload: bytes = field(repr=False)
    legacy_signature: bytes = field(repr=False)
    bundle: bytes = field(repr=False)


def sign(
    subject: Descriptor,
    reference: Reference,
    key: PrivateKey,
    *,
    now: datetime,
    lifetime: timedelta = LIFETIME,
) -> Signed:
    """Sign ``subject`` under the name ``reference``, which has a registry and a tag.

    Raises UsageError for a name that no reader could check, SpecError for a sha512 digest.
    """
    if reference.is_bare or reference.tag is None:
        raise UsageError(f"{reference} is not a full name with registry and tag").with_hint(
            f"say what it will be called: bpfpack sign --as ghcr.io/you/{reference.repository}"
            f":{reference.tag or 'TAG'} {reference}"
        )
    if subject.digest.algorithm != "sha256":
        raise SpecError("cosign's signatures name content by sha256 only")
    name = reference.with_tag(reference.tag)
    created = now.astimezone(UTC).replace(microsecond=now.microsecond // 1000 * 1000)
    expires = created + lifetime
    optional = signature_writer.legacy_optional(f"bpfpack {version('bpfpack')}", created, expires)
    payload = signature_writer.legacy_payload(subject.digest, str(name), optional)
    statement = signature_writer.statement(
        subject.digest,
        name.name,
        signature_writer.statement_annotations(name, created, expires),
    )
    return Signed(
        subject=subject,
        reference=name,
        created=created,
        expires=expires,
        key_pem=key.public_pem,
        legacy_payload=payload,
        legacy_signature=key.sign(payload),
        bundle=signature_writer.bundle(statement, key.sign(signature.pae(statement)), key.hint),
    )


def signed_by(
    places: Iterable[SignaturePlace],
    subject: Digest,
    reference: Reference | None,
    key_pem: str,
    check: SignatureCheck,
    *,
    now: datetime,
) -> bool:
    """Say whether this key signed ``subject`` under this name, in force, in both forms.

    With ``reference`` None any name and any one form will do: the question then is whether
    the content bears a signature of this key at all.
    """
    named = reference.with_tag(reference.tag) if reference else None
    forms = set()
    for place in places:
        for candidate in place.candidates:
            if candidate.form == "host":
                continue
            try:
                check.verify(key_pem, candidate.signed, candidate.signature)
                claims = signature.claims(candidate, (subject,))
            except (TrustError, SpecError):
                continue
            fresh = claims.expires is None or now < claims.expires
            if fresh and (
                reference is None or claims.reference == reference.with_tag(reference.tag)
            ):
                forms.add(candidate.form)
    return bool(forms) if named is None else forms == {"bundle", "legacy"}
