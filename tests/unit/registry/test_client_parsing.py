"""What servers write into headers, read strictly: a value or one of our errors."""

import contextlib
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bpfpack.registry.client import _requests, challenge, paging, realms, retry, tokens
from bpfpack.registry.client._patience import ImpatientAdapter
from bpfpack.registry.client.faults import fault
from bpfpack.registry.client.received import read_referrers
from bpfpack.registry.client.urls import Origin, is_loopback, origin, resolve, with_parameter
from bpfpack.registry.client.warned import Warnings
from bpfpack.registry.client.wire import Answer, Head, Headers, Request
from bpfpack.registry.redact import redact_url
from bpfpack.spec import mediatypes
from bpfpack.spec.descriptor import Descriptor
from bpfpack.spec.errors import BpfpackError, Denied, LimitExceeded, SpecError, TransportError
from bpfpack.spec.limits import LIMITS
from bpfpack.spec.safetext import printable

BASE = "https://r.example/v2/x/tags/list?n=1"


def answer(**headers: str) -> Answer:
    return Answer(head=Head(status=200, url=BASE, headers=Headers(headers.items())), body=b"")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ('Bearer realm="a",service="b"', [("bearer", {"realm": "a", "service": "b"})]),
        ("bearer REALM=a , scope = b", [("bearer", {"realm": "a", "scope": "b"})]),
        ('Bearer realm="a\\"b,c"', [("bearer", {"realm": 'a"b,c'})]),
        ('Bearer realm="first",realm="second"', [("bearer", {"realm": "first"})]),
        (
            'Basic realm="x", Bearer realm="y",scope="repository:a:pull,push"',
            [
                ("basic", {"realm": "x"}),
                ("bearer", {"realm": "y", "scope": "repository:a:pull,push"}),
            ],
        ),
        ("Negotiate", [("negotiate", {})]),
        ("Negotiate dG9rZW4=, Basic realm=x", [("negotiate", {}), ("basic", {"realm": "x"})]),
        ('Bearer realm="unterminated', [("bearer", {})]),
        ("", []),
        (",,", []),
    ],
)
def test_challenges(text: str, expected: list[tuple[str, dict[str, str]]]) -> None:
    found = [(c.scheme, dict(c.parameters)) for c in challenge.parse([text])]
    assert found[: len(expected)] == expected


@given(st.text(max_size=300))
def test_any_challenge_is_read_to_its_end(text: str) -> None:
    for found in challenge.parse([text, text]):
        assert found.scheme == found.scheme.lower()


@pytest.mark.parametrize(
    ("link", "expected"),
    [
        ('</v2/x/tags/list?last=a&n=1>; rel="next"', "https://r.example/v2/x/tags/list?last=a&n=1"),
        ("<?last=b>; rel=next", "https://r.example/v2/x/tags/list?last=b"),
        ('<https://r.example:443/p>; title="x"; rel="prev next"', "https://r.example:443/p"),
        ('<a>; rel="prev", <b>; rel="next"', "https://r.example/v2/x/tags/b"),
        ('<a>; rel="nextish"', None),
        ("<a>", None),
        ("rel=next", None),
    ],
)
def test_next_page(link: str, expected: str | None) -> None:
    assert paging.next_page(answer(Link=link)) == expected


@pytest.mark.parametrize("host", ["http://r.example", "https://r.example:444", "https://evil.test"])
def test_next_page_elsewhere(host: str) -> None:
    with pytest.raises(TransportError, match="another host"):
        paging.next_page(answer(Link=f'<{host}/p>; rel="next"'))


@given(st.text(max_size=200))
def test_any_link_is_a_page_of_the_same_host_or_an_error(link: str) -> None:
    with contextlib.suppress(TransportError):
        found = paging.next_page(answer(Link=link))
        assert found is None or origin(found) == origin(BASE)


