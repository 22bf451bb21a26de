"""A token service: issues the JWTs that docker-registry's token authentication expects.

Formats: distribution, docs/spec/auth/{token,oauth,jwt}.md.  docker-registry 2.8 finds the
key through the certificate chain in the ``x5c`` header.
"""

import base64
import json
import secrets
import ssl
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, Literal
from urllib.parse import parse_qs, urlsplit

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature
from cryptography.hazmat.primitives.serialization import Encoding

from tests.kit.pki import Certificates, PrivateKey, make_certificate

Grant = Callable[[str | None, str, frozenset[str]], frozenset[str]]


def users_may_all(user: str | None, name: str, actions: frozenset[str]) -> frozenset[str]:
    """Whoever has a password may do anything, nobody else anything."""
    return actions if user else frozenset()


def everybody_may_pull(user: str | None, name: str, actions: frozenset[str]) -> frozenset[str]:
    """As above, and anonymous clients may pull."""
    return actions if user else actions & {"pull"}


@dataclass(frozen=True, slots=True, kw_only=True)
class TokenRequest:
    """What the service was asked: by whom (None: no credentials), and for which scopes."""

    method: str
    user: str | None
    service: str | None
    scopes: tuple[str, ...]
    status: int


@dataclass(kw_only=True)
class TokenServer:
    """A running service; its fields are what docker-registry's config must say.

    ``refresh_tokens`` maps identity tokens to users (OAuth2, grant_type=refresh_token).
    """

    realm: str
    service: str
    issuer: str
    users: Mapping[str, str]
    root_bundle: Path
    grant: Grant
    lifetime: int
    refresh_tokens: dict[str, str] = field(default_factory=dict)
    requests: list[TokenRequest] = field(default_factory=list)
    key: PrivateKey = field(repr=False)
    certificate: x509.Certificate = field(repr=False)

    def issue(self, user: str | None, scopes: tuple[str, ...]) -> str:
        """Return a signed token with as much of ``scopes`` as ``grant`` allows."""
        now = int(time.time())
        claims = {
            "iss": self.issuer,
            "sub": user or "",
            "aud": self.service,
            "exp": now + self.lifetime,
            "nbf": now - 10,
            "iat": now,
            "jti": secrets.token_hex(8),
            "access": [self._access(user, scope) for scope in scopes],
        }
        der = self.certificate.public_bytes(Encoding.DER)
        algorithm = "RS256" if isinstance(self.key, rsa.RSAPrivateKey) else "ES256"
        header = {"typ": "JWT", "alg": algorithm, "x5c": [base64.b64encode(der).decode()]}
        signed = f"{_b64(json.dumps(header).encode())}.{_b64(json.dumps(claims).encode())}"
        return f"{signed}.{_b64(_sign(self.key, signed.encode()))}"

    def _access(self, user: str | None, scope: str) -> dict[str, Any]:
        kind, _, rest = scope.partition(":")
        name, _, actions = rest.rpartition(":")
        granted = self.grant(user, name, frozenset(actions.split(",")))
        return {"type": kind, "name": name, "actions": sorted(granted)}


@contextmanager
def token_server(
    directory: Path,
    *,
    address: tuple[str, int] = ("127.0.0.1", 0),
    tls: Certificates | None = None,
    realm_host: str | None = None,
    service: str = "registry.test",
    issuer: str = "tests.kit.tokenserver",
    users: Mapping[str, str] | None = None,
    grant: Grant = users_may_all,
    algorithm: Literal["ES256", "RS256"] = "ES256",
    lifetime: int = 300,
) -> Iterator[TokenServer]:
    """Run a token service; ``realm_host`` is what the realm URL calls it (``host[:port]``).

    Without ``users`` there is one, ``user`` with the password ``secret``.
    """
    directory.mkdir(parents=True, exist_ok=True)
    key: PrivateKey = (
        ec.generate_private_key(ec.SECP256R1())
        if algorithm == "ES256"
        else rsa.generate_private_key(public_exponent=65537, key_size=2048)
    )
    certificate = make_certificate("test token service", key)
    bundle = directory / "token-root.crt"
    bundle.write_bytes(certificate.public_bytes(Encoding.PEM))
    httpd = ThreadingHTTPServer(address, _Handler)
    httpd.daemon_threads = True
    if tls:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(tls.certificate, tls.key)
        httpd.socket = context.wrap_socket(httpd.socket, server_side=True)
    host = realm_host or f"{address[0]}:{httpd.server_address[1]}"
    server = TokenServer(
        realm=f"{'https' if tls else 'http'}://{host}/token",
        service=service,
        issuer=issuer,
        users={"user": "secret"} if users is None else users,
        root_bundle=bundle,
        grant=grant,
        lifetime=lifetime,
        key=key,
        certificate=certificate,
    )
    _Handler.serve_for(httpd, server)
    thread = threading.Thread(target=httpd.serve_forever, daemon=True)
    thread.start()
    try:
        yield server
    finally:
        httpd.shutdown()
        httpd.server_close()
        thread.join()


