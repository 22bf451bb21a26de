"""The core alone: driven by hand, with a clock that only the test moves."""

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from urllib.parse import parse_qs, urlsplit

import pytest

from bpfpack.registry.client.core import Call, Core
from bpfpack.registry.client.settings import Settings
from bpfpack.registry.client.tokens import BytesBody, Scope
from bpfpack.registry.client.urls import origin
from bpfpack.registry.client.wire import (
    Answer,
    Ask,
    Credential,
    Exchange,
    Failed,
    Head,
    Headers,
    Outcome,
    Read,
    Request,
    Send,
    Trouble,
)
from bpfpack.spec.errors import Denied, LimitExceeded, NotFound, TransportError

HOST = "https://r.example"
BEARER = 'Bearer realm="https://auth.r.example/token",service="r",scope="repository:x:pull"'
USER = Credential(username="u", secret="p4ss")
PULL = frozenset({Scope("x", frozenset({"pull"}))})


@dataclass
class World:
    """Plays transport, clock and network: ``serve`` decides what a request is answered."""

    serve: Callable[[Request], tuple[int, dict[str, str], bytes] | Failed]
    credential: Credential | None = None
    settings: Settings = field(default_factory=Settings)
    time: float = 1000.0
    sent: list[Request] = field(default_factory=list)
    waited: list[float] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.core = Core(
            self.settings, now=lambda: self.time, wall=lambda: self.time, chance=lambda: 0.5
        )
        self.body: bytes | Failed = b""

    def run(self, exchange: Exchange) -> Answer:
        outcome: Outcome = None
        try:
            while True:
                outcome = self._do(exchange.send(outcome))
        except StopIteration as stop:
            answer: Answer = stop.value
            return answer

    def _do(self, action: object) -> Outcome:
        match action:
            case Send(request=request):
                self.sent.append(request)
                reply = self.serve(request)
                if isinstance(reply, Failed):
                    return reply
                status, headers, self.body = reply
                return Head(status=status, url=request.url, headers=Headers(headers.items()))
            case Read(limit=limit):
                return self.body if isinstance(self.body, Failed) else self.body[:limit]
            case Ask():
                return self.credential
            case _:
                seconds = action.seconds  # type: ignore[attr-defined]
                self.waited.append(seconds)
                self.time += seconds
                return None

    def to(self, host: str) -> list[Request]:
        return [r for r in self.sent if r.url.startswith(host)]


def call(method: str = "GET", url: str = f"{HOST}/v2/x/manifests/1", **more: object) -> Call:
    values: dict[str, object] = {
        "method": method,
        "url": url,
        "what": "r.example/x:1",
        "registry": origin(HOST),
        "name": "r.example",
        "repository": "x",
        "scopes": PULL,
        "read": 1000,
    }
    return Call(**(values | more))  # type: ignore[arg-type]


def replies(*items: tuple[int, dict[str, str], bytes] | Failed) -> Callable[..., object]:
    rest = list(items)
    return lambda _request: rest.pop(0) if len(rest) > 1 else rest[0]


def world(*items: tuple[int, dict[str, str], bytes] | Failed, **more: object) -> World:
    return World(replies(*items), **more)  # type: ignore[arg-type]


# Case 11: what is asked again.


@pytest.mark.parametrize("status", [408, 429, 500, 502, 503, 504])
def test_what_failed_for_the_moment_is_asked_again(status: int) -> None:
    w = world((status, {}, b""), (status, {}, b""), (200, {}, b"ok"))
    assert w.run(w.core.exchange(call())).body == b"ok"
    assert w.waited == [0.25, 0.5]


@pytest.mark.parametrize("status", [400, 403, 404, 405, 409, 416, 501, 505])
def test_a_verdict_is_not_asked_again(status: int) -> None:
    w = world((status, {}, b""))
    with pytest.raises(TransportError) as caught:
        w.run(w.core.exchange(call()))
    assert caught.value.status == status
    assert len(w.sent) == 1