def test_a_listing_has_so_many_bytes_and_seconds_for_all_its_pages() -> None:
    page = Answer(head=answer().head, body=bytes(LIMITS.listing_body))
    budget = paging.Budget("r.example/x")
    for _ in range(LIMITS.listing_bytes // LIMITS.listing_body):
        budget.spend(page)
    with pytest.raises(LimitExceeded, match="bytes"):
        budget.spend(Answer(head=page.head, body=b"x"))
    time = [1000.0]
    budget = paging.Budget("r.example/x", lambda: time[0])
    time[0] += LIMITS.listing_seconds
    budget.spend(answer())
    time[0] += 1
    with pytest.raises(TransportError, match="seconds"):
        budget.spend(answer())


@given(st.text(max_size=200))
def test_any_location_is_a_url_or_an_error(target: str) -> None:
    with contextlib.suppress(TransportError):
        found = resolve(BASE, target)
        assert isinstance(origin(found), Origin)
        assert found.partition("?")[2] == target.partition("#")[0].partition("?")[2]


# Text that is nearly a URL, which `st.text` alone hardly ever makes.
_PIECES = st.sampled_from(["https://", "http://", "127.0.0.1", "[::1]", "%00", "localhost", ":443"])
_MARKS = st.sampled_from("[]x.*%@:0/\\?#-_\xfc \t\0\r\n")
URLS = st.text(max_size=60) | st.lists(_PIECES | _MARKS, max_size=8).map("".join)


@given(URLS, st.sampled_from(["", "https://", "http://127.0.0.1"]))
def test_any_url_is_refused_or_leads_where_we_think(text: str, before: str) -> None:
    """What is asked for is parsed a second time by requests, which must not differ."""
    url = before + text
    try:
        found = origin(url)
    except TransportError:
        return
    prepared = _requests._prepare(Request(method="GET", url=url))
    host, _ = ImpatientAdapter().build_connection_pool_key_attributes(prepared, verify=True)
    assert (host["scheme"], host["host"].strip("[]").rstrip(".").lower()) == (
        found.scheme,
        found.host,
    )
    assert (host["port"] or {"http": 80, "https": 443}[found.scheme]) == found.port


@given(URLS)
def test_any_realm_is_a_place_or_denied(text: str) -> None:
    with contextlib.suppress(Denied):
        assert realms.check(text, origin("https://r.example")).scheme == "https"


@given(URLS)
def test_any_location_of_a_plain_registry_is_a_url_or_an_error(target: str) -> None:
    with contextlib.suppress(TransportError):
        _requests._prepare(Request(method="GET", url=resolve("http://127.0.0.1:5/v2/", target)))


@given(st.binary(max_size=300))
def test_any_token_or_tags_are_a_value_or_an_error(body: bytes) -> None:
    with contextlib.suppress(TransportError):
        tokens.parse_token(body)
    with contextlib.suppress(SpecError):
        paging.parse_tags(body)


@given(st.integers(400, 599), st.binary(max_size=300))
def test_any_error_body_is_one_line(status: int, body: bytes) -> None:
    error = fault(Head(status=status, url=BASE, headers=Headers(())), body, "what", "r.example")
    assert isinstance(error, BpfpackError)
    assert error.status == status
    assert str(error) == printable(str(error))


@given(st.text(max_size=300))
def test_any_retry_after_is_seconds_or_nothing(text: str) -> None:
    found = retry.retry_after(text, 1e9)
    assert found is None or found >= 0


@given(st.text(max_size=300))
def test_any_url_is_shown_on_one_line(text: str) -> None:
    shown = redact_url(text)
    assert shown == printable(shown)


@given(st.lists(st.text(max_size=100), max_size=100))
def test_any_warnings_are_few_and_printable(texts: list[str]) -> None:
    found = Warnings()
    for text in texts:
        found.add([f'299 - "{text}"'])
    assert len(found.texts) <= 64
    assert all(t == printable(t) for t in found.texts)


@pytest.mark.parametrize(
    ("text", "now", "seconds"),
    [
        ("120", 0.0, 120.0),
        ("Thu, 01 Jan 1970 00:01:00 GMT", 0.0, 60.0),
        ("Thu, 01 Jan 1970 00:01:00 GMT", 90.0, 0.0),
        ("-1", 0.0, None),
        ("soon", 0.0, None),
        ("1e9", 0.0, None),
        (None, 0.0, None),
    ],
)
def test_retry_after(text: str | None, now: float, seconds: float | None) -> None:
    assert retry.retry_after(text, now) == seconds


@pytest.mark.parametrize(
    ("registry", "realm", "trusted"),
    [
        ("https://registry-1.docker.io", "https://auth.docker.io/token", True),
        ("https://registry.gitlab.com", "https://gitlab.com/jwt/auth", True),
        ("https://ghcr.io", "https://ghcr.io/token", True),
        ("https://ghcr.io", "https://ghcr.io:8443/token", True),
        ("https://mine.azurecr.io", "https://yours.azurecr.io/oauth2/token", False),
        ("https://mine.azurecr.io", "https://mine.azurecr.io/oauth2/token", True),
        ("https://a.example.co.uk", "https://b.example.co.uk/t", True),
        ("https://a.co.uk", "https://b.co.uk/t", False),
        ("https://ghcr.io", "https://evil.io/t", False),
        ("https://10.0.0.1", "https://10.0.0.2/t", False),
        ("https://10.0.0.1", "https://1.0.0.1/t", False),
        ("https://registry", "https://auth/t", False),
        ("https://io", "https://evil.io/t", False),
        ("http://127.0.0.1:5000", "http://127.0.0.1:5001/t", True),
        ("http://127.0.0.1:5000", "http://127.0.0.2:5001/t", False),
        ("http://r.example", "http://r.example/t", False),
    ],
)
def test_who_may_see_credentials(registry: str, realm: str, trusted: bool) -> None:
    assert realms.trusted(origin(realm), origin(registry), frozenset()) is trusted


@pytest.mark.parametrize(
    "url",
    [
        "",
        "r.example",
        "//r.example/",
        "ftp://r.example/",
        "https://",
        "https:///x",
        "https://u@r.example/",
        "https://r.example:port/",
        "https://r.example:99999/",
        "http://[::1",
        "http://[::1]x/",
        "http://[v1.x]/",
        "http://[fe80::1%25eth0]/",
        "http://127.0.0.1%00/",
        "http://.127.0.0.1/",
        "http://*.127.0.0.1/",
        "http://127.0.0.1./",
        "http://127.1/",
        "http://2130706433/",
        "https://*.x/t",
        "https://a..b/",
        "https://a-.b/",
        "https://r.example:0/",
        "https://r.example:+443/",
        f"https://{'a' * 64}.example/",
        f"https://{'a.' * 127}a/",
        "https://exa mple/x",
        "https://r.example/a b",
        "https://r.\texample/",
        "https://r.example\\@evil.test/",
        "https://b\u00fccher.example/",
        "https://\u212a.example/",
    ],
)
def test_what_is_no_url_of_a_registry(url: str) -> None:
    with pytest.raises(TransportError):
        origin(url)


@pytest.mark.parametrize(
    ("host", "loopback"),
    [
        ("localhost", True),
        ("127.0.0.1", True),
        ("127.255.255.254", True),
        ("::1", True),
        ("[::1]", True),
        ("0.0.0.0", False),
        ("128.0.0.1", False),
        ("localhost.evil.test", False),
        ("127.0.0.1.nip.io", False),
        ("0x7f000001", False),
        ("2130706433", False),
    ],
)
def test_loopback(host: str, loopback: bool) -> None:
    """Strict: what only some resolvers take for loopback is not."""
    assert is_loopback(host) is loopback


def test_a_parameter_goes_behind_the_query() -> None:
    assert with_parameter("https://r/u?a&b=", "c=d") == "https://r/u?a&b=&c=d"


def test_a_malformed_referrer_hides_no_other() -> None:
    """Sigstore's first bundles had a parameter in their artifact type."""
    good = Descriptor.of(b"{}", mediatypes.MANIFEST)
    odd = good.to_dict() | {"artifactType": "application/vnd.dev.sigstore.bundle+json;version=0.3"}
    listed = {"schemaVersion": 2, "manifests": [odd, 7, {"digest": "no"}, good.to_dict()]}
    headers = Headers([("content-type", mediatypes.INDEX)])
    head = Head(status=200, url=BASE, headers=headers)
    found = read_referrers(Answer(head=head, body=json.dumps(listed).encode()))
    assert found == (good,)
