"""The one call of `admit`: this host's policy, or the key on the command line."""

from bpfpack.cli.host import Host
from bpfpack.cli.identity import key_name
from bpfpack.registry.owned import OwnedDir
from bpfpack.spec import strictjson
from bpfpack.spec.errors import TrustError
from bpfpack.spec.policy import Key, Policy
from bpfpack.spec.signature import format_time
from bpfpack.spec.trust import InsecureSkip, RemoteArtifact, VerifiedArtifact, admit


def admit_package(
    host: Host,
    artifact: RemoteArtifact,
    *,
    key: str | None = None,
    allow_downgrade: bool = False,
    skip_verify: bool = False,
) -> VerifiedArtifact:
    """Return the package as one that may run; raises TrustError, ContentError, SpecError.

    What was accepted raises the high-water mark; what was waved through is recorded.
    """
    policy = policy_for(host, key)
    try:
        verified = admit(
            artifact,
            policy,
            host.check,
            now=host.now,
            marks=host.marks,
            allow_downgrade=allow_downgrade,
            host_key=host.host_key.public_pem(),
            invoker=host.invoker,
            skip=InsecureSkip(reason="--insecure-skip-verify") if skip_verify else None,
        )
    except TrustError as e:
        from bpfpack.cli.refusal import explained

        raise explained(host, artifact, policy, allow_downgrade=allow_downgrade) from e
    if verified.insecure:
        host.printer.warn(
            f"RUNNING UNVERIFIED CODE IN THE KERNEL: {verified.origin} ({verified.digest})"
        )
        _record(host, verified)
    for warning in verified.warnings:
        host.printer.warn(warning)
    if verified.mark is not None and key is None:
        host.marks.record(verified.mark)
    return verified


def policy_for(host: Host, key: str | None) -> Policy:
    """The policy of this host, or what ``--key PUB`` puts in its place."""
    if key is None:
        return host.policy
    from bpfpack.registry.trust.keyfiles import read_public

    host.printer.info(f"judging by {key} alone; signatures that name no reference count too")
    return Policy.only_key(Key(name=key_name(key), pem=read_public(key, host.environ)))


def _record(host: Host, verified: VerifiedArtifact) -> None:
    """One file for each time the check was skipped, so that it can be asked later."""
    when = format_time(host.now)
    told = {
        "time": when,
        "origin": str(verified.origin),
        "digest": str(verified.digest),
        "user": host.environ.get("SUDO_USER") or host.environ.get("USER"),
        "reasons": list(verified.warnings),
    }
    with (
        OwnedDir.open(host.dirs.state, create=True) as state,
        state.child("skipped") as directory,
    ):
        directory.write(f"{when}-{verified.digest.short}.json", strictjson.dumps(told))
