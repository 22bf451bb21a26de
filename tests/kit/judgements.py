"""Writes the vectors of kind ``judgement``: signed by fixed keys, the same bytes every time.

Each is a whole decision: a policy, what was asked for and when, and every signature found.
"""

import base64
import hashlib
import json
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives import serialization as s
from cryptography.hazmat.primitives.asymmetric import ec

from bpfpack.spec import mediatypes, signature, signature_writer
from bpfpack.spec.descriptor import Descriptor, Platform
from bpfpack.spec.digest import Digest
from bpfpack.spec.manifest import Manifest, build_index, build_manifest
from bpfpack.spec.reference import Reference
from bpfpack.spec.value import replace
from tests.kit.signing import vector_secret, vector_sign

NOW: Final = datetime(2026, 11, 24, 12, tzinfo=UTC)
SIGNED: Final = NOW - timedelta(days=1)
REF: Final = Reference.parse("ghcr.io/x/opensnoop:1.0")
LATEST: Final = REF.with_tag("latest")
_ORDER: Final = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551

Made = tuple[str, dict[str, Any]]


def _package(content: bytes) -> Manifest:
    """The manifest of a package of version 1.0, as far as a judgement looks at it."""
    return build_manifest(
        artifact_type=mediatypes.ARTIFACT,
        config=Descriptor.of(b"{}", mediatypes.CONFIG),
        layers=(Descriptor.of(content, mediatypes.OBJECT),),
        annotations={mediatypes.VERSION: "1.0"},
    )


MANIFEST: Final = _package(b"one")
OTHER: Final = _package(b"another")


def _strange() -> ec.EllipticCurvePrivateKey:
    digest = hashlib.sha256(b"bpfpack signing vector 2").digest()
    return ec.derive_private_key(int.from_bytes(digest) % _ORDER, ec.SECP256R1())


def _stranger_sign(data: bytes) -> bytes:
    return _strange().sign(data, ec.ECDSA(hashes.SHA256(), deterministic_signing=True))


def _pem(key: ec.EllipticCurvePrivateKey) -> str:
    public = key.public_key()
    return public.public_bytes(s.Encoding.PEM, s.PublicFormat.SubjectPublicKeyInfo).decode()


def policy(scope: str = "ghcr.io/x", *, rule: str = "", key: str = "") -> str:
    """One rule that trusts the key of the vectors, with further lines."""
    pem = _pem(vector_secret())
    return (
        f'version = 1\n[scopes."{scope}"]\n{rule}'
        f'[[scopes."{scope}".keys]]\nname = "author"\n{key}pem = """\n{pem}"""\n'
    )


def _notes(reference: Reference, created: datetime, lifetime: timedelta) -> dict[str, str]:
    return signature_writer.statement_annotations(reference, created, created + lifetime)


def legacy(
    reference: str = str(REF),
    *,
    digest: Digest = MANIFEST.descriptor.digest,
    created: datetime | None = SIGNED,
    lifetime: timedelta = timedelta(days=400),
    change: Callable[[bytes], bytes] = bytes,
    sign: Callable[[bytes], bytes] = vector_sign,
) -> dict[str, str]:
    """A candidate as the ``.sig`` tag holds it; ``change`` alters what is signed."""
    optional = (
        signature_writer.legacy_optional("bpfpack", created, created + lifetime)
        if created
        else None
    )
    signed = change(signature_writer.legacy_payload(digest, reference, optional))
    return _candidate("legacy", signed, sign(signed))


def bundle(
    reference: Reference = REF,
    *,
    digest: Digest = MANIFEST.descriptor.digest,
    created: datetime = SIGNED,
    lifetime: timedelta = timedelta(days=400),
    change: Callable[[bytes], bytes] = bytes,
    sign: Callable[[bytes], bytes] = vector_sign,
) -> dict[str, str]:
    """A candidate as a bundle holds it; ``change`` alters the statement."""
    notes = _notes(reference, created, lifetime)
    signed = signature.pae(change(signature_writer.statement(digest, reference.name, notes)))
    return _candidate("bundle", signed, sign(signed))


def _candidate(form: str, signed: bytes, by: bytes) -> dict[str, str]:
    return {
        "form": form,
        "signed": base64.b64encode(signed).decode(),
        "signature": base64.b64encode(by).decode(),
    }


def _mark(tag: str = "1.0", *, created: datetime = NOW, digest: Digest | None = None) -> Any:
    return {
        "tag": tag,
        "created": signature.format_time(created),
        "digest": str(digest or OTHER.descriptor.digest),
    }


