"""A registry that lies: answers what a test says, and records what it was sent.

`Listener` is one address; a second one, on 127.0.0.2, stands for another host and shows
what reached it.  An answer may promise more than it sends, never end, or never come.
"""

import contextlib
import hashlib
import itertools
import json
import re
import ssl
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, TypeAlias

from bpfpack.spec.package import Package
from tests.kit.pki import Certificates

OTHER_HOST = "127.0.0.2"
_KEPT = 1 << 20


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """One request as it came; ``target`` is path and query, byte for byte.

    ``body`` keeps the first MiB, ``size`` and ``sha256`` are those of all of it; ``shown`` is
    the name in the client's certificate, if it showed one.
    """

    method: str
    target: str
    headers: Mapping[str, str]
    body: bytes
    size: int
    sha256: str
    shown: str | None = None

    @property
    def authorization(self) -> str | None:
        return self.headers.get("authorization")


@dataclass(frozen=True, slots=True, kw_only=True)
class Reply:
    """An answer.  ``length`` is the Content-Length that is claimed, None for the truth.

    ``hang`` never answers, ``endless`` sends its chunks over and over without a length, and
    ``trickle`` sends header bytes one by one for as long as anybody reads them; ``trailers``
    sends the body as a chunk, and then trailer fields without end (RFC 9112, 7.1.2).
    """

    status: int = 200
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes = b""
    length: int | None = None
    hang: bool = False
    endless: bytes = b""
    trickle: bool = False
    trailers: bool = False


Script: TypeAlias = Reply | Iterable[Reply] | Callable[[Seen], Reply]
NOT_FOUND = Reply(status=404, body=b'{"errors":[{"code":"NAME_UNKNOWN","message":"no"}]}')


@dataclass(kw_only=True)
class Listener:
    """A running server; a request without a script is answered by ``otherwise``, or with 404."""

    url: str
    host: str
    seen: list[Seen] = field(default_factory=list)
    _scripts: dict[tuple[str, str], Callable[[Seen], Reply]] = field(default_factory=dict)
    otherwise: Callable[[Seen], Reply] = field(default=lambda _seen: NOT_FOUND)
    closing: threading.Event = field(default_factory=threading.Event)

    def on(self, method: str, path: str, script: Script) -> None:
        """Answer ``path`` (without query); of several replies the last one is repeated."""
        self._scripts[method, path] = _callable(script)

    def answer_of(self, method: str, path: str) -> Callable[[Seen], Reply]:
        """Return what answers a path now, to be wrapped."""
        return self._scripts[method, path]

    def requests(self, method: str | None = None, part: str = "") -> list[Seen]:
        """Return what came, by method and part of the target."""
        return [s for s in self.seen if method in (None, s.method) and part in s.target]

    def answer(self, seen: Seen) -> Reply:
        """Note a request and decide."""
        self.seen.append(seen)
        script = self._scripts.get((seen.method, seen.target.partition("?")[0]))
        return script(seen) if script else self.otherwise(seen)


@contextlib.contextmanager
def listener(
    address: str = "127.0.0.1",
    *,
    tls: Certificates | None = None,
    clients: Path | None = None,
    name: str | None = None,
) -> Iterator[Listener]:
    """Run a listener to the end of the block.

    ``clients`` is an authority whose certificates are asked for and noted, and ``name`` what
    it is called instead of its address.
    """
    server = _Server((address, 0), _Handler)
    if tls:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(tls.certificate, tls.key)
        if clients:
            context.load_verify_locations(clients)
            context.verify_mode = ssl.CERT_OPTIONAL
        server.socket = context.wrap_socket(server.socket, server_side=True)
    host = f"{name or address}:{server.server_address[1]}"
    server.listener = Listener(url=f"{'https' if tls else 'http'}://{host}", host=host)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield server.listener
    finally:
        server.listener.closing.set()
        server.shutdown()
        thread.join()
        server.server_close()


def serve(server: Listener, content: Package, *tags: str, repository: str = "x") -> None:
    """Have an honest repository of ``content`` there, for a test to spoil in one place."""
    manifest, base = content.manifest, f"/v2/{repository}"
    for name in (*tags, manifest.descriptor.digest):
        for method in ("GET", "HEAD"):
            reply = manifest_reply(manifest.raw, manifest.media_type)
            server.on(method, f"{base}/manifests/{name}", reply)
    for digest, data in content.blobs.items():
        for method in ("GET", "HEAD"):
            server.on(method, f"{base}/blobs/{digest}", ranged(data))