def test_retry_after_in_seconds_is_waited_for_in_full() -> None:
    w = world((429, {"Retry-After": "7"}, b""), (200, {}, b"ok"))
    w.run(w.core.exchange(call()))
    assert 7 <= w.waited[0] < 8


def test_retry_after_as_a_date_is_waited_for_in_full() -> None:
    # The world's clock begins at 1000 s after the epoch.
    w = world((503, {"Retry-After": "Thu, 01 Jan 1970 00:17:00 GMT"}, b""), (200, {}, b"ok"))
    w.run(w.core.exchange(call()))
    assert 20 <= w.waited[0] < 21


def test_a_retry_after_beyond_the_deadline_is_not_waited_for() -> None:
    w = world((429, {"Retry-After": "100000"}, b""))
    with pytest.raises(TransportError, match="HTTP 429"):
        w.run(w.core.exchange(call()))
    assert (len(w.sent), w.waited) == (1, [])


def test_all_waiting_stays_below_the_deadline() -> None:
    w = world((503, {"Retry-After": "40"}, b""))
    with pytest.raises(TransportError):
        w.run(w.core.exchange(call()))
    assert sum(w.waited) < w.settings.deadline


def test_a_post_is_never_repeated_blindly() -> None:
    for w in (
        world((503, {}, b"")),
        world(Failed(Trouble.BROKEN)),
        world(Failed(Trouble.TIMEOUT)),
    ):
        with pytest.raises(TransportError):
            w.run(w.core.exchange(call("POST", repeatable=False)))
        assert len(w.sent) == 1


def test_a_post_that_never_left_is_sent_again() -> None:
    w = world(Failed(Trouble.CONNECT), (200, {}, b"ok"))
    assert w.run(w.core.exchange(call("POST", repeatable=False))).body == b"ok"


@pytest.mark.parametrize("trouble", [Trouble.NAME, Trouble.TLS])
def test_a_wrong_name_or_certificate_does_not_get_better(trouble: Trouble) -> None:
    w = world(Failed(trouble, "detail"))
    with pytest.raises(TransportError, match="detail"):
        w.run(w.core.exchange(call()))
    assert len(w.sent) == 1


def test_a_truncated_body_is_asked_for_again() -> None:
    w = world((200, {}, b"never seen"))
    bodies = iter([Failed(Trouble.BROKEN), b"whole"])

    def serve(_request: Request) -> tuple[int, dict[str, str], bytes]:
        return 200, {}, next(bodies)  # type: ignore[return-value]

    w.serve = serve
    assert w.run(w.core.exchange(call())).body == b"whole"


def test_a_body_above_its_bound_is_refused() -> None:
    w = world((200, {}, b"x" * 1001))
    with pytest.raises(LimitExceeded):
        w.run(w.core.exchange(call()))
    assert len(w.sent) == 1


def test_a_401_without_a_challenge_fails_after_one_request() -> None:
    w = world((401, {}, b""), credential=USER)
    with pytest.raises(Denied):
        w.run(w.core.exchange(call()))
    assert len(w.sent) == 1


# Cases 9 and 10: tokens.


class TokenWorld:
    """A registry that takes the tokens it has not revoked, and its token service."""

    def __init__(self, **more: object) -> None:
        self.issued: list[str] = []
        self.revoked: set[str] = set()
        self.life = 300
        self.challenge = BEARER
        self.world = World(self._serve, **more)  # type: ignore[arg-type]

    def _serve(self, request: Request) -> tuple[int, dict[str, str], bytes]:
        if "/v2/" not in request.url:
            self.issued.append(f"t{len(self.issued)}")
            return (
                200,
                {},
                b'{"token":"%s","expires_in":%d}'
                % (
                    self.issued[-1].encode(),
                    self.life,
                ),
            )
        token = request.headers.get("Authorization", "").removeprefix("Bearer ")
        if token in self.issued and token not in self.revoked:
            return 200, {}, b"ok"
        return 401, {"WWW-Authenticate": self.challenge}, b""

    def ask(self, **more: object) -> bytes | None:
        return self.world.run(self.world.core.exchange(call(**more))).body  # type: ignore[arg-type]