def _case(
    *candidates: dict[str, str],
    clause: str = "8.4",
    text: str = "",
    reference: Reference = REF,
    implicit: bool = False,
    marks: Sequence[Any] = (),
    state: str = "present",
    **more: Any,
) -> dict[str, Any]:
    origin = {"kind": "registry", "reference": str(reference)}
    return {
        "kind": "judgement",
        "clause": clause,
        "now": signature.format_time(NOW),
        "origin": origin | ({"implicit": True} if implicit else {}),
        "manifest": MANIFEST.raw.decode(),
        **({"marks": list(marks)} if marks else {}),
        "places": [{"name": "referrers", "state": state, "candidates": list(candidates)}],
        **more,
        "text": text or policy(),
    }


def _unnamed(payload: bytes) -> bytes:
    """What cosign 3 signs: no name, and nothing else that we say."""
    data = json.loads(payload)
    data["subject"] = [{"digest": data["subject"][0]["digest"]}]
    return json.dumps(data).encode()


def _of(kind: str) -> Callable[[bytes], bytes]:
    return lambda payload: json.dumps({**json.loads(payload), "predicateType": kind}).encode()


def _index(child: Any = MANIFEST) -> str:
    here = Platform(os="linux", architecture="amd64")
    return build_index((replace(child.descriptor, platform=here),)).raw.decode()


def accepted() -> Iterator[Made]:
    """What must be accepted."""
    copy = Reference.parse("mirror.corp/x/opensnoop:1.0")
    pinned = Reference.parse(f"{REF.name}@{MANIFEST.descriptor.digest}")
    index = _index()
    ahead = NOW + timedelta(hours=23)
    bad = bundle(sign=_stranger_sign)
    yield "bundle", _case(bundle())
    yield "legacy", _case(legacy())
    yield "bad-one-hides-nothing", _case(bad, legacy("ghcr.io/x/other:1"), legacy())
    yield "second-tag", _case(legacy("ghcr.io/x/opensnoop:stable"), legacy())
    yield "by-digest-whatever-the-tag", _case(bundle(LATEST), reference=pinned)
    yield (
        "copy-with-signed-as",
        _case(
            bundle(),
            reference=copy,
            text=policy("mirror.corp/x", rule='signed_as = "ghcr.io/x"\n'),
        ),
    )
    unnamed = policy(rule="unnamed = true\n")
    yield "cosign-bundle-with-unnamed", _case(bundle(change=_unnamed), text=unnamed)
    yield "cosign-payload-with-unnamed", _case(legacy(REF.name, created=None), text=unnamed)
    yield (
        "through-a-signed-index",
        _case(bundle(digest=Digest.sha256(index.encode())), index=index),
    )
    yield "newer-than-the-last", _case(bundle(), marks=[_mark(created=SIGNED - timedelta(1))])
    same = _mark(digest=MANIFEST.descriptor.digest)
    yield "older-signature-of-the-same-content", _case(bundle(), marks=[same])
    yield "another-tag-has-its-own-mark", _case(bundle(), marks=[_mark("2.0")])
    yield (
        "latest-of-a-higher-version-than-an-older-branch",
        _case(bundle(LATEST), reference=LATEST, implicit=True, marks=[_mark("0.9.5")]),
    )
    yield "clock-ahead-by-23-hours", _case(bundle(created=ahead))
    inside = "not_before = 2026-11-01T00:00:00Z\nnot_after = 2026-12-01T00:00:00Z\n"
    yield "window-of-the-key", _case(bundle(), text=policy(key=inside))


def refused() -> Iterator[Made]:
    """What must be refused, each with its fault."""
    for name, fault, made in (*_names(), *_times(), *_contents(), *_indexes(), *_rules()):
        yield name, {**made, "fault": fault}


_Faulty = tuple[str, str, dict[str, Any]]


def _names() -> Iterator[_Faulty]:
    good = "Good content and signature, made for "
    yield "mix-and-match", good + "another repository.", _case(legacy("ghcr.io/x/firewall:1.0"))
    evil = _case(bundle(Reference.parse("ghcr.io/xevil/opensnoop:1.0")))
    yield "half-a-component", good + "a repository whose name begins alike.", evil
    yield "another-tag", good + "another tag.", _case(bundle(REF.with_tag("0.9")))
    yield "no-name", "A bundle of cosign's, without `unnamed`.", _case(bundle(change=_unnamed))
    tagless = _case(legacy(REF.name))
    yield "no-tag", "A payload of cosign's, without `unnamed`.", tagless
    unnamed = policy(rule="unnamed = true\n")
    other = _case(legacy("ghcr.io/x/firewall"), text=unnamed)
    yield "unnamed-is-no-other-name", "The rule lets a name lack, not differ.", other
    copied = _case(
        bundle(),
        reference=Reference.parse("mirror.corp/x/firewall:1.0"),
        text=policy("mirror.corp/x", rule='signed_as = "ghcr.io/x"\n'),
    )
    yield "signed-as-another-path", "A copy keeps its path below the prefix.", copied
    other_repository = Reference.parse(f"ghcr.io/x/firewall@{MANIFEST.descriptor.digest}")
    digest = _case(bundle(), reference=other_repository)
    yield "mix-and-match-by-digest", "By digest the repository counts all the same.", digest


