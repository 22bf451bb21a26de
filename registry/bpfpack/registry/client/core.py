"""How a registry is talked to, without I/O: credentials, redirects, retries, errors.

`Core.exchange` is one question.  Its rules:

 * Credentials and tokens go to the origin (scheme, host, port) that was asked for, never to
   where it redirects.  Neither they nor a token that they bought go unencrypted to another
   machine.
 * A 401 is answered once: with a token from the realm that its challenge names (`realms`
   decides what is sent there) or with Basic.  A cached token that is refused is dropped.
 * What failed for the moment is asked again, if that cannot do harm, as long as the deadline
   allows.
 * A body that is wanted whole is read here, so that a truncated one is asked for again.
"""

import random
import time
from collections.abc import Callable, Generator, Mapping
from typing import Final

from bpfpack.registry.client import challenge, realms, retry, tokens
from bpfpack.registry.client.faults import fault, token_fault
from bpfpack.registry.client.settings import Settings
from bpfpack.registry.client.tokens import Scope, TokenCache
from bpfpack.registry.client.urls import Origin, origin, resolve
from bpfpack.registry.client.warned import Warnings
from bpfpack.registry.client.wire import (
    Action,
    Answer,
    Body,
    Credential,
    Exchange,
    Failed,
    Head,
    Headers,
    Outcome,
    Request,
    Trouble,
    Wait,
    ask,
    read,
    send,
)
from bpfpack.registry.redact import redact_url
from bpfpack.spec.errors import Denied, LimitExceeded, TransportError
from bpfpack.spec.limits import LIMITS
from bpfpack.spec.value import field, valuetype

_HINTS: Final = {
    Trouble.TLS: "--ca-file names its authority, --plain-http reaches a registry without TLS",
    Trouble.NAME: "is the registry's name spelled right, and is there a network?",
}
_REDIRECTS: Final = frozenset({301, 302, 303, 307, 308})
_METHOD_KEPT: Final = frozenset({307, 308})
_MOST_REDIRECTS: Final = 5
# Seconds for the body of a response that is already known to be a refusal.
_REMARK: Final = 5.0


@valuetype
class Call:
    """One question to a registry.

    ``registry`` is the origin that credentials belong to, ``name`` what the user calls it
    (credentials are looked up by that).  ``read`` bounds the body in bytes; None leaves it
    to be streamed.  ``foreign_redirects`` False ends the call at a redirect to another
    origin, whose head is then the answer.  ``repeatable`` False says that a second time could
    do harm.
    """

    method: str
    url: str
    what: str
    registry: Origin
    name: str
    repository: str = ""
    scopes: frozenset[Scope] = frozenset()
    headers: Mapping[str, str] = field(default_factory=dict)
    body: Body | None = None
    ok: frozenset[int] = frozenset({200})
    read: int | None = None
    foreign_redirects: bool = True
    repeatable: bool = True

    @property
    def idempotent(self) -> bool:
        """Whether it may be sent a second time without harm."""
        return self.repeatable and (self.body is None or self.body.replayable)


@valuetype(kw_only=False)
class _Got:
    """A head, and the body where it was read."""

    head: Head
    body: bytes | None = None