def ranged(data: bytes) -> Callable[[Seen], Reply]:
    """Answer with ``data``, or its end from where the client asks (RFC 9110, 14)."""

    def answer(seen: Seen) -> Reply:
        match = re.fullmatch(r"bytes=([0-9]+)-", seen.headers.get("range", ""))
        if match is None:
            return Reply(body=data)
        start = int(match[1])
        if start >= len(data):
            return Reply(status=416)
        span = {"Content-Range": f"bytes {start}-{len(data) - 1}/{len(data)}"}
        return Reply(status=206, headers=span, body=data[start:])

    return answer


def manifest_reply(raw: bytes, media_type: str, **headers: str) -> Reply:
    """Return ``raw`` as an honest registry would."""
    digest = f"sha256:{hashlib.sha256(raw).hexdigest()}"
    honest = {"Content-Type": media_type, "Docker-Content-Digest": digest}
    return Reply(headers=honest | {k.replace("_", "-"): v for k, v in headers.items()}, body=raw)


def json_reply(value: Any, status: int = 200, **headers: str) -> Reply:
    """Return ``value`` as JSON."""
    more = {k.replace("_", "-"): v for k, v in headers.items()}
    return Reply(
        status=status,
        headers={"Content-Type": "application/json"} | more,
        body=json.dumps(value).encode(),
    )


def _callable(script: Script) -> Callable[[Seen], Reply]:
    if isinstance(script, Reply):
        return lambda _seen: script
    if callable(script):
        return script
    replies = list(script)
    rest = itertools.chain(replies, itertools.repeat(replies[-1]))
    lock = threading.Lock()

    def following(_seen: Seen) -> Reply:
        with lock:
            return next(rest)

    return following


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    listener: Listener

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that hangs up on a lying server is what the tests are about."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: _Server

    def handle_one_request(self) -> None:
        with contextlib.suppress(ConnectionError):
            super().handle_one_request()

    def do_GET(self) -> None:
        listener = self.server.listener
        reply = listener.answer(self._seen())
        if reply.hang:
            listener.closing.wait()
            self.close_connection = True
            return
        if reply.trickle:
            self._trickle()
            return
        self.send_response_only(reply.status)
        for name, value in reply.headers.items():
            self.send_header(name, value)
        if reply.trailers:
            self._send_trailers(reply.body)
            return
        length = len(reply.body) if reply.length is None else reply.length
        if not reply.endless and "Content-Length" not in reply.headers:
            self.send_header("Content-Length", str(length))
        self.end_headers()
        if self.command != "HEAD":
            self._send(reply, length)

    do_HEAD = do_POST = do_PUT = do_PATCH = do_DELETE = do_GET

    def _trickle(self) -> None:
        self.close_connection = True
        self.wfile.write(b"HTTP/1.1 200 OK\r\nX-Long: ")
        while not self.server.listener.closing.wait(0.05):
            self.wfile.write(b"x")

    def _send_trailers(self, body: bytes) -> None:
        self.close_connection = True
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        self.wfile.write(b"%x\r\n%b\r\n0\r\n" % (len(body), body))
        while not self.server.listener.closing.wait(0.05):
            self.wfile.write(b"X-More: yes\r\n")

    def _send(self, reply: Reply, length: int) -> None:
        self.wfile.write(reply.body)
        if reply.endless:
            self.close_connection = True
            while not self.server.listener.closing.is_set():
                self.wfile.write(reply.endless)
        if length != len(reply.body):
            self.close_connection = True

    def _seen(self) -> Seen:
        hasher, kept, size = hashlib.sha256(), bytearray(), 0
        left = int(self.headers.get("Content-Length") or 0)
        while left and (chunk := self.rfile.read(min(left, 65536))):
            left -= len(chunk)
            size += len(chunk)
            hasher.update(chunk)
            kept += chunk[: _KEPT - len(kept)]
        return Seen(
            method=self.command,
            target=self.path,
            headers={k.lower(): v for k, v in self.headers.items()},
            body=bytes(kept),
            size=size,
            sha256=hasher.hexdigest(),
            shown=self._shown(),
        )

    def _shown(self) -> str | None:
        """The common name that the client's certificate has."""
        if not isinstance(self.connection, ssl.SSLSocket):
            return None
        found: Any = self.connection.getpeercert()
        return found["subject"][0][0][1] if found else None

    def log_message(self, format: str, *args: object) -> None:
        """The tests read `seen`, not a log."""