def test_a_token_is_asked_for_once_and_used_again() -> None:
    t = TokenWorld(credential=USER)
    assert t.ask() == t.ask() == b"ok"
    assert t.issued == ["t0"]
    asked = t.world.to("https://auth.r.example")
    assert [r.headers["Authorization"] for r in asked] == ["Basic dTpwNHNz"]
    assert asked[0].url.endswith("/token?service=r&scope=repository%3Ax%3Apull")


def test_an_expired_token_is_renewed_before_it_is_sent() -> None:
    t = TokenWorld()
    t.ask()
    t.world.time += 295
    t.ask()
    assert t.issued == ["t0", "t1"]
    assert len(t.world.to(HOST)) == 4  # 401, t0; 401, t1: never t0 again


def test_a_cached_token_that_is_refused_is_replaced_once() -> None:
    t = TokenWorld()
    t.ask()
    t.revoked.add("t0")
    assert t.ask() == b"ok"
    assert t.issued == ["t0", "t1"]


def test_a_refused_token_of_more_actions_is_not_tried_again() -> None:
    t = TokenWorld()
    both = frozenset({Scope("x", frozenset({"pull", "push"}))})
    t.ask(scopes=both)
    t.revoked.add("t0")
    t.ask()
    t.ask()
    sent = [r.headers.get("Authorization") for r in t.world.to(HOST)]
    assert sent == [None, "Bearer t0", "Bearer t0", "Bearer t1", "Bearer t1"]


def test_a_fresh_token_that_is_refused_ends_the_call() -> None:
    t = TokenWorld()
    t.revoked |= {"t0", "t1", "t2"}
    with pytest.raises(Denied) as caught:
        t.ask()
    assert t.issued == ["t0"]
    assert "bpfpack login r.example" in str(caught.value.hint)


def test_a_token_serves_neither_another_repository_nor_more_actions() -> None:
    t = TokenWorld()
    t.ask()
    t.ask(scopes=frozenset({Scope("y", frozenset({"pull"}))}), repository="y")
    t.ask(scopes=frozenset({Scope("x", frozenset({"pull", "push"}))}))
    assert len(t.issued) == 3
    t.ask()  # what may push may pull
    assert len(t.issued) == 3


def test_no_token_serves_another_host() -> None:
    t = TokenWorld()
    t.ask()
    other = "https://other.example"
    t.challenge = BEARER.replace("auth.r.example", "auth.other.example")
    t.ask(url=f"{other}/v2/x/manifests/1", registry=origin(other), name="other.example")
    assert "Authorization" not in t.world.to(other)[0].headers
    assert t.world.to(other)[1].headers["Authorization"] == "Bearer t1"


def test_the_server_does_not_choose_what_a_token_is_good_for() -> None:
    t = TokenWorld(credential=USER)
    t.challenge = BEARER.replace("repository:x:pull", "repository:secret/other:pull,push")
    t.ask()
    (asked,) = t.world.to("https://auth.r.example")
    assert asked.url.endswith("/token?service=r&scope=repository%3Ax%3Apull")


@pytest.mark.parametrize(
    ("actions", "granted"),
    [
        ("pull", "pull"),
        ("pull,push", "pull,push"),
        ("push", "pull,push"),
        ("delete", "*,delete,pull"),
        ("delete,pull", "*,delete,pull"),
    ],
)
def test_a_challenge_widens_nothing_that_the_call_does_not_need(actions: str, granted: str) -> None:
    """Who may pull must not be handed a token that pushes or deletes; ``*`` is to delete."""
    t = TokenWorld(credential=USER)
    t.challenge = BEARER.replace("repository:x:pull", "repository:x:pull,push,delete,*,nonsense")
    t.ask(scopes=frozenset({Scope("x", frozenset(actions.split(",")))}))
    (asked,) = t.world.to("https://auth.r.example")
    assert parse_qs(urlsplit(asked.url).query)["scope"] == [f"repository:x:{granted}"]


