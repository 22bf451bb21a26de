"""Bearer tokens: how one is asked for, and where it may be used again.

The protocol is the distribution project's "Token Authentication Specification"; identity
tokens are its OAuth 2 variant (a refresh token in a POST).
"""

import base64
import io
import re
import urllib.parse
from collections.abc import Callable, Mapping
from typing import Any, Final

from bpfpack.registry.client.urls import Origin, with_parameter
from bpfpack.registry.client.wire import Credential, Request
from bpfpack.spec import strictjson
from bpfpack.spec.errors import SpecError, TransportError
from bpfpack.spec.limits import LIMITS
from bpfpack.spec.value import field, valuetype

# "For compatibility with older clients, a token should never be returned with less than 60
# seconds to live", which is also the default.
_DEFAULT_LIFE: Final = 60.0
_LONGEST_LIFE: Final = 3600.0
# A token about to expire could do so while a blob is on its way.
_MARGIN: Final = 10.0
_VALUE: Final = re.compile(r"[\x21-\x7e]{1,32768}")
# What a registry may want on top of an action: some let only ``*`` delete.
_WIDER: Final = {"push": frozenset({"pull"}), "delete": frozenset({"pull", "*"})}
CLIENT_ID: Final = "bpfpack"


@valuetype(kw_only=False)
class Scope:
    """What a token lets its bearer do with one repository."""

    repository: str
    actions: frozenset[str]

    def __str__(self) -> str:
        return f"repository:{self.repository}:{','.join(sorted(self.actions))}"


@valuetype(kw_only=False)
class Token:
    """A bearer token and when it ends, by the clock of its cache."""

    value: str = field(repr=False)
    ends: float


@valuetype(frozen=False, kw_only=False)
class TokenCache:
    """Tokens by registry origin and scopes; none ever serves another origin or repository."""

    now: Callable[[], float]
    _tokens: dict[tuple[Origin, frozenset[Scope]], Token] = field(default_factory=dict, repr=False)

    def get(self, registry: Origin, scopes: frozenset[Scope]) -> str | None:
        """Return a token that will last a little, for these scopes or for more actions."""
        for (where, held), token in tuple(self._tokens.items()):
            if token.ends - _MARGIN <= self.now():
                self._tokens.pop((where, held), None)
            elif where == registry and _covers(held, scopes):
                return token.value
        return None

    def put(self, registry: Origin, scopes: frozenset[Scope], value: str, life: float) -> None:
        """Keep a token for ``life`` seconds."""
        self._tokens[registry, scopes] = Token(value, self.now() + life)

    def drop(self, registry: Origin, value: str) -> None:
        """Forget a token that the registry no longer takes."""
        for key, token in tuple(self._tokens.items()):
            if key[0] == registry and token.value == value:
                self._tokens.pop(key, None)


def _covers(held: frozenset[Scope], wanted: frozenset[Scope]) -> bool:
    if {s.repository for s in held} != {s.repository for s in wanted}:
        return False
    have = {s.repository: s.actions for s in held}
    return all(s.actions <= have[s.repository] for s in wanted)


def with_challenged(wanted: frozenset[Scope], text: str) -> frozenset[Scope]:
    """Add the actions that a challenge names and that what we do can need.

    Some registries want more than we would ask for (``*`` to delete).  Beyond that, and for
    other repositories, the challenge is ignored: neither the server nor who speaks for it
    chooses what a token is good for, and one to pull with never pushes or deletes.
    """
    extra: dict[str, frozenset[str]] = {}
    for item in text.split():
        kind, _, rest = item.partition(":")
        repository, _, actions = rest.rpartition(":")
        if kind == "repository":
            extra[repository] = frozenset(actions.split(","))
    return frozenset(Scope(s.repository, s.actions | _needed(s, extra)) for s in wanted)


def _needed(scope: Scope, named: Mapping[str, frozenset[str]]) -> frozenset[str]:
    """The actions named for a repository that go with those that we want there."""
    allowed = (wider for action, wider in _WIDER.items() if action in scope.actions)
    return named.get(scope.repository, frozenset()) & frozenset[str]().union(*allowed)


def token_request(
    realm: str, service: str | None, scopes: frozenset[Scope], credential: Credential | None
) -> Request:
    """Return the request for a token; anonymous without a credential."""
    fields = [("service", service)] if service else []
    scope_texts = sorted(str(s) for s in scopes)
    if credential and credential.identity_token:
        form = [
            ("grant_type", "refresh_token"),
            *fields,
            ("client_id", CLIENT_ID),
            ("scope", " ".join(scope_texts)),
            ("refresh_token", credential.identity_token),
        ]
        return Request(
            method="POST",
            url=realm,
            headers={"Content-Type": "application/x-www-form-urlencoded"},
            body=BytesBody(urllib.parse.urlencode(form).encode()),
        )
    query = urllib.parse.urlencode([*fields, *(("scope", s) for s in scope_texts)])
    return Request(
        method="GET",
        url=with_parameter(realm, query) if query else realm,
        headers={"Authorization": basic(credential)} if credential else {},
    )


def parse_token(body: bytes) -> tuple[str, float]:
    """Return a token and its life in seconds; raises TransportError."""
    try:
        data = strictjson.loads_object(body, LIMITS.token_body)
    except SpecError as e:
        raise TransportError(f"the token service did not answer with JSON: {e}") from e
    value = data.get("token") or data.get("access_token")
    if not isinstance(value, str) or not _VALUE.fullmatch(value):
        raise TransportError("the token service answered without a usable token")
    return value, _life(data)


def _life(data: Mapping[str, Any]) -> float:
    life = data.get("expires_in")
    if isinstance(life, bool) or not isinstance(life, int | float) or life <= 0:
        return _DEFAULT_LIFE
    return min(float(life), _LONGEST_LIFE)


def basic(credential: Credential) -> str:
    """Return the value of an Authorization header (RFC 7617)."""
    pair = f"{credential.username}:{credential.secret}".encode()
    return f"Basic {base64.b64encode(pair).decode()}"


@valuetype(kw_only=False)
class BytesBody:
    """A small body at hand."""

    data: bytes = field(repr=False)

    @property
    def size(self) -> int:
        return len(self.data)

    @property
    def replayable(self) -> bool:
        return True

    def open(self) -> io.BytesIO:
        return io.BytesIO(self.data)
