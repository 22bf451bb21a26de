"""The way around the signature check, for what was just compiled, and for experiments."""

import warnings
from datetime import UTC, datetime
from typing import NoReturn

from bpfpack.spec.errors import TrustError
from bpfpack.spec.origin import Origin
from bpfpack.spec.package import Package as Content
from bpfpack.spec.package import PackageLayout
from bpfpack.spec.policy import Policy
from bpfpack.spec.trust import InsecureSkip, Mark, RemoteArtifact, VerifiedArtifact, admit


class InsecureWarning(UserWarning):
    """Code that nobody signed is about to run in the kernel."""


class _NoMarks:
    def newest(self, repository: str, tag: str | None = None) -> Mark | None:
        return None

    def tags(self, repository: str) -> tuple[str, ...]:
        return ()


class _NoCheck:
    def verify(self, key_pem: str, signed: bytes, signature: bytes) -> NoReturn:
        raise TrustError("signatures are not checked here")


def insecure(content: Content, *, reason: str) -> VerifiedArtifact:
    """Let a package through without any signature: **this is not safe**.

    ``content`` is what `bpfpack.spec.package.build_package` and `bpfpack.builder.build.build` make,
    ``reason`` is kept with the artifact.  Emits an `InsecureWarning` each time.
    Raises ContentError, SpecError.
    """
    layout = PackageLayout.of(content.manifest)
    origin = Origin(kind="source", reference=None, location="this program")
    artifact = RemoteArtifact(
        origin=origin,
        manifest=content.manifest,
        config=content.blobs[layout.config.digest],
        object=content.blobs[layout.object.digest],
    )
    verified = admit(
        artifact,
        Policy(),
        _NoCheck(),
        now=datetime.now(UTC),
        marks=_NoMarks(),
        skip=InsecureSkip(reason=reason),
    )
    warnings.warn(
        f"RUNNING UNVERIFIED CODE IN THE KERNEL: {verified.config.name} ({verified.digest}):"
        f" {reason}",
        InsecureWarning,
        stacklevel=2,
    )
    return verified