def test_a_mount_reads_from_the_other_repository_and_no_more() -> None:
    t = TokenWorld(credential=USER)
    every = "pull,push,delete,*"
    t.challenge = BEARER.replace(
        "repository:x:pull", f"repository:x:{every} repository:y:{every} repository:z:{every}"
    )
    t.ask(scopes=PULL | {Scope("y", frozenset({"pull"}))})
    (asked,) = t.world.to("https://auth.r.example")
    assert parse_qs(urlsplit(asked.url).query)["scope"] == [
        "repository:x:pull",
        "repository:y:pull",
    ]


@pytest.mark.parametrize(
    "realm",
    [
        "https://evil.test/token",
        "https://r.example.evil.test/token",
        "https://r.example@evil.test/token",
        "http://auth.r.example/token",
        "http://127.0.0.1:1/token",
        "file:///etc/passwd",
        "//evil.test/token",
        "",
    ],
)
def test_credentials_never_go_to_a_realm_that_policy_does_not_allow(realm: str) -> None:
    t = TokenWorld(credential=USER)
    t.challenge = f'Bearer realm="{realm}",service="r"'
    with pytest.raises(Denied):
        t.ask()
    assert not t.issued
    assert all("Authorization" not in r.headers for r in t.world.sent)


def test_a_configured_realm_gets_credentials() -> None:
    t = TokenWorld(
        credential=USER, settings=Settings(realms={"r.example": frozenset({"sso.test"})})
    )
    t.challenge = 'Bearer realm="https://sso.test/token"'
    assert t.ask() == b"ok"


def test_a_realm_is_configured_for_one_registry() -> None:
    settings = Settings(realms={"other.example": frozenset({"sso.test"})})
    t = TokenWorld(credential=USER, settings=settings)
    t.challenge = 'Bearer realm="https://sso.test/token"'
    with pytest.raises(Denied) as caught:
        t.ask()
    assert "bpfpack login r.example --realm sso.test" in str(caught.value.hint)
    assert not t.issued


def test_an_identity_token_is_posted_not_put_in_a_url() -> None:
    t = TokenWorld(credential=Credential(identity_token="refresh-me"))
    t.ask()
    (asked,) = t.world.to("https://auth.r.example")
    assert asked.method == "POST"
    assert "refresh-me" not in asked.url
    assert isinstance(asked.body, BytesBody)
    assert b"grant_type=refresh_token" in asked.body.data
    assert b"refresh_token=refresh-me" in asked.body.data


@pytest.mark.parametrize(
    "body", [b"", b"[]", b"{}", b'{"token":7}', b'{"token":"a b"}', b'{"token":"a\\r\\nX: y"}']
)
def test_a_token_service_that_answers_nonsense_is_an_error(body: bytes) -> None:
    w = World(
        lambda r: (
            (200, {}, body) if "/v2/" not in r.url else (401, {"WWW-Authenticate": BEARER}, b"")
        )
    )
    with pytest.raises(TransportError, match="token"):
        w.run(w.core.exchange(call()))


def test_a_token_service_that_refuses_says_what_to_do() -> None:
    w = World(
        lambda r: (
            (401, {}, b"") if "/v2/" not in r.url else (401, {"WWW-Authenticate": BEARER}, b"")
        ),
        credential=USER,
    )
    with pytest.raises(Denied) as caught:
        w.run(w.core.exchange(call()))
    assert "login" in str(caught.value.hint)


@pytest.mark.parametrize("status", [301, 400, 404, 405, 406, 412, 416, 429, 500, 501])
@pytest.mark.parametrize("body", [b"", b'{"errors":[{"code":"MANIFEST_UNKNOWN"}]}'])
def test_what_a_token_service_lacks_says_nothing_of_what_was_asked_for(
    status: int, body: bytes
) -> None:
    """A status would be read as "not signed", "no such tag", "no referrers API"."""
    w = World(
        lambda r: (
            (status, {}, body) if "/v2/" not in r.url else (401, {"WWW-Authenticate": BEARER}, b"")
        )
    )
    with pytest.raises(TransportError, match=f"token for r.example: HTTP {status}") as caught:
        w.run(w.core.exchange(call()))
    assert (type(caught.value), caught.value.status) == (TransportError, None)


