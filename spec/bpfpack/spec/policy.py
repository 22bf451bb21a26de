"""The model of policy.toml: which keys may sign for which references.

Default deny.  A scope is a registry, a repository, a prefix of whole path components,
``*.host``, or a transport (``file:``, ``https://host/path``, ``stdin:``).  The most specific
scope that covers an origin decides alone; nothing merges.  The parser refuses what it does
not know, since a field that is ignored is a restriction that is lost.
"""

import base64
import binascii
import re
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any, Final, Literal, cast

from bpfpack.spec import fields
from bpfpack.spec.digest import Digest
from bpfpack.spec.errors import SpecError
from bpfpack.spec.limits import LIMITS
from bpfpack.spec.origin import Origin
from bpfpack.spec.reference import Reference, canonical_host, valid_host, valid_repository
from bpfpack.spec.value import field, replace, valuetype

Level = Literal["enforce", "warn"]

VERSION: Final = 1
#: The member that lists users whose builds count as this host's own, for root alone.
LOCAL_BUILDS: Final = "trust-local-builds"
#: What stands for a scope where one key was named on the command line.
ONLY_KEY: Final = "--key"

_PEM: Final = re.compile(
    r"\s*-----BEGIN PUBLIC KEY-----\s*([A-Za-z0-9+/=\s]+?)\s*-----END PUBLIC KEY-----\s*"
)
_USER_NAME: Final = re.compile(r"[^\x00-\x20\x7f-\x9f:]{1,64}")
_MOST_UID: Final = 2**32 - 2
_KEY_NAME: Final = re.compile(r"[^\x00-\x1f\x7f-\x9f]{1,128}")
_AGE: Final = re.compile(r"([1-9][0-9]{0,5})([smhdw])")
_UNITS: Final = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days", "w": "weeks"}
_SECONDS: Final = ((86400, "d"), (3600, "h"), (60, "m"), (1, "s"))
_WILDCARD: Final = re.compile(r"\*\.([a-z0-9-]+(?:\.[a-z0-9-]+)*)")


@valuetype
class Key:
    """A public key that a rule trusts, and when.

    The window is held against the clock of this host, never against a time in the message.
    """

    name: str
    pem: str = field(repr=False)
    not_before: datetime | None = None
    not_after: datetime | None = None

    def __post_init__(self) -> None:
        if not _KEY_NAME.fullmatch(self.name):
            raise SpecError("not a name of 1 to 128 printable characters", path=("name",))
        public_der(self.pem)
        if self.not_before and self.not_after and self.not_before >= self.not_after:
            raise SpecError("not after not_before", path=("not_after",))

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> "Key":
        """Parse one entry of ``keys``; raises SpecError."""
        fields.only(data, "name", "pem", "not_before", "not_after")
        return cls(
            name=fields.string(data, "name"),
            pem=fields.string(data, "pem"),
            not_before=_moment(data, "not_before"),
            not_after=_moment(data, "not_after"),
        )

    @property
    def fingerprint(self) -> str:
        """SHA-256 of the DER SubjectPublicKeyInfo, in hex."""
        return fingerprint(self.pem)

    def __str__(self) -> str:
        return f"{self.name} (SHA256:{self.fingerprint[:16]})"


