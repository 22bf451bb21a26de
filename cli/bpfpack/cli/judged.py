"""A judgement of what was found: made, as lines, and as a document."""

from collections.abc import Iterator
from typing import Any

from bpfpack.cli.host import Host
from bpfpack.cli.located import Located, places_of
from bpfpack.spec.judgement import Evidence, Judgement
from bpfpack.spec.judging import judge
from bpfpack.spec.policy import Policy
from bpfpack.spec.reference import Reference
from bpfpack.spec.signature import format_time


def judge_located(
    host: Host, found: Located, *, policy: Policy | None = None, allow_downgrade: bool = False
) -> Judgement:
    """Weigh every signature of what was found, under this host's policy or another one."""
    return judge(
        Evidence(origin=found.origin, manifest=found.content, places=places_of(host, found)),
        policy or host.policy,
        host.check,
        now=host.now,
        marks=host.marks,
        allow_downgrade=allow_downgrade,
        host_key=host.host_key.public_pem(),
    )


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


def describe(reference: Reference, judged: Judgement) -> dict[str, Any]:
    """The whole judgement, every place and candidate with its verdict."""
    return {
        "reference": str(reference),
        "accepted": judged.accepted,
        "scope": judged.scope.name if judged.scope else None,
        "reason": judged.reason or None,
        "hint": judged.hint,
        "signers": [
            {
                "name": signer.name,
                "fingerprint": signer.fingerprint,
                "form": signer.form,
                "created": format_time(signer.claims.created) if signer.claims.created else None,
                "expires": format_time(signer.claims.expires) if signer.claims.expires else None,
            }
            for signer in judged.signers
        ],
        "places": [
            {"name": place.name, "state": place.state, "reason": place.reason}
            for place in judged.places
        ],
        "candidates": [
            {
                "place": verdict.place,
                "form": verdict.candidate.form,
                "good": verdict.good,
                "reason": verdict.reason,
                "key": str(verdict.key) if verdict.key else None,
                "hint": verdict.hint,
            }
            for verdict in judged.verdicts
        ],
    }
