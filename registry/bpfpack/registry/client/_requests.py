"""The transport of the commands: drives the core's exchanges with requests.

requests follows nothing, reads no netrc and no environment, and keeps no cookies here; it
opens connections and pools them.
"""

import contextlib
import os
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from http.cookiejar import DefaultCookiePolicy
from typing import Final

import requests
import urllib3
from requests.utils import get_environ_proxies

from bpfpack.registry.client import certificates
from bpfpack.registry.client._patience import ImpatientAdapter, grace, within
from bpfpack.registry.client.settings import Settings
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
from bpfpack.spec.bounded import Readable
from bpfpack.spec.errors import BpfpackError, StoreError, TransportError
from bpfpack.spec.safetext import printable

_CHUNK: Final = 65536
_SHOWN: Final = 200
_POOL: Final = 8
# Seconds over which a download's speed is looked at.
_WATCHED: Final = 60.0


class Stream:
    """A response's body; gives what arrived, and TransportError when it breaks off.

    So it does when less than `Settings.slowest` bytes a second came for a minute.
    """

    def __init__(self, response: requests.Response, settings: Settings) -> None:
        self._response, self._rate = response, settings.slowest
        # Only of a chunked body is more read at once than what has come.
        self._limit = grace(settings.read_timeout) if response.raw.chunked else None
        self._since, self._count = time.monotonic(), 0

    def read(self, size: int, /) -> bytes:
        """Return up to ``size`` bytes as they came, b"" at the end."""
        try:
            chunk = self._read(size)
        except _BODY_ERRORS as e:
            raise TransportError(f"download: {_failed(e)}") from e
        self._watch(len(chunk))
        return chunk

    def _read(self, size: int) -> bytes:
        raw = self._response.raw
        with contextlib.nullcontext() if self._limit is None else within(raw, self._limit):
            chunk: bytes = raw.read1(size, decode_content=False)
        return chunk

    def _watch(self, count: int) -> None:
        """Time spent by the reader counts too: a minute is far more than a disk takes."""
        self._count += count
        now = time.monotonic()
        if now - self._since < _WATCHED:
            return
        if count and self._count < self._rate * (now - self._since):
            raise TransportError(f"download: {self._count} bytes in {now - self._since:.0f} s")
        self._since, self._count = now, 0

    def close(self) -> None:
        """Give the connection back, or drop it when something is left on it."""
        self._response.close()


class Transport:
    """Drives exchanges; safe to share between threads."""

    def __init__(self, settings: Settings, lookup: Callable[[str, str], Credential | None]) -> None:
        self._settings, self._lookup = settings, lookup
        self._local = threading.local()
        self._sessions: list[requests.Session] = []

    def run(self, exchange: Exchange) -> tuple[Answer, Stream | None]:
        """Do what ``exchange`` says; the stream is there when its answer has no body yet."""
        response: requests.Response | None = None
        outcome: Outcome = None
        try:
            while True:
                action = exchange.send(outcome)
                match action:
                    case Send(request=request, timeout=timeout):
                        _close(response)
                        response, outcome = self._send(request, timeout)
                    case Read(limit=limit, timeout=timeout):
                        outcome = _read(response, limit, timeout)
                    case Ask(registry=registry, repository=repository):
                        outcome = self._lookup(registry, repository)
                    case _:
                        time.sleep(action.seconds)
                        outcome = None
        except StopIteration as stop:
            answer: Answer = stop.value
        except BaseException:
            _close(response)
            raise
        if answer.body is not None or response is None:
            _close(response)
            return answer, None
        return answer, Stream(response, self._settings)

    def close(self) -> None:
        """Close every pooled connection."""
        while self._sessions:
            self._sessions.pop().close()

    def _send(
        self, request: Request, timeout: float
    ) -> tuple[requests.Response | None, Head | Failed]:
        where = origin(request.url)
        settings = self._settings
        try:
            # Not the session's own send: told to follow no redirect, it still reads the whole
            # body of one, and parses where it leads.
            response = (
                self._session()
                .get_adapter(request.url)
                .send(
                    _prepare(request),
                    stream=True,
                    timeout=(
                        min(settings.connect_timeout, timeout),
                        min(settings.read_timeout, timeout),
                    ),
                    verify=certificates.authorities(settings, where, os.environ) or True,
                    cert=certificates.client_certificate(settings, where),
                    proxies={} if where.is_loopback else get_environ_proxies(request.url),
                )
            )
        except (requests.RequestException, urllib3.exceptions.HTTPError, OSError, ValueError) as e:
            if isinstance(e, BpfpackError):
                raise  # the body's own source failed, not the network
            # requests and urllib3 so refuse URLs, headers and proxies; their words repeat them.
            return None, Failed(Trouble.REQUEST) if isinstance(e, ValueError) else _failed(e)
        items = [(k, v) for k in response.raw.headers for v in response.raw.headers.getlist(k)]
        return response, Head(status=response.status_code, url=request.url, headers=Headers(items))

    def _session(self) -> requests.Session:
        """One session for each thread: requests promises no more."""
        session: requests.Session | None = getattr(self._local, "session", None)
        if session is None or session not in self._sessions:
            session = requests.Session()
            session.trust_env = False
            session.cookies.set_policy(DefaultCookiePolicy(allowed_domains=[]))
            for scheme in ("https://", "http://"):
                session.mount(scheme, ImpatientAdapter(pool_maxsize=_POOL, max_retries=0))
            self._local.session = session
            self._sessions.append(session)
        return session