@valuetype
class Scope:
    """One rule: what it covers, and what satisfies it.

    ``signed_as`` is a prefix under which copies were signed; ``unnamed`` also takes
    signatures that name no reference, or no tag, as cosign makes them; ``host`` also takes
    what was built on this host.  ``source`` says which file the rule is from.
    """

    name: str
    keys: tuple[Key, ...]
    host: bool = False
    signed_as: str | None = None
    unnamed: bool = False
    level: Level = "enforce"
    max_age: timedelta | None = None
    source: str = "policy.toml"

    @classmethod
    def from_dict(cls, name: str, data: Mapping[str, Any], *, source: str) -> "Scope":
        """Parse one rule; raises SpecError."""
        fields.only(data, "keys", "signed_as", "unnamed", "level", "max_age")
        entries = fields.objects(data, "keys", most=LIMITS.policy_keys, parse=_key_or_host)
        if not entries:
            raise SpecError("a rule without keys", path=("keys",))
        keys = tuple(entry for entry in entries if entry is not None)
        _no_key_twice(keys)
        return cls(
            name=canonical_scope(name),
            keys=keys,
            host=len(keys) != len(entries),
            signed_as=_signed_as(data),
            unnamed=fields.boolean(data, "unnamed"),
            level=_level(data),
            max_age=_age(data),
            source=source,
        )

    def expected_names(self, reference: Reference) -> tuple[str, ...]:
        """The names under which ``reference`` may have been signed, first the one typed."""
        typed = fold_host(reference.name)
        if self.signed_as is None:
            return (typed,)
        covered = typed.partition("/")[0] if self.name.startswith("*.") else self.name
        return (typed, self.signed_as + typed.removeprefix(covered))

    @property
    def options(self) -> tuple[str, ...]:
        """What holds for every key of the rule, in the words of `trust add`."""
        said = (
            f"signed-as {self.signed_as}" if self.signed_as else "",
            "unnamed" if self.unnamed else "",
            f"level {self.level}" if self.level != "enforce" else "",
            f"max-age {format_age(self.max_age)}" if self.max_age else "",
        )
        return tuple(filter(None, said))

    def __str__(self) -> str:
        return f"{self.name} in {self.source}"


@valuetype
class Invoker:
    """The user for whom root runs, as sudo names them."""

    uid: int
    name: str


@valuetype
class LocalBuilder:
    """A user whose builds count as built on this host when root runs them for that user.

    ``pem`` is the public host key of that user as it was when the entry was made: a key that
    is exchanged later counts for nothing.
    """

    uid: int
    name: str
    pem: str = field(repr=False)

    def __post_init__(self) -> None:
        if not _USER_NAME.fullmatch(self.name):
            raise SpecError("not the name of a user", path=("user",))
        public_der(self.pem)

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> "LocalBuilder":
        """Parse one entry of ``trust-local-builds``; raises SpecError."""
        fields.only(data, "uid", "user", "pem")
        return cls(
            uid=fields.integer(data, "uid", low=1, high=_MOST_UID),
            name=fields.string(data, "user"),
            pem=fields.string(data, "pem"),
        )

    @property
    def fingerprint(self) -> str:
        """SHA-256 of the DER SubjectPublicKeyInfo, in hex."""
        return fingerprint(self.pem)

    def __str__(self) -> str:
        return f"{self.name} (uid {self.uid})"


@valuetype
class Policy:
    """All rules of this host; ``problem`` says why the file cannot be used, and denies all."""

    scopes: Mapping[str, Scope] = field(default_factory=dict)
    local_builders: Mapping[int, LocalBuilder] = field(default_factory=dict)
    user_rules: bool = True
    problem: str | None = None
    everywhere: Scope | None = None

    @classmethod
    def from_dict(cls, data: Mapping[str, Any], *, source: str = "policy.toml") -> "Policy":
        """Parse the TOML mapping; raises SpecError for anything unknown."""
        fields.only(data, "version", "user_rules", "scopes", LOCAL_BUILDS)
        if fields.integer(data, "version") != VERSION:
            raise SpecError(f"not {VERSION}", path=("version",))
        builders = fields.objects(
            data, LOCAL_BUILDS, most=LIMITS.policy_keys, parse=LocalBuilder.from_dict
        )
        if len({builder.uid for builder in builders}) != len(builders):
            raise SpecError("the same user twice", path=(LOCAL_BUILDS,))
        table = fields.mapping(data, "scopes")
        scopes: dict[str, Scope] = {}
        for name in table:
            with fields.inside("scopes"):
                rule = fields.mapping(table, name)
                with fields.inside(name):
                    scope = Scope.from_dict(name, rule, source=source)
                if scope.name in scopes:
                    raise SpecError("a second rule for the same scope", path=(name,))
            scopes[scope.name] = scope
        return cls(
            scopes=scopes,
            local_builders={builder.uid: builder for builder in builders},
            user_rules=fields.boolean(data, "user_rules", default=True),
        )

    @classmethod
    def deny_all(cls, problem: str) -> "Policy":
        """The policy of a host whose policy cannot be read."""
        return cls(problem=problem)

    @classmethod
    def only_key(cls, key: Key, *, unnamed: bool = True) -> "Policy":
        """What ``--key PUB`` on the command line means: this key, wherever it came from."""
        scope = Scope(name=ONLY_KEY, keys=(key,), unnamed=unnamed, source="the command line")
        return cls(everywhere=scope)

    def below(self, system: "Policy") -> "Policy":
        """Combine with the system's policy, which wins where both have a rule for one scope.

        Whose builds count is the system's to say.
        """
        if self.problem or system.problem:
            return Policy.deny_all(system.problem or self.problem or "")
        if not system.user_rules:
            return system
        return replace(system, scopes={**self.scopes, **system.scopes})

    def rule_for(self, origin: Origin) -> Scope | None:
        """Return the most specific scope that covers ``origin``, or None."""
        if self.everywhere:
            return self.everywhere
        covering = [
            (rank, scope)
            for scope in self.scopes.values()
            if (rank := specificity(scope.name, origin)) is not None
        ]
        return max(covering, key=lambda found: found[0])[1] if covering else None


