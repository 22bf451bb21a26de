"""Why a package may not run, in the words of who sits at this host."""

import shlex

from bpfpack.cli.host import Host
from bpfpack.cli.judged import judge_evidence
from bpfpack.registry.store.record import Origin
from bpfpack.spec.errors import TrustError
from bpfpack.spec.policy import Policy
from bpfpack.spec.trust import RemoteArtifact


def explained(
    host: Host, artifact: RemoteArtifact, policy: Policy, *, allow_downgrade: bool
) -> TrustError:
    """Return the refusal of what `admit` refused, with what only this host can know of it."""
    judged = judge_evidence(host, artifact.evidence, policy=policy, allow_downgrade=allow_downgrade)
    error = judged.error()
    if any(v.candidate.form != "host" for v in judged.verdicts) or host.policy.problem:
        return error
    name = _prebuilt(host, artifact)
    if name is None:
        return error
    made = TrustError(
        f"{artifact.origin} is a prebuilt object: it was not compiled here, and is not signed",
        reasons=error.reasons,
    )
    pack = "" if artifact.origin.reference else f"bpfpack build -t {name} {artifact.origin}\n"
    return made.with_hint(
        f"sign it and trust your key, then run it as REGISTRY/{name}:\n"
        f"{pack}bpfpack sign --as REGISTRY/{name} {name}\n"
        f"or try it with --insecure-skip-verify"
    )


def _prebuilt(host: Host, artifact: RemoteArtifact) -> str | None:
    """What a prebuilt object is, or could be, called in the store; None for anything else.

    Source that is run is vouched for as it is built, so that only an object gets here.
    """
    origin, reference = artifact.origin, artifact.origin.reference
    if origin.kind == "source":
        return shlex.quote(origin.location.rpartition("/")[2].partition(".")[0].lower()) + ":1"
    if reference is None or not reference.is_bare:
        return None
    known = host.store.find(reference)
    return str(reference) if known and known.origin is Origin.OBJECT else None
