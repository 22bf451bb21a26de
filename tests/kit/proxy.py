"""A real HTTP proxy on loopback: CONNECT and absolute URLs, noting what passes.

It alone knows the names that ``hosts`` maps to addresses, so that whatever reaches them has
come through it.
"""

import base64
import contextlib
import select
import socket
import threading
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import urlsplit


@dataclass(kw_only=True)
class Proxy:
    """A running proxy.

    ``asked`` are method and target of the requests, ``passed`` all bytes of the clients.
    With ``password`` it lets in whoever says ``user`` and that.
    """

    host: str
    hosts: Mapping[str, str]
    password: str | None
    asked: list[str] = field(default_factory=list)
    passed: bytearray = field(default_factory=bytearray)

    @property
    def url(self) -> str:
        return f"http://{self.host}"


@contextlib.contextmanager
def proxy(hosts: Mapping[str, str], *, password: str | None = None) -> Iterator[Proxy]:
    """Run a proxy to the end of the block."""
    server = _Server(("127.0.0.1", 0), _Handler)
    server.proxy = Proxy(
        host=f"127.0.0.1:{server.server_address[1]}", hosts=hosts, password=password
    )
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield server.proxy
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    proxy: Proxy


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: _Server

    def do_CONNECT(self) -> None:
        host, _, port = self.path.rpartition(":")
        if (there := self._reach(host, int(port))) is None:
            return
        self.send_response_only(200)
        self.end_headers()
        with there:
            self._pump(there)
        self.close_connection = True

    def do_GET(self) -> None:
        parts = urlsplit(self.path)
        if (there := self._reach(parts.hostname or "", parts.port or 80)) is None:
            return
        head = [f"{self.command} {parts.path}{'?' + parts.query if parts.query else ''} HTTP/1.1"]
        head += [f"{k}: {v}" for k, v in self.headers.items() if not k.lower().startswith("proxy-")]
        request = "\r\n".join([*head, "Connection: close", "", ""]).encode()
        self.server.proxy.passed += request
        with there:
            there.sendall(request)
            answer = there.makefile("rb")
            self.wfile.write(answer.readline() + b"Connection: close\r\n")
            while data := answer.read(65536):
                self.wfile.write(data)
        self.close_connection = True

    do_HEAD = do_GET

    def _reach(self, host: str, port: int) -> socket.socket | None:
        """Connect, or answer with the reason why not."""
        told = self.server.proxy
        told.asked.append(f"{self.command} {self.path}")
        if told.password is not None:
            known = base64.b64encode(f"user:{told.password}".encode()).decode()
            if self.headers.get("Proxy-Authorization") != f"Basic {known}":
                self._refuse(407)
                return None
        if host not in told.hosts:
            self._refuse(502)
            return None
        return socket.create_connection((told.hosts[host], port), timeout=30)

    def _refuse(self, status: int) -> None:
        self.send_response_only(status)
        self.send_header("Content-Length", "0")
        self.end_headers()
        self.close_connection = True

    def _pump(self, there: socket.socket) -> None:
        here = self.connection
        while True:
            ready, _, _ = select.select([here, there], [], [], 30)
            for one in ready:
                data = one.recv(65536)
                if not data:
                    return
                if one is here:
                    self.server.proxy.passed += data
                (there if one is here else here).sendall(data)
            if not ready:
                return

    def log_message(self, format: str, *args: object) -> None:
        """The tests read `asked`, not a log."""