def _prepare(request: Request) -> requests.PreparedRequest:
    """Make a request whose URL nobody has rewritten."""
    prepared = requests.Request(
        request.method, request.url, headers=dict(request.headers)
    ).prepare()
    # prepare() re-quotes; an upload's state may be signed as it was spelled.  urllib3 still
    # writes %2f as %2F, which means the same (RFC 3986, 6.2.2.1).
    prepared.url = request.url
    size = request.body.size if request.body else 0
    if request.body is not None:
        prepared.body = _Source(request.body.open())  # type: ignore[assignment]
    if request.body is not None or request.method in ("POST", "PUT", "PATCH"):
        prepared.headers["Content-Length"] = str(size)
    return prepared


class _Source:
    """What is sent; a fault of its own is not mistaken for one of the network."""

    def __init__(self, source: Readable) -> None:
        self._source = source

    def read(self, size: int, /) -> bytes:
        try:
            return self._source.read(size)
        except OSError as e:
            if isinstance(e, BpfpackError):
                raise
            raise StoreError(f"cannot read what is to be sent: {e.strerror}") from e


def _read(response: requests.Response | None, limit: int, timeout: float) -> bytes | Failed:
    """Read a small body, however it trickles, and give the connection back."""
    if response is None:
        return Failed(Trouble.BROKEN, "no response to read")
    raw, data = response.raw, bytearray()
    try:
        with within(raw, timeout):
            while len(data) < limit and (
                chunk := raw.read1(min(limit - len(data), _CHUNK), decode_content=False)
            ):
                data += chunk
    except _BODY_ERRORS as e:
        return _failed(e)
    finally:
        response.close()
    return bytes(data)


def _close(response: requests.Response | None) -> None:
    if response is not None:
        response.close()


_BODY_ERRORS: Final = (requests.RequestException, urllib3.exceptions.HTTPError, OSError)


def _failed(error: BaseException) -> Failed:
    """Say what went wrong, from the innermost cause that is known."""
    chain = tuple(_chain(error))
    for kinds, trouble in _TROUBLES:
        for cause in chain:
            if isinstance(cause, kinds):
                return Failed(trouble, _detail(chain))
    return Failed(Trouble.BROKEN, _detail(chain))


# Most telling first: urllib3 wraps a refused connection in several layers.
_TROUBLES: Final[tuple[tuple[tuple[type[BaseException], ...], Trouble], ...]] = (
    ((requests.exceptions.SSLError, urllib3.exceptions.SSLError, ssl.SSLError), Trouble.TLS),
    ((urllib3.exceptions.NameResolutionError,), Trouble.NAME),
    (
        (
            urllib3.exceptions.NewConnectionError,
            urllib3.exceptions.ConnectTimeoutError,
            urllib3.exceptions.ProxyError,
        ),
        Trouble.CONNECT,
    ),
    ((urllib3.exceptions.ReadTimeoutError, TimeoutError), Trouble.TIMEOUT),
)


def _chain(error: BaseException) -> Iterator[BaseException]:
    """Yield ``error`` and what it wraps, by whichever of the usual ways."""
    seen: set[int] = set()
    left = [error]
    while left:
        found = left.pop(0)
        if id(found) in seen:
            continue
        seen.add(id(found))
        yield found
        inner = (getattr(found, "reason", None), found.__cause__, found.__context__, *found.args)
        left.extend(e for e in inner if isinstance(e, BaseException))


def _detail(chain: tuple[BaseException, ...]) -> str:
    for cause in chain:
        if isinstance(cause, ssl.SSLCertVerificationError):
            return printable(cause.verify_message, _SHOWN)
    for cause in chain:
        if isinstance(cause, OSError) and cause.strerror:
            return printable(cause.strerror, _SHOWN)
    return ""
