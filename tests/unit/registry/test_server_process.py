"""The running server: where it listens, how it ends, what it survives, who may talk to it."""

import concurrent.futures
import hashlib
import http.client
import signal
import socket
import ssl
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
import requests

from bpfpack.registry.server import Tls, run_server
from bpfpack.spec.errors import BpfpackError, StoreError, TransportError, UsageError
from tests.kit.pki import make_ca
from tests.kit.registryclient import Repository, digest_of, error_code
from tests.kit.servers import RunningRegistry, bpfpack_registry

MIB = 1 << 20


@pytest.fixture(scope="module")
def registry(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningRegistry]:
    with bpfpack_registry(tmp_path_factory.mktemp("registry")) as running:
        yield running


def raw_exchange(host: str, request: bytes) -> bytes:
    """Send bytes as they are and return the whole answer."""
    name, _, port = host.rpartition(":")
    with socket.create_connection((name, int(port)), timeout=30) as connection:
        connection.sendall(request)
        answer = b""
        while chunk := connection.recv(65536):
            answer += chunk
            if b"\r\n\r\n" in answer:
                break
        return answer


# Where it listens


@pytest.mark.parametrize(
    ("listen", "kind", "words"),
    [
        ("0.0.0.0:0", UsageError, "no authentication"),
        ("[::]:0", UsageError, "no authentication"),
        ("registry.example:0", UsageError, "without TLS"),
        ("127.0.0.1", UsageError, "HOST:PORT"),
        ("127.0.0.1:65536", UsageError, "HOST:PORT"),
        (":5000", UsageError, "HOST:PORT"),
    ],
)
def test_addresses_that_are_refused(
    tmp_path: Path, listen: str, kind: type[BpfpackError], words: str
) -> None:
    with pytest.raises(kind, match=words):
        run_server(listen, data=tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_remote_access_is_possible_when_asked_for(tmp_path: Path) -> None:
    with bpfpack_registry(tmp_path, listen="0.0.0.0:0", allow_remote=True) as running:
        port = running.host.rpartition(":")[2]
        assert requests.get(f"http://127.0.0.1:{port}/v2/", timeout=10).status_code == 200


def test_a_port_in_use_is_one_clear_error(tmp_path: Path, registry: RunningRegistry) -> None:
    with pytest.raises(TransportError, match="already in use") as caught:
        run_server(registry.host, data=tmp_path)
    assert caught.value.hint


def test_a_directory_in_use_is_one_clear_error(registry: RunningRegistry) -> None:
    with pytest.raises(StoreError, match="another registry server"):
        run_server("127.0.0.1:0", data=registry.data)


def test_tls(tmp_path: Path) -> None:
    certificates = make_ca(tmp_path / "pki", "127.0.0.1")
    data = bytes(range(256)) * 8192
    with bpfpack_registry(tmp_path, tls=certificates) as running, requests.Session() as session:
        assert running.url.startswith("https://")
        session.verify = str(certificates.ca)
        session.trust_env = False  # REQUESTS_CA_BUNDLE would win over `verify`
        repo = Repository(running.url, "x", session)
        digest = repo.push_blob(data)
        assert repo.call("GET", f"blobs/{digest}").content == data
        part = repo.call("GET", f"blobs/{digest}", headers={"Range": "bytes=300000-900000"})
        assert part.content == data[300000:900001]


def test_certificates_that_do_not_fit(tmp_path: Path) -> None:
    one, two = (make_ca(tmp_path / name, "localhost") for name in ("one", "two"))
    with pytest.raises(UsageError, match="cannot use"):
        run_server(
            "127.0.0.1:0",
            data=tmp_path / "data",
            tls=Tls(certificate=one.certificate, key=two.key),
        )


# How it ends


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_signals_end_it_in_order(tmp_path: Path, number: int) -> None:
    with bpfpack_registry(tmp_path) as running, requests.Session() as session:
        repo = Repository(running.url, "x", session)
        digest = repo.push_blob(b"kept")
        assert running.stop(number) == 0
        # The last to close a WAL database removes the log: everything is in the file.
        assert not list(running.data.glob("registry.db-*"))
        assert "Traceback" not in "".join(running.log)
    with bpfpack_registry(tmp_path) as running:
        assert Repository(running.url, "x").call("GET", f"blobs/{digest}").content == b"kept"


def begin_patch(running: RunningRegistry, location: str, length: int) -> socket.socket:
    """Send the head of a PATCH and wait until the server is at work on it."""
    host, _, port = running.host.rpartition(":")
    connection = socket.create_connection((host, int(port)), timeout=30)
    connection.sendall(
        f"PATCH {location} HTTP/1.1\r\nHost: {running.host}\r\nContent-Length: {length}\r\n"
        "Expect: 100-continue\r\n\r\n".encode()
    )
    assert connection.recv(4096).startswith(b"HTTP/1.1 100 ")
    return connection


def test_what_is_under_way_is_finished(tmp_path: Path) -> None:
    with bpfpack_registry(tmp_path) as running:
        location = Repository(running.url, "x").begin()
        with begin_patch(running, location, 2 * MIB) as connection:
            running.process.send_signal(signal.SIGTERM)
            connection.sendall(bytes(2 * MIB))
            assert connection.recv(4096).startswith(b"HTTP/1.1 202 ")
        assert running.process.wait(30) == 0
    with bpfpack_registry(tmp_path) as running:
        repo = Repository(running.url, "x")
        assert repo.finish(location, digest_of(bytes(2 * MIB))).status_code == 201


def test_what_does_not_end_does_not_keep_it_from_ending(tmp_path: Path) -> None:
    with bpfpack_registry(tmp_path) as running:
        repo = Repository(running.url, "x")
        location = repo.begin()
        assert repo.chunk(location, b"a" * MIB).status_code == 202
        with begin_patch(running, location, 2 * MIB):
            assert running.stop() == 0
        assert "Traceback" not in "".join(running.log)
    with bpfpack_registry(tmp_path) as running:
        repo = Repository(running.url, "x")
        assert repo.call("GET", location).headers["Range"] == f"0-{MIB - 1}"
        assert repo.finish(location, digest_of(b"a" * MIB)).status_code == 201


def test_a_kill_in_mid_upload_loses_nothing_that_was_acknowledged(tmp_path: Path) -> None:
    data = hashlib.shake_256(b"blob").digest(3 * MIB)
    with bpfpack_registry(tmp_path) as running:
        repo = Repository(running.url, "x")
        manifest = repo.artifact()
        assert repo.put_manifest("kept", manifest).status_code == 201
        location = repo.begin()
        assert repo.chunk(location, data[:MIB]).status_code == 202
        host, _, port = running.host.rpartition(":")
        connection = http.client.HTTPConnection(host, int(port), timeout=30)
        connection.putrequest("PATCH", location)
        connection.putheader("Content-Length", str(2 * MIB))
        connection.endheaders(data[MIB : 2 * MIB])
        running.kill()
        connection.close()
    with bpfpack_registry(tmp_path) as running:
        repo = Repository(running.url, "x")
        assert repo.call("GET", "manifests/kept").json() == manifest
        assert repo.call("GET", f"blobs/{digest_of(data)}").status_code == 404
        held = int(repo.call("GET", location).headers["Range"].removeprefix("0-")) + 1
        assert MIB <= held <= 2 * MIB
        rest = f"{held}-{len(data) - 1}"
        reply = repo.finish(location, digest_of(data), data[held:], **{"Content-Range": rest})
        assert reply.status_code == 201
        assert repo.call("GET", f"blobs/{digest_of(data)}").content == data


# What it survives


def test_ten_clients_push_the_same_blob(registry: RunningRegistry) -> None:
    data = hashlib.shake_256(b"popular").digest(2 * MIB)
    together = threading.Barrier(10)

    def push(number: int) -> bytes:
        with requests.Session() as session:
            repo = Repository(registry.url, f"popular/{number % 2}", session)
            location = repo.begin()
            together.wait(30)
            assert repo.finish(location, digest_of(data), data).status_code == 201
            return repo.call("GET", f"blobs/{digest_of(data)}").content

    with concurrent.futures.ThreadPoolExecutor(10) as pool:
        assert all(found == data for found in pool.map(push, range(10)))


def test_a_large_blob_passes_through_in_bounded_memory(registry: RunningRegistry) -> None:
    size, piece = 200 * MIB, hashlib.shake_256(b"piece").digest(MIB)
    hasher = hashlib.sha256()
    for _ in range(size // MIB):
        hasher.update(piece)
    digest, repo = f"sha256:{hasher.hexdigest()}", Repository(registry.url, "large")
    before = peak_memory(registry)
    reply = repo.call("PATCH", repo.begin(), data=(piece for _ in range(size // MIB)))
    assert repo.finish(reply.headers["Location"], digest).status_code == 201
    got = hashlib.sha256()
    with repo.call("GET", f"blobs/{digest}", stream=True) as download:
        for chunk in download.iter_content(MIB):
            got.update(chunk)
    assert got.digest() == hasher.digest()
    assert peak_memory(registry) - before < 32 * MIB
    assert repo.call("DELETE", f"blobs/{digest}").status_code == 202


def peak_memory(registry: RunningRegistry) -> int:
    status = Path(f"/proc/{registry.process.pid}/status").read_text()
    (line,) = (line for line in status.splitlines() if line.startswith("VmHWM:"))
    return int(line.split()[1]) * 1024


def test_a_body_that_ends_early_can_be_resumed(registry: RunningRegistry) -> None:
    data = hashlib.shake_256(b"short").digest(MIB)
    repo = Repository(registry.url, "short")
    location = repo.begin()
    head = f"PATCH {location} HTTP/1.1\r\nHost: {registry.host}\r\nContent-Length: {MIB}\r\n\r\n"
    host, _, port = registry.host.rpartition(":")
    with socket.create_connection((host, int(port)), timeout=30) as connection:
        connection.sendall(head.encode() + data[:1000])
        connection.shutdown(socket.SHUT_WR)
        while connection.recv(4096):
            pass
    # What had arrived may be kept or not; where to go on is said truly.
    last = int(repo.call("GET", location).headers["Range"].removeprefix("0-"))
    held = last + 1 if last else 0
    rest = f"{held}-{len(data) - 1}"
    reply = repo.finish(location, digest_of(data), data[held:], **{"Content-Range": rest})
    assert reply.status_code == 201
    assert repo.call("GET", f"blobs/{digest_of(data)}").content == data


def test_a_reader_that_goes_away_is_no_error(registry: RunningRegistry) -> None:
    repo = Repository(registry.url, "impatient")
    digest = repo.push_blob(bytes(32 * MIB))
    host, _, port = registry.host.rpartition(":")
    with socket.create_connection((host, int(port)), timeout=30) as connection:
        request = f"GET /v2/impatient/blobs/{digest} HTTP/1.1\r\nHost: {registry.host}\r\n\r\n"
        connection.sendall(request.encode())
        assert connection.recv(100).startswith(b"HTTP/1.1 200")
    assert repo.call("HEAD", f"blobs/{digest}").status_code == 200
    assert "Traceback" not in "".join(registry.log)


def test_a_body_longer_than_declared_is_not_part_of_the_blob(registry: RunningRegistry) -> None:
    repo = Repository(registry.url, "long")
    location, digest = repo.begin(), digest_of(b"12345")
    answer = raw_exchange(
        registry.host,
        f"PUT {location}?digest={digest} HTTP/1.1\r\nHost: {registry.host}\r\n"
        "Content-Length: 5\r\n\r\n12345GARBAGE\r\n\r\n".encode(),
    )
    # One packet is refused as a whole; in two, the first is a good request.
    if answer.startswith(b"HTTP/1.1 201"):
        assert repo.call("GET", f"blobs/{digest}").content == b"12345"
    else:
        assert answer.split(b" ", 2)[1] == b"400"
        assert repo.call("GET", f"blobs/{digest}").status_code == 404
    assert repo.call("GET", f"blobs/{digest_of(b'12345GARBAGE')}").status_code == 404


def test_an_endless_chunk_is_cut_off(registry: RunningRegistry) -> None:
    location = Repository(registry.url, "endless").begin()
    host, _, port = registry.host.rpartition(":")
    piece = b"10000\r\n" + bytes(0x10000) + b"\r\n"
    with socket.create_connection((host, int(port)), timeout=30) as connection:
        connection.sendall(
            f"PATCH {location} HTTP/1.1\r\nHost: {registry.host}\r\nContent-Range: 0-9\r\n"
            "Transfer-Encoding: chunked\r\n\r\n".encode()
        )
        with pytest.raises(ConnectionError):
            while True:
                connection.sendall(piece)


def test_a_manifest_declared_too_large_is_refused_unread(registry: RunningRegistry) -> None:
    answer = raw_exchange(
        registry.host,
        f"PUT /v2/x/manifests/t HTTP/1.1\r\nHost: {registry.host}\r\nContent-Length: 99999999\r\n"
        "Content-Type: application/vnd.oci.image.index.v1+json\r\n\r\n".encode(),
    )
    assert answer.startswith(b"HTTP/1.1 413")


@pytest.mark.parametrize(
    "path",
    [
        "/v2/../../etc/passwd/manifests/latest",
        "/v2/%2e%2e/%2e%2e/etc/manifests/latest",
        "/v2/x/blobs/sha256:../../../../etc/passwd",
        "/v2/x/blobs/sha256%3A" + "%2e%2e%2f" * 16,
        "/v2/x/blobs/uploads/..%2f..%2fregistry.db",
        "/v2/x/blobs/uploads/registry.db",
        "/v2/x/blobs/uploads/%00",
        "/v2/x/blobs/uploads/" + "a" * 4000,
        "/v2/x/manifests/" + "a" * 4000,
        "/v2/x/manifests/sha256:" + "A" * 64,
        "/v2/x/manifests/%00",
        "/v2/x/manifests/%ff%fe",
        "/v2/" + "a/" * 2000 + "manifests/t",
        "//v2//x//manifests//t",
    ],
)
def test_hostile_paths_are_refused(registry: RunningRegistry, path: str) -> None:
    answer = raw_exchange(
        registry.host, f"GET {path} HTTP/1.1\r\nHost: {registry.host}\r\n\r\n".encode()
    )
    assert answer.split(b" ", 2)[1] in (b"400", b"404")


@pytest.mark.parametrize(
    "request_bytes",
    [
        b"GET /v2/ HTTP/1.1\r\nHost: 127.0.0.1\r\nX: " + b"a" * 100_000 + b"\r\n\r\n",
        b"GET /v2/" + b"a" * 100_000 + b" HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n",
        b"GET /v2/ HTTP/1.1\r\nHost: 127.0.0.1\r\n" + b"X: y\r\n" * 5000 + b"\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03 a TLS hello\r\n\r\n",
        b"PUT /v2/x/manifests/t HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: -1\r\n\r\n",
        b"PUT /v2/x/manifests/t HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 1\r\n"
        b"Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    ],
)
def test_malformed_requests_are_400_and_one_line_in_the_log(
    registry: RunningRegistry, request_bytes: bytes
) -> None:
    assert raw_exchange(registry.host, request_bytes).split(b" ", 2)[1] == b"400"
    assert requests.get(f"{registry.url}/v2/", timeout=10).status_code == 200
    assert "Traceback" not in "".join(registry.log)


def test_manifests_that_are_none(registry: RunningRegistry) -> None:
    repo = Repository(registry.url, "malformed")
    manifest = repo.artifact()
    oci = "application/vnd.oci.image.manifest.v1+json"
    for raw in (
        b"",
        b"{",
        b"[]",
        b"\xff",
        b"[" * 100_000,
        b'{"schemaVersion":2,"mediaType":"%b"}' % oci.encode(),
    ):
        reply = repo.put_manifest("t", raw, oci)
        assert (reply.status_code, error_code(reply)) == (400, "MANIFEST_INVALID")
    for media_type in ("text/html", "", "application/vnd.oci.image.index.v1+json"):
        reply = repo.put_manifest("t", manifest, media_type)
        assert (reply.status_code, error_code(reply)) == (400, "MANIFEST_INVALID")
    both = {**manifest, "manifests": []}
    assert repo.put_manifest("t", both).status_code == 400
    assert repo.call("GET", "manifests/t").status_code == 404


def test_a_full_disk_is_said_and_survived(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    mount = f'mount -t tmpfs -o size=4m,mode=700 none {tmp_path}/data && exec "$@"'
    private = ["unshare", "--user", "--map-root-user", "--mount", "sh", "-ec", mount, "sh"]
    with bpfpack_registry(tmp_path, prefix=private) as running:
        repo = Repository(running.url, "x")
        location = repo.begin()
        reply = repo.chunk(location, bytes(8 * MIB))
        assert (reply.status_code, error_code(reply)) == (507, "DENIED")
        assert repo.call("DELETE", location).status_code == 204
        whole = {"digest": digest_of(bytes(8 * MIB))}
        reply = repo.call("POST", "blobs/uploads/", params=whole, data=bytes(8 * MIB))
        assert reply.status_code == 507
        inside = Path(f"/proc/{running.process.pid}/root{tmp_path}/data/uploads")
        assert list(inside.iterdir()) == []
        assert repo.call("GET", f"blobs/{repo.push_blob(b'small')}").content == b"small"


def test_a_write_that_failed_half_way_is_no_part_of_the_blob(tmp_path: Path) -> None:
    data = hashlib.shake_256(b"half").digest(12 * MIB)
    limit = 8 * MIB + 1000
    with bpfpack_registry(tmp_path, prefix=["prlimit", f"--fsize={limit}"]) as running:
        repo = Repository(running.url, "x")
        location = repo.begin()
        assert repo.chunk(location, data).status_code == 500
        held = int(repo.call("GET", location).headers["Range"].removeprefix("0-")) + 1
        assert 0 < held < limit
        assert repo.finish(location, digest_of(data[:held])).status_code == 201
        assert repo.call("GET", f"blobs/{digest_of(data[:held])}").content == data[:held]


# Who may talk to it


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"Host": "attacker.example"}, 403),
        ({"Host": "127.0.0.1.attacker.example:5000"}, 403),
        ({"Host": "localhost.attacker.example"}, 403),
        ({"Host": "[::1].attacker.example"}, 403),
        ({"Host": ""}, 403),
        ({"Host": "localhost:1"}, 200),
        ({"Host": "[::1]:5000"}, 200),
        ({"Host": "10.1.2.3"}, 200),
        ({"Origin": "https://attacker.example"}, 403),
        ({"Origin": "null"}, 403),
        ({"Origin": "http://localhost:3000", "Host": "localhost:5000"}, 403),
        ({"Origin": "http://localhost:5000", "Host": "localhost:5000"}, 200),
        ({"Origin": "http://[", "Host": "localhost:5000"}, 403),
        ({"Sec-Fetch-Site": "cross-site"}, 403),
        ({"Sec-Fetch-Site": "same-site"}, 403),
        ({"Sec-Fetch-Site": "none"}, 200),
        ({"Sec-Fetch-Site": "same-origin"}, 200),
    ],
)
def test_pages_of_other_sites_are_kept_out(
    registry: RunningRegistry, headers: dict[str, str], status: int
) -> None:
    reply = requests.get(f"{registry.url}/v2/", headers=headers, timeout=10)
    assert reply.status_code == status
    assert status == 200 or error_code(reply) == "DENIED"


def test_exactly_one_host(registry: RunningRegistry) -> None:
    for hosts in (b"", b"Host: localhost\r\nHost: localhost\r\n"):
        answer = raw_exchange(registry.host, b"GET /v2/ HTTP/1.1\r\n" + hosts + b"\r\n")
        assert answer.split(b" ", 2)[1] == b"400"


def test_other_names_are_a_matter_of_configuration(tmp_path: Path) -> None:
    with bpfpack_registry(tmp_path, hosts=["Registry.Example"]) as running:
        for host, status in (("registry.example:5000", 200), ("other.example", 403)):
            reply = requests.get(f"{running.url}/v2/", headers={"Host": host}, timeout=10)
            assert reply.status_code == status


def test_every_answer_is_inert_in_a_browser(registry: RunningRegistry) -> None:
    repo = Repository(registry.url, "inert")
    digest = repo.push_blob(b"<script>alert(1)</script>")
    manifest = repo.artifact()
    repo.put_manifest("t", manifest)
    for path in ("tags/list", f"blobs/{digest}", "manifests/t", "manifests/none", "/nothing"):
        headers = repo.call("GET", path).headers
        assert headers["X-Content-Type-Options"] == "nosniff"
        assert headers["Content-Security-Policy"] == "sandbox; default-src 'none'"
        assert "html" not in headers["Content-Type"]


def test_plain_http_to_a_tls_port_ends(tmp_path: Path) -> None:
    certificates = make_ca(tmp_path / "pki", "127.0.0.1")
    with bpfpack_registry(tmp_path, tls=certificates) as running:
        host, _, port = running.host.rpartition(":")
        connection = http.client.HTTPConnection(host, int(port), timeout=30)
        connection.request("GET", "/v2/")
        with pytest.raises((http.client.HTTPException, ConnectionError)):
            connection.getresponse()
        connection.close()
        untrusting = ssl.create_default_context()
        with (
            socket.create_connection((host, int(port)), timeout=30) as plain,
            pytest.raises(ssl.SSLCertVerificationError),
        ):
            untrusting.wrap_socket(plain, server_hostname=host)