@pytest.mark.parametrize("status", [401, 403])
def test_a_token_that_is_denied_has_no_status_either(status: int) -> None:
    w = World(
        lambda r: (
            (status, {}, b"") if "/v2/" not in r.url else (401, {"WWW-Authenticate": BEARER}, b"")
        )
    )
    with pytest.raises(Denied) as caught:
        w.run(w.core.exchange(call()))
    assert caught.value.status is None


def test_basic_is_sent_when_it_is_asked_for_and_from_then_on() -> None:
    def serve(request: Request) -> tuple[int, dict[str, str], bytes]:
        if request.headers.get("Authorization") == "Basic dTpwNHNz":
            return 200, {}, b"ok"
        return 401, {"WWW-Authenticate": 'Basic realm="r"'}, b""

    w = World(serve, credential=USER)
    w.run(w.core.exchange(call()))
    w.run(w.core.exchange(call()))
    assert ["Authorization" in r.headers for r in w.sent] == [False, True, True]


def test_no_credential_is_sent_unencrypted_to_another_machine() -> None:
    http = "http://r.example"
    for challenge in ('Basic realm="r"', 'Bearer realm="http://r.example/token"'):
        w = world((401, {"WWW-Authenticate": challenge}, b""), credential=USER)
        with pytest.raises(Denied):
            w.run(w.core.exchange(call(url=f"{http}/v2/x/manifests/1", registry=origin(http))))
        assert all("Authorization" not in r.headers for r in w.sent)


@pytest.mark.parametrize(
    "credential",
    [USER, Credential(identity_token="refresh-me"), Credential(registry_token="bear-me")],
    ids=["password", "identity token", "registry token"],
)
@pytest.mark.parametrize("realm", ["https://r.example/token", "https://sso.test/token"])
def test_a_token_that_a_credential_bought_is_not_sent_unencrypted(
    credential: Credential, realm: str
) -> None:
    """A man in the middle names the real, trusted realm, and waits for its token."""
    settings = Settings(plain_http=True, realms={"r.example": frozenset({"sso.test"})})
    t = TokenWorld(credential=credential, settings=settings)
    t.challenge = f'Bearer realm="{realm}",scope="repository:x:pull,push,delete,*"'
    http = "http://r.example"
    with pytest.raises(Denied, match="plain http"):
        t.ask(url=f"{http}/v2/x/manifests/1", registry=origin(http))
    assert not t.issued
    assert all("Authorization" not in r.headers for r in t.world.sent)


def test_an_anonymous_token_may_be_seen() -> None:
    t = TokenWorld(settings=Settings(plain_http=True))
    t.challenge = 'Bearer realm="https://r.example/token"'
    http = "http://r.example"
    assert t.ask(url=f"{http}/v2/x/manifests/1", registry=origin(http)) == b"ok"


# Case 8: redirects.


def redirecting(target: str, status: int = 307, **more: object) -> World:
    def serve(request: Request) -> tuple[int, dict[str, str], bytes]:
        if request.url.startswith(f"{HOST}/v2/"):
            if request.headers.get("Authorization") == "Basic dTpwNHNz":
                return status, {"Location": target}, b""
            return 401, {"WWW-Authenticate": 'Basic realm="r"'}, b""
        if "cdn-that-asks" in request.url:
            return 401, {"WWW-Authenticate": 'Basic realm="r"'}, b""
        return 200, {}, b"moved"

    return World(serve, credential=USER, **more)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "target", ["https://cdn.test/b?sig=1", "https://r.example:444/b", "https://sub.r.example/b"]
)
def test_a_redirect_to_another_origin_gets_no_credentials(target: str) -> None:
    w = redirecting(target)
    assert w.run(w.core.exchange(call())).body == b"moved"
    assert w.sent[-1].url == target
    assert "Authorization" not in w.sent[-1].headers


