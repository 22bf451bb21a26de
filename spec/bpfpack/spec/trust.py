"""The gate between what came from somewhere and what may reach the kernel.

`admit` is the only maker of a `VerifiedArtifact`, and the loader takes nothing else.  The
manifest is parsed again from the bytes that are hashed, config and object are hashed against
it, the signatures are weighed (`judging`), and nothing is read again later.
"""

from datetime import datetime
from typing import Final, NoReturn

from bpfpack.spec.bounded import check_bytes
from bpfpack.spec.config import Config
from bpfpack.spec.digest import Digest
from bpfpack.spec.errors import SpecError, TrustError
from bpfpack.spec.judgement import (
    Evidence,
    Judgement,
    Mark,
    Marks,
    SignatureCheck,
    Signer,
    Verdict,
)
from bpfpack.spec.judging import judge
from bpfpack.spec.manifest import Index, Manifest, parse
from bpfpack.spec.origin import Origin
from bpfpack.spec.package import PackageLayout
from bpfpack.spec.policy import Invoker, Policy
from bpfpack.spec.signature import SignaturePlace
from bpfpack.spec.value import field, valuetype

__all__ = [
    "Evidence",
    "InsecureSkip",
    "Judgement",
    "Mark",
    "Marks",
    "Origin",
    "RemoteArtifact",
    "SignatureCheck",
    "SignaturePlace",
    "Signer",
    "Verdict",
    "VerifiedArtifact",
    "admit",
    "judge",
]


@valuetype
class RemoteArtifact:
    """A package read from somewhere: bounded, complete, and not trusted."""

    origin: Origin
    manifest: Manifest
    index: Index | None = None
    config: bytes = field(repr=False)
    object: bytes = field(repr=False)
    places: tuple[SignaturePlace, ...] = ()

    @property
    def evidence(self) -> Evidence:
        """The part that a judgement needs."""
        return Evidence(
            origin=self.origin, manifest=self.manifest, index=self.index, places=self.places
        )


@valuetype
class InsecureSkip:
    """The user asked for no signature check at all; **this is not safe**.

    ``reason`` is recorded with the artifact, such as the option that was given.
    """

    reason: str


class _Seal:
    """What only this module has."""


_SEAL: Final = _Seal()
# What a finished artifact holds instead, so that `replace` cannot use the seal again.
_SPENT: Final = _Seal()


@valuetype
class VerifiedArtifact:
    """A package that the policy accepted, in the bytes that were checked.

    Only `admit` makes one; anything else that tries gets a TrustError.
    """

    seal: _Seal = field(repr=False)
    origin: Origin
    manifest: Manifest
    digest: Digest
    config: Config
    object: bytes = field(repr=False)
    signers: tuple[Signer, ...]
    policy: str
    mark: Mark | None
    warnings: tuple[str, ...]
    insecure: bool

    def __post_init__(self) -> None:
        if self.seal is not _SEAL:
            raise TrustError("only `admit` makes a VerifiedArtifact")
        object.__setattr__(self, "seal", _SPENT)

    def __reduce__(self) -> NoReturn:
        """A copy or a pickle would be one that `admit` never saw."""
        raise TrustError("a VerifiedArtifact can be neither copied nor stored")


def admit(
    artifact: RemoteArtifact,
    policy: Policy,
    check: SignatureCheck,
    *,
    now: datetime,
    marks: Marks,
    allow_downgrade: bool = False,
    host_key: str | None = None,
    invoker: Invoker | None = None,
    skip: InsecureSkip | None = None,
) -> VerifiedArtifact:
    """Return the artifact as one that may run; the only function that does.

    ``host_key`` is this host's public key in PEM, ``invoker`` for whom root runs.  Raises
    ContentError when config or object are not the manifest's, SpecError when it is no package,
    TrustError when policy says no.
    """
    manifest = parse(artifact.manifest.raw)
    if not isinstance(manifest, Manifest):
        raise SpecError("an index where a manifest belongs")
    layout = PackageLayout.of(manifest)
    config = Config.from_bytes(check_bytes(artifact.config, layout.config))
    object_ = check_bytes(artifact.object, layout.object)
    try:
        judgement = judge(
            artifact.evidence,
            policy,
            check,
            now=now,
            marks=marks,
            allow_downgrade=allow_downgrade,
            host_key=host_key,
            invoker=invoker,
        )
    except TrustError as e:
        if skip is None:
            raise
        judgement = Judgement(origin=artifact.origin, scope=None, accepted=False, reason=str(e))
    warnings: tuple[str, ...] = ()
    if not judgement.accepted:
        if skip is None and not _only_warns(policy, judgement):
            raise judgement.error()
        warnings = (judgement.reason, *judgement.reasons)
    return VerifiedArtifact(
        seal=_SEAL,
        origin=artifact.origin,
        manifest=manifest,
        digest=Digest.sha256(manifest.raw),
        config=config,
        object=object_,
        signers=judgement.signers,
        policy=judgement.policy_id if skip is None else skip.reason,
        mark=judgement.mark if judgement.accepted else None,
        warnings=warnings,
        insecure=skip is not None,
    )


def _only_warns(policy: Policy, judgement: Judgement) -> bool:
    return not policy.problem and judgement.scope is not None and judgement.scope.level == "warn"
