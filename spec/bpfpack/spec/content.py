"""Where content comes from and goes to: the Protocols that stores share.

A local store, an OCI archive and a repository in a registry are interchangeable in every
command, because commands know them by these alone.  A `Source` or `Sink` is one
repository: the registry and the path are already chosen, only tags and digests are named.
"""

from contextlib import AbstractContextManager
from typing import Protocol

from bpfpack.spec.bounded import Readable
from bpfpack.spec.descriptor import Descriptor
from bpfpack.spec.digest import Digest
from bpfpack.spec.errors import TransportError
from bpfpack.spec.manifest import Index, Manifest


class ReferrersUnsupported(TransportError):
    """This place has no referrers API; its fallback tag may still list them.

    Raised for what registries without the API were seen to answer: 400, 404, 405, 406,
    501, a redirect to another host, or 200 without an OCI index.
    """


class Source(Protocol):
    """One repository, seen from its reading side."""

    def resolve(self, name: str | Digest) -> Manifest | Index:
        """Return what a tag or digest names, its bytes hashed and parsed.

        Raises NotFound, TransportError, ContentError, SpecError.
        """
        ...

    def fetch(self, want: Descriptor) -> AbstractContextManager[Readable]:
        """Open a blob; the bytes are unverified until `bounded` has read them.

        Raises NotFound, TransportError, StoreError.
        """
        ...

    def referrers(self, subject: Digest) -> tuple[Descriptor, ...]:
        """List the manifests whose subject is ``subject``, newest knowledge, unfiltered.

        Raises ReferrersUnsupported, and TransportError when it could not look.
        """
        ...

    def tags(self) -> tuple[str, ...]:
        """List the tags, sorted; raises NotFound, TransportError."""
        ...


class Sink(Protocol):
    """One repository, seen from its writing side."""

    def has(self, want: Descriptor) -> bool:
        """Say whether a blob is there already."""
        ...

    def push(self, want: Descriptor, source: Readable) -> None:
        """Store a blob; raises ContentError for other bytes than ``want`` names."""
        ...

    def put(self, manifest: Manifest | Index, tag: str | None = None) -> None:
        """Store a manifest whose content is there, and name it; its subject is told.

        The referrers fallback tag is kept up where the place has no referrers API.
        """
        ...


class Progress(Protocol):
    """Told about a transfer; the terminal's bars and the pipe's lines are two of these."""

    def start(self, want: Descriptor, verb: str) -> None:
        """A blob begins; ``verb`` is one of push, pull, copy, exists."""
        ...

    def advance(self, want: Descriptor, size: int) -> None:
        """``size`` more bytes of it went by."""
        ...

    def finish(self, want: Descriptor) -> None:
        """It is there."""
        ...