def canonical_scope(text: str) -> str:
    """Return the one spelling of a scope; raises SpecError when it is none.

    >>> canonical_scope("index.docker.io/library")
    'docker.io/library'
    """
    if text in ("file:", "file:/", "stdin:"):
        return text.removesuffix("/")
    if text.startswith("file:"):
        return f"file:/{'/'.join(_path_parts(text.removeprefix('file:'), absolute=True))}"
    if text.startswith("https://"):
        host, _, path = text.removeprefix("https://").partition("/")
        parts = _path_parts(path, absolute=False) if path else ()
        return "/".join(("https:/", _host(host), *parts))
    if text.startswith("*."):
        if not _WILDCARD.fullmatch(text.lower()):
            raise SpecError(f"not a scope: {text[:80]!r}")
        return text.lower()
    return _repository_scope(text)


def specificity(scope: str, origin: Origin) -> tuple[int, int] | None:
    """Rank a scope that covers ``origin``, higher for more specific; None when it does not."""
    if origin.reference is None:
        return _transport_rank(scope, origin)
    if origin.reference.registry is None:
        return None
    typed = fold_host(origin.reference.name).split("/")
    if scope.startswith("*."):
        bare_host = typed[0].rpartition(":")[0] or typed[0]
        return (0, scope.count(".")) if bare_host.endswith(scope[1:]) else None
    parts = scope.split("/")
    return (1, len(parts)) if typed[: len(parts)] == parts else None


def fold_host(name: str) -> str:
    """Return ``host/repository`` with the host in its one spelling."""
    host, slash, path = name.partition("/")
    return f"{canonical_host(host)}{slash}{path}"


def public_der(pem: str) -> bytes:
    """Return the DER inside the one PUBLIC KEY block of ``pem``; raises SpecError."""
    if "PRIVATE KEY" in pem:
        raise SpecError("a private key where a public key belongs", path=("pem",))
    if not (match := _PEM.fullmatch(pem)) or len(pem) > LIMITS.key_file:
        raise SpecError("not one PEM block of PUBLIC KEY", path=("pem",))
    try:
        der = base64.b64decode("".join(match[1].split()), validate=True)
    except (binascii.Error, ValueError) as e:
        raise SpecError("not base64", path=("pem",)) from e
    if der[:1] != b"\x30":
        raise SpecError("not a DER SubjectPublicKeyInfo", path=("pem",))
    return der


def fingerprint(pem: str) -> str:
    """Return the SHA-256 of the key's DER SubjectPublicKeyInfo, in hex; raises SpecError."""
    return Digest.sha256(public_der(pem)).encoded


def parse_age(text: str) -> timedelta:
    """Parse ``90d``, ``12h``, ``2w``; raises SpecError."""
    if not (match := _AGE.fullmatch(text)):
        raise SpecError("not a duration such as 90d or 12h")
    return timedelta(**{_UNITS[match[2]]: int(match[1])})