def test_another_host_that_asks_for_credentials_gets_none() -> None:
    w = redirecting("https://cdn-that-asks.test/b")
    with pytest.raises(Denied):
        w.run(w.core.exchange(call()))
    assert all("Authorization" not in r.headers for r in w.to("https://cdn"))


def test_a_redirect_within_the_registry_keeps_them() -> None:
    w = redirecting("/elsewhere")
    assert w.run(w.core.exchange(call())).body == b"moved"
    assert "Authorization" in w.sent[-1].headers


@pytest.mark.parametrize(
    "target",
    ["http://r.example/b", "http://127.0.0.1/b", "ftp://r.example/b", "https://u:p@x.test/"],
)
def test_a_redirect_away_from_https_is_refused(target: str) -> None:
    w = redirecting(target)
    with pytest.raises(TransportError):
        w.run(w.core.exchange(call()))
    assert all(r.url.startswith(HOST) for r in w.sent)


def test_redirects_end() -> None:
    w = world((302, {"Location": "/v2/x/manifests/1"}, b""))
    with pytest.raises(TransportError, match="redirects"):
        w.run(w.core.exchange(call()))
    assert len(w.sent) == 6


@pytest.mark.parametrize("status", [301, 302, 303])
def test_a_post_is_not_turned_into_a_get(status: int) -> None:
    w = redirecting("https://cdn.test/b", status)
    with pytest.raises(TransportError, match=f"HTTP {status}"):
        w.run(w.core.exchange(call("POST")))
    assert not w.to("https://cdn.test")


# Case 23, errors and warnings.


def test_no_request_changes_the_headers_of_its_call() -> None:
    mine = {"Accept": "a/b"}
    t = TokenWorld(credential=USER)
    t.ask(headers=mine)
    assert mine == {"Accept": "a/b"}
    assert len({id(r.headers) for r in t.world.sent}) == len(t.world.sent)


def test_what_a_registry_says_is_shown_safely_and_its_urls_without_secrets() -> None:
    body = b'{"errors":[{"code":"MANIFEST_UNKNOWN","message":"no\\u001b[2J\\u202e"}]}'
    w = world((404, {}, body))
    with pytest.raises(NotFound) as caught:
        w.run(w.core.exchange(call()))
    assert str(caught.value) == ("r.example/x:1: HTTP 404, MANIFEST_UNKNOWN: no\\x1b[2J\\u202e")
    w = world(Failed(Trouble.CONNECT))
    with pytest.raises(TransportError) as failed:
        w.run(w.core.exchange(call(url=f"{HOST}/u?_state=s3cret")))
    assert "s3cret" not in str(failed.value)


@pytest.mark.parametrize(
    "body", [b"<html>", b'{"errors":7}', b'{"errors":[7,{"code":7}]}', b"\xff", b"[" * 1000, b""]
)
def test_any_error_body_is_one_of_our_errors(body: bytes) -> None:
    w = world((400, {}, body))
    with pytest.raises(TransportError, match=re.escape("HTTP 400")):
        w.run(w.core.exchange(call()))


def test_warnings_are_collected_once_and_safely() -> None:
    said = '299 - "use v2\x1b[0m", 299 - "a \\"quote\\"", 199 x "ignored"'
    w = world((200, {"Warning": said}, b""))
    for _ in range(3):
        w.run(w.core.exchange(call()))
    assert w.core.warnings.texts == ("use v2\\x1b[0m", 'a "quote"')


def test_secrets_are_not_in_any_repr() -> None:
    t = TokenWorld(credential=USER)
    t.ask()
    shown: Iterable[object] = (USER, *t.world.sent, t.world.core._tokens)
    assert not any(s in repr(o) for o in shown for s in ("p4ss", "dTpwNHNz", "'t0'"))
