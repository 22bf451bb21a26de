"""What passes between the core, which decides, and a transport, which sends and waits.

An `Exchange` is a generator: it yields an `Action`, is sent the `Outcome`, and returns the
`Answer`.  It does no I/O, so the same one is driven by requests and by aiohttp.
"""

import base64
from collections.abc import Generator, Iterable, Mapping
from enum import Enum
from typing import Protocol, Self, TypeAlias

from bpfpack.spec.bounded import Readable
from bpfpack.spec.errors import SpecError
from bpfpack.spec.value import field, valuetype


@valuetype
class Credential:
    """What a registry knows a user by.

    ``identity_token`` is exchanged at a token service (OAuth 2, RFC 6749 section 6),
    ``registry_token`` is a Bearer token by itself; either replaces the secret.
    """

    username: str = ""
    secret: str = field(default="", repr=False)
    identity_token: str = field(default="", repr=False)
    registry_token: str = field(default="", repr=False)

    @classmethod
    def from_basic(cls, encoded: str) -> Self:
        """Parse the base64 of ``user:secret`` (RFC 7617); raises SpecError."""
        try:
            text = base64.b64decode(encoded, validate=True).decode()
        except ValueError as e:
            raise SpecError("not base64 of text") from e
        username, colon, secret = text.partition(":")
        if not colon:
            raise SpecError("no ':' between user and secret")
        # docker pads with NUL on some platforms.
        return cls(username=username, secret=secret.rstrip("\0"))


class Headers:
    """The headers of a response, in order, asked for in any case."""

    __slots__ = ("_items",)

    def __init__(self, items: Iterable[tuple[str, str]]) -> None:
        self._items = tuple((name.lower(), value) for name, value in items)

    def all(self, name: str) -> tuple[str, ...]:
        """Return every value of ``name``."""
        return tuple(value for key, value in self._items if key == name.lower())

    def get(self, name: str) -> str | None:
        """Return the first value of ``name``."""
        return next(iter(self.all(name)), None)


class Body(Protocol):
    """What a request carries, streamed."""

    @property
    def size(self) -> int: ...
    @property
    def replayable(self) -> bool:
        """Whether `open` gives the same bytes once more."""

    def open(self) -> Readable: ...


@valuetype
class Request:
    """One HTTP request; the URL goes out as it is."""

    method: str
    url: str
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    body: Body | None = None


@valuetype
class Head:
    """The beginning of a response; its body is still to come."""

    status: int
    url: str
    headers: Headers


class Trouble(Enum):
    """Why there is no response, as far as it matters for trying again."""

    NAME = "the name does not resolve"
    CONNECT = "no connection"
    TLS = "no trusted TLS connection"
    TIMEOUT = "no answer in time"
    BROKEN = "the connection broke"
    REQUEST = "it cannot be asked for"


@valuetype(kw_only=False)
class Failed:
    """No response, or not all of its body."""

    trouble: Trouble
    detail: str = ""

    def __str__(self) -> str:
        return f"{self.trouble.value} ({self.detail})" if self.detail else self.trouble.value


@valuetype(kw_only=False)
class Send:
    """Send a request, following nothing; the outcome is a Head or Failed.

    ``timeout`` bounds the wait for the head, in seconds.  A response that is still open
    is dropped first.
    """

    request: Request
    timeout: float


@valuetype(kw_only=False)
class Read:
    """Read the open response's body; the outcome is at most ``limit`` bytes, or Failed.

    Reading ends with Failed after ``timeout`` seconds, however the bytes trickle.
    """

    limit: int
    timeout: float


@valuetype(kw_only=False)
class Wait:
    """Do nothing for so many seconds; the outcome is None."""

    seconds: float


@valuetype(kw_only=False)
class Ask:
    """Look up the user's credential for a registry; the outcome is a Credential or None."""

    registry: str
    repository: str


@valuetype
class Answer:
    """The response that was wanted; ``body`` is None when it is still to be streamed."""

    head: Head
    body: bytes | None


Action: TypeAlias = Send | Read | Wait | Ask
Outcome: TypeAlias = Head | Failed | bytes | Credential | None
Exchange: TypeAlias = Generator[Action, Outcome, Answer]


def send(request: Request, timeout: float) -> Generator[Action, Outcome, Head | Failed]:
    """Send and return the head."""
    outcome = yield Send(request, timeout)
    if not isinstance(outcome, Head | Failed):
        raise TypeError("a transport answers Send with Head or Failed")
    return outcome


def read(limit: int, timeout: float) -> Generator[Action, Outcome, bytes | Failed]:
    """Read the body of the response at hand."""
    outcome = yield Read(limit, timeout)
    if not isinstance(outcome, bytes | Failed):
        raise TypeError("a transport answers Read with bytes or Failed")
    return outcome


def ask(registry: str, repository: str) -> Generator[Action, Outcome, Credential | None]:
    """Return the user's credential for ``registry``."""
    outcome = yield Ask(registry, repository)
    if outcome is not None and not isinstance(outcome, Credential):
        raise TypeError("a transport answers Ask with a Credential or None")
    return outcome