class _Handler(BaseHTTPRequestHandler):
    """Answers ``GET /token`` (Basic or anonymous) and ``POST /token`` (OAuth2 grants)."""

    protocol_version = "HTTP/1.1"

    @staticmethod
    def serve_for(httpd: ThreadingHTTPServer, server: TokenServer) -> None:
        httpd.token_server = server  # type: ignore[attr-defined]

    def do_GET(self) -> None:
        query = parse_qs(urlsplit(self.path).query)
        known, user = self._basic()
        self._answer(known, user, query)

    def do_POST(self) -> None:
        length = min(int(self.headers.get("Content-Length", "0")), 1 << 16)
        form = parse_qs(self.rfile.read(length).decode())
        known, user = self._grant_type(form)
        self._answer(known, user, form)

    def _basic(self) -> tuple[bool, str | None]:
        scheme, _, value = self.headers.get("Authorization", "").partition(" ")
        if not scheme:
            return True, None
        try:
            user, _, password = base64.b64decode(value).decode().partition(":")
        except ValueError:
            return False, None
        return scheme.lower() == "basic" and self._tokens.users.get(user) == password, user

    def _grant_type(self, form: Mapping[str, list[str]]) -> tuple[bool, str | None]:
        match form.get("grant_type", [""])[0]:
            case "password":
                user = form.get("username", [""])[0]
                return self._tokens.users.get(user) == form.get("password", [""])[0], user
            case "refresh_token":
                found = self._tokens.refresh_tokens.get(form.get("refresh_token", [""])[0])
                return found is not None, found
        return False, None

    def _answer(self, known: bool, user: str | None, asked: Mapping[str, list[str]]) -> None:
        # One parameter may hold several scopes, separated by spaces.
        scopes = tuple(s for text in asked.get("scope", []) for s in text.split())
        right_place = urlsplit(self.path).path == "/token"
        status = 404 if not right_place else 200 if known else 401
        service = asked.get("service", [None])[0]
        self._tokens.requests.append(
            TokenRequest(
                method=self.command, user=user, service=service, scopes=scopes, status=status
            )
        )
        body: dict[str, Any] = {"errors": [{"code": "UNAUTHORIZED", "message": "no"}]}
        if status == 200:
            token = self._tokens.issue(user, scopes)
            body = {"token": token, "access_token": token, "expires_in": self._tokens.lifetime}
        data = json.dumps(body).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    @property
    def _tokens(self) -> TokenServer:
        found = self.server.token_server  # type: ignore[attr-defined]
        assert isinstance(found, TokenServer)
        return found

    def log_message(self, format: str, *args: object) -> None:
        """Keep the test's output quiet."""


def _sign(key: PrivateKey, data: bytes) -> bytes:
    if isinstance(key, rsa.RSAPrivateKey):
        return key.sign(data, padding.PKCS1v15(), hashes.SHA256())
    # RFC 7518 section 3.4: the two integers side by side, not DER.
    r, s = decode_dss_signature(key.sign(data, ec.ECDSA(hashes.SHA256())))
    return r.to_bytes(32, "big") + s.to_bytes(32, "big")


def _b64(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()
