"""References: docker's grammar, strictly anchored, with no default registry.

``[HOST[:PORT]/]PATH[:TAG][@DIGEST]``.  The first component is a registry when it
holds a dot or a colon or is ``localhost``; otherwise the name is *bare* and lives in
the local store only.  A registry has one spelling (`canonical_host`), so that nothing typed
otherwise escapes a rule; a single component on ``docker.io`` gains ``library/``, as with docker.
Grammar: github.com/distribution/reference, regexp.go.
"""

import re
from typing import Final, Self

from bpfpack.spec.digest import Digest
from bpfpack.spec.errors import SpecError
from bpfpack.spec.value import replace, valuetype

_COMPONENT: Final = r"[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*"
_DOMAIN: Final = r"(?:[a-zA-Z0-9]|[a-zA-Z0-9][a-zA-Z0-9-]*[a-zA-Z0-9])"
_IPV6: Final = r"\[[a-fA-F0-9:]+\]"
_HOST: Final = rf"(?:{_DOMAIN}(?:\.{_DOMAIN})*|{_IPV6})(?::[0-9]{{1,5}})?"
_TAG: Final = r"[a-zA-Z0-9_][a-zA-Z0-9._-]{0,127}"

_NAME_RE: Final = re.compile(rf"{_COMPONENT}(?:/{_COMPONENT})*")
_HOST_RE: Final = re.compile(_HOST)
_PORT_RE: Final = re.compile(r":0*([0-9]+)\Z")
_TAG_RE: Final = re.compile(_TAG)
_PATHS: Final = ("/", "./", "../")
_DOCKER_HUB: Final = ("docker.io", "index.docker.io", "registry-1.docker.io")
# reference.NameTotalLengthMax
_NAME_MAX: Final = 255


@valuetype(kw_only=False, order=True)
class Reference:
    """A parsed name; ``registry`` is None for a bare name.

    >>> ref = Reference.parse("ghcr.io/x/opensnoop:1.0")
    >>> ref.registry, ref.repository, ref.tag, ref.digest
    ('ghcr.io', 'x/opensnoop', '1.0', None)
    >>> str(Reference.parse("Index.Docker.io:443/busybox"))
    'docker.io/library/busybox'
    """

    registry: str | None
    repository: str
    tag: str | None = None
    digest: Digest | None = None

    def __post_init__(self) -> None:
        if self.registry is not None and not valid_host(self.registry):
            raise SpecError(f"not a registry host: {self.registry[:80]!r}")
        if not _NAME_RE.fullmatch(self.repository):
            raise SpecError(_repository_fault(self.repository))
        if len(self.name) > _NAME_MAX:
            raise SpecError(f"a name has at most {_NAME_MAX} characters")
        if self.tag is not None and not _TAG_RE.fullmatch(self.tag):
            raise SpecError(f"not a tag: {self.tag[:80]!r}")

    @classmethod
    def parse(cls, text: str) -> Self:
        """Parse what a user typed; raises SpecError."""
        if not text:
            raise SpecError("an empty reference")
        if text.startswith(_PATHS) or text in (".", ".."):
            raise SpecError(f"a reference is wanted here, not a path: {text[:80]!r}").with_hint(
                f"an archive comes into the store by its name: bpfpack load -f {text[:80]}"
            )
        name, at, digest_text = text.partition("@")
        digest = Digest.parse(digest_text) if at else None
        first, slash, rest = name.partition("/")
        registry: str | None = None
        if slash and ("." in first or ":" in first or first == "localhost" or first[:1] == "["):
            registry, name = first, rest
        path, colon, tag = name.rpartition(":")
        if not colon:
            path, tag = name, ""
        elif not tag:
            raise SpecError("an empty tag after ':'")
        if registry is not None and valid_host(registry):
            registry = canonical_host(registry)
        if registry == "docker.io" and "/" not in path:
            path = f"library/{path}"
        return cls(registry, path, tag if colon else None, digest)

    @property
    def name(self) -> str:
        """Host and repository, without tag and digest."""
        return f"{self.registry}/{self.repository}" if self.registry else self.repository

    @property
    def is_bare(self) -> bool:
        """True for a name without a registry: local store only."""
        return self.registry is None

    @property
    def api_host(self) -> str:
        """The host that answers for this registry; raises SpecError for a bare name."""
        if self.registry is None:
            raise SpecError(f"{self} names no registry").with_hint(
                f"write the registry too, such as ghcr.io/you/{self.repository}"
            )
        return "registry-1.docker.io" if self.registry == "docker.io" else self.registry

    def with_tag(self, tag: str | None) -> "Reference":
        """Return the same repository under ``tag``, by no digest."""
        return replace(self, tag=tag, digest=None)

    def with_digest(self, digest: Digest) -> "Reference":
        """Return the same repository, pinned."""
        return replace(self, digest=digest)

    def __str__(self) -> str:
        tag = f":{self.tag}" if self.tag else ""
        digest = f"@{self.digest}" if self.digest else ""
        return f"{self.name}{tag}{digest}"


def canonical_host(host: str) -> str:
    """Return the one spelling of a valid ``host[:port]``: case, aliases, numbers, ``:443``.

    Loopback keeps its port: it is reached without TLS, where 443 is not the default.

    >>> canonical_host("GHCR.io:0443"), canonical_host("[::0001]:443"), canonical_host("x:443")
    ('ghcr.io', '[::1]:443', 'x:443')
    """
    match = _PORT_RE.search(host)
    name, port = (host[: match.start()], match[1]) if match else (host, "")
    name = _canonical_address(name) if name[:1] == "[" else name.lower()
    remote = ("." in name or name[:1] == "[") and not name.startswith(("127.", "[::1]"))
    if port == "443" and remote:  # else it is no host without its port, or another one
        port = ""
    if not port:
        return "docker.io" if name in _DOCKER_HUB else name
    return f"{name}:{port}"


def _canonical_address(bracketed: str) -> str:
    """One of many spellings of an IPv6 address (RFC 5952); what is none stays as it is."""
    from ipaddress import AddressValueError, IPv6Address  # hardly any reference needs it

    try:
        return f"[{IPv6Address(bracketed[1:-1])}]"
    except AddressValueError:
        return bracketed


def valid_host(text: str) -> bool:
    """Say whether ``text`` is ``host[:port]`` as a reference may hold it."""
    return bool(_HOST_RE.fullmatch(text))


def valid_tag(text: str) -> bool:
    """Say whether ``text`` is a tag (distribution spec 1.1)."""
    return bool(_TAG_RE.fullmatch(text))


def valid_repository(text: str) -> bool:
    """Say whether ``text`` is a repository path (distribution spec 1.1)."""
    return len(text) <= _NAME_MAX and bool(_NAME_RE.fullmatch(text))


def _repository_fault(repository: str) -> str:
    if repository != repository.lower():
        return f"a repository is lower case: {repository[:80]!r}"
    return f"not a repository name: {repository[:80]!r}"
