"""A judgement as lines and as a document."""

from collections.abc import Iterator
from typing import Any

from bpfpack.spec.judgement import Judgement
from bpfpack.spec.reference import Reference
from bpfpack.spec.signature import format_time


def judgement_rows(reference: Reference, judged: Judgement) -> Iterator[str]:
    """What was accepted, and on whose word."""
    yield f"{reference}: accepted by {judged.policy_id}"
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