def format_age(age: timedelta) -> str:
    """Spell an age as `parse_age` reads it.

    >>> format_age(timedelta(days=90)), format_age(timedelta(hours=36))
    ('90d', '36h')
    """
    seconds = int(age.total_seconds())
    size, unit = next((n, u) for n, u in _SECONDS if seconds % n == 0)
    return f"{seconds // size}{unit}"


def _transport_rank(scope: str, origin: Origin) -> tuple[int, int] | None:
    if origin.kind == "stdin":
        return (0, 0) if scope == "stdin:" else None
    if origin.kind == "file" and scope == "file:":
        return (0, 0)
    if origin.kind not in ("file", "https"):
        return None
    try:
        here = canonical_scope(_without_query(origin)).split("/")
    except SpecError:  # a spelling with `..` or %2e is covered by nothing
        return None
    parts = scope.split("/")
    return (1, len(parts)) if here[: len(parts)] == parts else None


def _without_query(origin: Origin) -> str:
    if origin.kind == "file":
        return f"file:{origin.location}"
    return re.split(r"[?#]", origin.location, maxsplit=1)[0]


def _path_parts(path: str, *, absolute: bool) -> tuple[str, ...]:
    if path.startswith("/") != absolute:
        raise SpecError("not an absolute path" if absolute else "an empty path component")
    parts = tuple(path.removeprefix("/").split("/")) if path != "/" else ()
    for part in parts:
        if part in ("", ".", "..") or (not absolute and re.search(r"[%\\\s?#]", part)):
            raise SpecError(f"not a plain path component: {part[:80]!r}")
    return parts


def _host(text: str) -> str:
    if not valid_host(text):
        raise SpecError(f"not a host: {text[:80]!r}")
    return text.lower()


def _repository_scope(text: str) -> str:
    host, slash, path = text.partition("/")
    if not ("." in host or ":" in host or host.lower() == "localhost") or not valid_host(host):
        raise SpecError(f"not a scope: {text[:80]!r} begins with no registry such as ghcr.io")
    if slash and not valid_repository(path):
        raise SpecError(f"not a scope: {path[:80]!r} is not whole path components")
    return f"{canonical_host(host)}{slash}{path}"


def _key_or_host(data: Mapping[str, Any]) -> Key | None:
    """One entry of ``keys``; None stands for ``{ host = true }``."""
    if "host" not in data:
        return Key.from_dict(data)
    fields.only(data, "host")
    if not fields.boolean(data, "host"):
        raise SpecError("leave the entry out instead", path=("host",))
    return None


def _no_key_twice(keys: tuple[Key, ...]) -> None:
    for what, values in (
        ("key", [key.fingerprint for key in keys]),
        ("name", [key.name for key in keys]),
    ):
        if len(set(values)) != len(values):
            raise SpecError(f"the same {what} twice", path=("keys",))


def _moment(data: Mapping[str, Any], key: str) -> datetime | None:
    value = data.get(key)
    if value is None:
        return None
    if not isinstance(value, datetime) or value.tzinfo is None:
        raise SpecError("not a date and time with a zone", path=(key,))
    try:
        return value.astimezone(UTC)
    except OverflowError as e:
        raise SpecError("not a time between the years 1 and 9999 in UTC", path=(key,)) from e


def _signed_as(data: Mapping[str, Any]) -> str | None:
    text = fields.optional_string(data, "signed_as")
    if text is None:
        return None
    with fields.inside("signed_as"):
        return _repository_scope(text)


def _level(data: Mapping[str, Any]) -> Level:
    text = fields.string(data, "level") if "level" in data else "enforce"
    if text not in ("enforce", "warn"):
        raise SpecError("neither enforce nor warn", path=("level",))
    return cast("Level", text)


def _age(data: Mapping[str, Any]) -> timedelta | None:
    text = fields.optional_string(data, "max_age")
    if text is None:
        return None
    with fields.inside("max_age"):
        return parse_age(text)