def _times() -> Iterator[_Faulty]:
    rolled = _case(bundle(), marks=[_mark()])
    yield "rollback", "This host accepted something newer for the tag.", rolled
    silent = _case(legacy(created=None), marks=[_mark(created=SIGNED)])
    yield "rollback-without-a-time", "What says no time is older than what did.", silent
    latest = _case(bundle(LATEST), reference=LATEST, implicit=True, marks=[_mark("2.0")])
    yield "rollback-of-an-implicit-latest", "This host accepted a higher release.", latest
    lower = _case(bundle(), clause="1.5", implicit=True, marks=[_mark("1.1")])
    yield "rollback-of-an-implicit-release", "This host accepted a higher release.", lower
    old = _case(bundle(lifetime=timedelta(hours=12)))
    yield "freeze", "The signature has expired.", old
    exact = _case(bundle(lifetime=timedelta(days=1)))
    yield "expired-at-this-very-moment", "Expired means now or earlier.", exact
    ahead = _case(bundle(created=NOW + timedelta(hours=25)))
    yield "fast-forward", "Made more than 24 hours in the future.", ahead
    aged = _case(bundle(), text=policy(rule='max_age = "12h"\n'))
    yield "older-than-max-age", "The rule asks for younger signatures.", aged
    over = policy(key="not_after = 2026-11-01T00:00:00Z\n")
    yield "key-no-longer-valid", "The window of the key is over.", _case(bundle(), text=over)
    soon = policy(key="not_before = 2026-12-01T00:00:00Z\n")
    yield "key-not-yet-valid", "The window of the key has not begun.", _case(bundle(), text=soon)


def _contents() -> Iterator[_Faulty]:
    other = _case(bundle(digest=OTHER.descriptor.digest))
    yield "other-content", "A signature of other content.", other
    yield "stranger", "By a key of nobody.", _case(bundle(sign=_stranger_sign))
    kind = "https://slsa.dev/provenance/v1"
    yield (
        "attestation",
        "An attestation is no signature (GHSA-w6c6-c85g-mmv6).",
        _case(bundle(change=_of(kind)), clause="8.6"),
    )
    atomic = legacy(change=lambda p: p.replace(b"cosign container", b"atomic container"))
    yield "other-critical-type", "The payload is of another kind.", _case(atomic)
    twice = legacy(change=lambda p: p.replace(b'"optional":', b'"optional":null,"optional":'))
    yield "duplicate-key", "A member twice, which two readers read differently.", _case(twice)
    folded = legacy(change=lambda p: p.replace(b'"optional":', b'"Optional":null,"optional":'))
    yield "keys-differ-by-case", "Go's readers take the last of the two.", _case(folded)
    extra = legacy(change=lambda p: p.replace(b'"type":', b'"more":1,"type":'))
    yield "unknown-critical-member", "Nothing unknown may stand in `critical`.", _case(extra)
    crossed = {**legacy(), "form": "bundle"}
    yield "one-form-as-the-other", "A payload passed off as a bundle's.", _case(crossed)
    damaged = bundle(sign=lambda d: vector_sign(d + b" "))
    yield "damaged", "The signature is of other bytes.", _case(damaged)
    yield "unsigned", "No candidate at all.", _case(state="absent")
    yield "could-not-look", "A place failed: it is not known to be unsigned.", _case(state="failed")


def _indexes() -> Iterator[_Faulty]:
    index = _index()
    elsewhere = bundle(digest=OTHER.descriptor.digest)
    yield "unsigned-index", "Neither index nor package is signed.", _case(elsewhere, index=index)
    lacking = _index(OTHER)
    signed = bundle(digest=Digest.sha256(lacking.encode()))
    yield (
        "index-without-the-package",
        "A signed index that does not list the package.",
        _case(signed, index=lacking),
    )


def _rules() -> Iterator[_Faulty]:
    away = policy("ghcr.io/y")
    yield "key-of-another-scope", "The key is trusted elsewhere.", _case(bundle(), text=away)
    yield "no-rule", "Default deny.", _case(bundle(), text="version = 1\n")
    half = policy("ghcr.io/x/open")
    yield "scope-of-half-a-name", "Scopes are whole path components.", _case(bundle(), text=half)


def judgements() -> Iterator[Made]:
    """Path and content of each, but for what must come out."""
    for name, made in accepted():
        yield f"valid/judgement/{name}", made
    for name, made in refused():
        yield f"invalid/judgement/{name}", made