class Core:
    """What is remembered between questions: tokens, who wants Basic, warnings."""

    def __init__(
        self,
        settings: Settings,
        *,
        now: Callable[[], float] = time.monotonic,
        wall: Callable[[], float] = time.time,
        chance: Callable[[], float] = random.random,
    ) -> None:
        self.settings, self.warnings = settings, Warnings()
        self._now, self._wall, self._chance = now, wall, chance
        self._tokens = TokenCache(now)
        self._basic: set[Origin] = set()

    def exchange(self, call: Call) -> Exchange:
        """Ask; returns an answer whose status is in ``call.ok``.

        Raises NotFound, Denied, TransportError, and LimitExceeded for a body that is too
        long.
        """
        deadline = self._now() + self.settings.deadline
        url = call.url
        for _ in range(_MOST_REDIRECTS + 1):
            got = yield from self._authorized(call, url, deadline)
            target = self._redirect(call, got.head)
            if target is None:
                return (yield from self._answer(call, got, deadline))
            url = target
        raise TransportError(f"{call.what}: more than {_MOST_REDIRECTS} redirects")

    def pause(self, attempt: int) -> Exchange:
        """Wait as long as after the ``attempt``-th failure of a question."""
        return (yield from self.wait(retry.backoff(attempt, self._chance())))

    def wait(self, seconds: float) -> Exchange:
        """Wait for so long, and answer nothing."""
        yield Wait(seconds)
        return Answer(head=Head(status=0, url="", headers=Headers(())), body=b"")

    def _answer(self, call: Call, got: _Got, deadline: float) -> Exchange:
        head = got.head
        self.warnings.add(head.headers.all("warning"))
        if head.status in call.ok or (head.status in _REDIRECTS and not call.foreign_redirects):
            return Answer(head=head, body=got.body)
        body = got.body
        if body is None and call.method != "HEAD":
            outcome = yield from read(LIMITS.error_body, _REMARK)
            body = outcome if isinstance(outcome, bytes) else b""
        raise fault(head, body or b"", call.what, call.name)

    def _redirect(self, call: Call, head: Head) -> str | None:
        """Where the answer sends us, None when it is an answer."""
        location = head.headers.get("location")
        if head.status not in _REDIRECTS or location is None or head.status in call.ok:
            return None
        if call.method not in ("GET", "HEAD") and head.status not in _METHOD_KEPT:
            return None
        target = resolve(head.url, location)
        there, here = origin(target), origin(head.url)
        if there != here and not call.foreign_redirects:
            return None
        # A downgrade would show the content, and the address in it, to the network.
        if there.scheme == "http" and here.scheme != "http":
            raise TransportError(f"{call.what}: redirected to plain http: {redact_url(target)}")
        return target

    def _authorized(
        self, call: Call, url: str, deadline: float
    ) -> Generator[Action, Outcome, _Got]:
        """Send with what is known of the user, and answer one 401."""
        if origin(url) != call.registry:
            return (yield from self._persistent(call, url, None, deadline))
        value = yield from self._known(call)
        got = yield from self._persistent(call, url, value, deadline)
        if got.head.status != 401:
            return got
        challenges = challenge.parse(got.head.headers.all("www-authenticate"))
        if value and value.startswith("Bearer "):
            self._tokens.drop(call.registry, value.removeprefix("Bearer "))
        if not challenges or (call.body is not None and not call.body.replayable):
            return got
        # Read, not dropped: the connection can then be used again.
        yield from read(LIMITS.error_body, _REMARK)
        renewed = yield from self._meet(call, challenges, deadline)
        if renewed is None or renewed == value:
            raise Denied(f"{call.what}: HTTP 401", status=401).with_hint(
                f"try `bpfpack login {call.name}`"
            )
        return (yield from self._persistent(call, url, renewed, deadline))

    def _known(self, call: Call) -> Generator[Action, Outcome, str | None]:
        """The Authorization value that this registry took before."""
        if token := self._tokens.get(call.registry, call.scopes):
            return f"Bearer {token}"
        if call.registry in self._basic:
            credential = yield from ask(call.name, call.repository)
            return tokens.basic(credential) if credential else None
        return None

    def _meet(
        self, call: Call, challenges: tuple[challenge.Challenge, ...], deadline: float
    ) -> Generator[Action, Outcome, str | None]:
        """The Authorization value that the challenges ask for, None without a credential."""
        credential = yield from ask(call.name, call.repository)
        by_scheme = {c.scheme: c for c in reversed(challenges)}
        if bearer := by_scheme.get("bearer"):
            token = yield from self._token(call, bearer, credential, deadline)
            return f"Bearer {token}"
        if "basic" not in by_scheme or credential is None or not credential.secret:
            return None
        self._refuse_open(call)
        self._basic.add(call.registry)
        return tokens.basic(credential)

    def _token(
        self,
        call: Call,
        bearer: challenge.Challenge,
        credential: Credential | None,
        deadline: float,
    ) -> Generator[Action, Outcome, str]:
        if credential:
            # Before the token service is asked: what it gave would be as good as the password.
            self._refuse_open(call)
            if credential.registry_token:
                return credential.registry_token
        realm = bearer.parameters.get("realm", "")
        where = realms.check(realm, call.registry)
        allowed = self.settings.realms.get(call.name, frozenset())
        if credential and not realms.trusted(where, call.registry, allowed):
            raise Denied(
                f"{call.what}: the registry sends its users to {where}, which is not known "
                "to belong to it; credentials were not sent"
            ).with_hint(f"if you know that it does: bpfpack login {call.name} --realm {where.host}")
        scopes = tokens.with_challenged(call.scopes, bearer.parameters.get("scope", ""))
        request = tokens.token_request(realm, bearer.parameters.get("service"), scopes, credential)
        asked = Call(
            method=request.method,
            url=request.url,
            what=f"token for {call.name}",
            registry=where,
            name=call.name,
            headers=request.headers,
            body=request.body,
            read=LIMITS.token_body,
            repeatable=request.method == "GET",
        )
        got = yield from self._persistent(asked, request.url, None, deadline)
        if got.head.status != 200:
            raise token_fault(got.head, got.body or b"", asked.what, call.name)
        value, life = tokens.parse_token(got.body or b"")
        self._tokens.put(call.registry, call.scopes, value, life)
        return value

    def _refuse_open(self, call: Call) -> None:
        if not call.registry.is_private:
            raise Denied(f"{call.what}: credentials are never sent over plain http").with_hint(
                "let the registry serve TLS, or ask it anonymously"
            )

    def _persistent(
        self, call: Call, url: str, authorization: str | None, deadline: float
    ) -> Generator[Action, Outcome, _Got]:
        """Send, and send again while that is worth it."""
        headers = {"User-Agent": self.settings.user_agent, "Accept-Encoding": "identity"}
        headers |= call.headers
        if authorization:
            headers["Authorization"] = authorization
        request = Request(method=call.method, url=url, headers=headers, body=call.body)
        attempt = 0
        while True:
            attempt += 1
            outcome = yield from self._try(call, request, deadline)
            delay = self._delay(call, outcome, attempt, deadline)
            if delay is None:
                break
            yield Wait(delay)
        if isinstance(outcome, Failed):
            error = TransportError(f"{call.what}: {outcome} ({redact_url(url)})")
            error.hint = _HINTS.get(outcome.trouble)
            raise error
        return outcome

    def _try(
        self, call: Call, request: Request, deadline: float
    ) -> Generator[Action, Outcome, _Got | Failed]:
        head = yield from send(request, self._left(deadline))
        if isinstance(head, Failed):
            return head
        wanted = call.read is not None and head.status in call.ok
        if call.read is None or not wanted or call.method == "HEAD":
            return _Got(head, b"" if call.method == "HEAD" else None)
        # One byte more than allowed, so that a longer body is seen.
        body = yield from read(call.read + 1, self._left(deadline))
        if isinstance(body, Failed):
            return body
        if len(body) > call.read:
            raise LimitExceeded(f"{call.what}: more than {call.read} bytes")
        return _Got(head, body)

    def _delay(
        self, call: Call, outcome: _Got | Failed, attempt: int, deadline: float
    ) -> float | None:
        """Seconds until the next try, None when there is none."""
        why: Head | Trouble = outcome.trouble if isinstance(outcome, Failed) else outcome.head
        if attempt >= self.settings.attempts:
            return None
        if not retry.worth(why, idempotent=call.idempotent):
            return None
        asked = None
        if isinstance(why, Head):
            asked = retry.retry_after(why.headers.get("retry-after"), self._wall())
        pause = retry.backoff(attempt, self._chance())
        delay = pause if asked is None else max(asked, 0.0) + pause * 0.1
        return delay if delay < deadline - self._now() else None

    def _left(self, deadline: float) -> float:
        """Seconds left, or TransportError when there are none."""
        if (left := deadline - self._now()) <= 0:
            raise TransportError(f"no answer within {self.settings.deadline:g} seconds")
        return left
