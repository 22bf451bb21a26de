"""A judgement of what was found: made, as lines, and as a document."""

from collections.abc import Iterator
from typing import Any

from bpfpack.cli.host import Host
from bpfpack.cli.identity import own_key
from bpfpack.cli.located import Located
from bpfpack.cli.obtaining import look
from bpfpack.cli.platform import host_platform
from bpfpack.registry.fetch_package import check_whole, resolve_child
from bpfpack.spec.content import Source
from bpfpack.spec.digest import Digest
from bpfpack.spec.errors import NotFound, SpecError
from bpfpack.spec.judgement import Evidence, Judgement, Verdict
from bpfpack.spec.judging import judge
from bpfpack.spec.manifest import Index, Manifest
from bpfpack.spec.origin import Origin
from bpfpack.spec.policy import Policy, Scope
from bpfpack.spec.reference import Reference
from bpfpack.spec.signature import Claims, format_time


def judge_located(
    host: Host, found: Located, *, policy: Policy | None = None, allow_downgrade: bool = False
) -> Judgement:
    """Weigh every signature of what was found, under this host's policy or another one."""
    evidence = _evidence(host, found)
    return judge_evidence(host, evidence, policy=policy, allow_downgrade=allow_downgrade)


def judge_evidence(
    host: Host,
    evidence: Evidence,
    *,
    policy: Policy | None = None,
    allow_downgrade: bool = False,
) -> Judgement:
    """The same of what `run` would rest on, wherever that came from."""
    return judge(
        evidence,
        policy or host.policy,
        host.check,
        now=host.now,
        marks=host.marks,
        allow_downgrade=allow_downgrade,
        host_key=host.host_key.public_pem(),
        invoker=host.invoker,
        own=own_key(host),
    )


def _evidence(host: Host, found: Located) -> Evidence:
    """What `run` would rest on: of an index also the package for this platform."""
    content, places = found.content, look(host, found.place, found.content.descriptor)
    child = _child(found.place, content) if isinstance(content, Index) else None
    if child is None or not isinstance(content, Index):
        return Evidence(origin=found.origin, manifest=content, places=places)
    places = (*places, *look(host, found.place, child.descriptor))
    return Evidence(origin=found.origin, manifest=child, index=content, places=places)


def _child(place: Source, index: Index) -> Manifest | Index | None:
    """The package of an index for this platform; None when there is none, or not here."""
    try:
        wanted = index.select(host_platform())
    except SpecError:
        return None
    try:
        return resolve_child(place, wanted)
    except NotFound:
        return None


def check_content(found: Located) -> None:
    """Hash all of the package that `run` would take from the store; raises ContentError."""
    content = found.content
    package = _child(found.place, content) if isinstance(content, Index) else content
    if isinstance(package, Manifest):
        check_whole(found.place, package)


def judgement_rows(reference: Reference, judged: Judgement) -> Iterator[str]:
    """What was accepted, and on whose word."""
    if judged.scope is None:
        yield f"{reference}: accepted: built on this host, and no rule covers it"
    else:
        yield f"{reference}: accepted by the rule for {judged.policy_id}"
    for signer in judged.signers:
        created = signer.claims.created
        when = f", {format_time(created)}" if created else ""
        yield f"  signed by {signer.name} (SHA256:{signer.fingerprint[:16]}), {signer.form}{when}"


def describe(found: Located, judged: Judgement) -> dict[str, Any]:
    """The judgement of what a reference names, as `described` has it."""
    return described(found.reference, found.content.descriptor.digest, judged)


def described(name: Reference | Origin, digest: Digest, judged: Judgement) -> dict[str, Any]:
    """The whole judgement as `docs/schema/judgement.schema.json` says; scripts rely on it."""
    return {
        "schemaVersion": 1,
        "reference": str(name),
        "digest": str(digest),
        "accepted": judged.accepted,
        "policy": _rule(judged.scope) if judged.scope else None,
        "reason": judged.reason or None,
        "hint": judged.hint,
        "signers": [
            {"name": signer.name, "fingerprint": signer.fingerprint, "form": signer.form}
            | _claimed(signer.claims)
            for signer in judged.signers
        ],
        "places": [
            {
                "name": place.name,
                "state": place.state,
                "reason": place.reason,
                "faults": list(place.faults),
            }
            for place in judged.places
        ],
        "candidates": [_candidate(verdict) for verdict in judged.verdicts],
    }


def _rule(scope: Scope) -> dict[str, Any]:
    return {"scope": scope.name, "source": scope.source, "level": scope.level}


def _candidate(verdict: Verdict) -> dict[str, Any]:
    """One candidate; what it claims is there only where a trusted key vouches for it."""
    key, blob = verdict.key, verdict.candidate.digest
    return {
        "place": verdict.place,
        "form": verdict.candidate.form,
        "blob": str(blob) if blob else None,
        "good": verdict.good,
        "reason": verdict.reason,
        "hint": verdict.hint,
        "key": {"name": key.name, "fingerprint": key.fingerprint} if key else None,
        "claims": _claimed(verdict.claims) if verdict.claims else None,
    }


def _claimed(claims: Claims) -> dict[str, Any]:
    return {
        "digest": str(claims.digest),
        "reference": str(claims.reference) if claims.reference else None,
        "created": format_time(claims.created) if claims.created else None,
        "expires": format_time(claims.expires) if claims.expires else None,
    }
