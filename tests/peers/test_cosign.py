"""Signatures interchanged with cosign itself, both ways, in both forms.

Every check is first made where it must fail: unsigned, or by another key.
"""

import io
import json
import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import requests

from bpfpack.cli.platform import host_platform
from bpfpack.registry.client.remote import RegistryClient
from bpfpack.registry.trust.collect import collect
from bpfpack.spec import mediatypes
from bpfpack.spec.descriptor import Descriptor, Platform
from bpfpack.spec.manifest import Index, build_index
from bpfpack.spec.signature import Form, fallback_tag, legacy_tag
from bpfpack.spec.value import replace
from tests.kit import bell
from tests.kit.bell import ME
from tests.kit.cli import PASSWORD, Host
from tests.kit.peers import Cosign
from tests.kit.servers import RunningRegistry, bpfpack_registry, docker_registry
from tests.kit.signing import make_package

pytestmark = pytest.mark.peers

SECRET = {"BPFPACK_PASSWORD": PASSWORD}


@pytest.fixture(scope="module")
def author(tmp_path_factory: pytest.TempPathFactory) -> Host:
    """A user with a key who built the bell."""
    made = Host(root=tmp_path_factory.mktemp("author"))
    made.keygen()
    made.run("build", "-q", "-t", "bell:1", bell.write(made.root / "bell"))
    return made


@pytest.fixture(params=["ours", "docker"])
def registry(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[RunningRegistry]:
    """A registry with the referrers API, and Debian's without it."""
    run = bpfpack_registry if request.param == "ours" else docker_registry
    with run(tmp_path / "registry") as running:
        yield running


@pytest.fixture
def name(registry: RunningRegistry, author: Host) -> str:
    """A package that nobody signed."""
    made = f"{registry.host}/x/bell"
    author.run("tag", "bell:1", f"{made}:1")
    author.run("push", "-q", "--no-sign", f"{made}:1")
    return made


@pytest.fixture
def cosign(tmp_path: Path) -> Cosign:
    return Cosign(root=tmp_path / "cosign")


@pytest.fixture
def host(tmp_path: Path) -> Host:
    """A host without rules."""
    return Host(root=tmp_path / "host")


def openssl_key(path: Path, *options: str) -> Path:
    """Make a private key without a password."""
    openssl = shutil.which("openssl")
    assert openssl
    subprocess.run([openssl, "genpkey", *options, "-out", path], check=True)
    path.chmod(0o600)
    return path


def identity(who: Host) -> Path:
    return who.root / "config" / "identity.pub"


def subject(name: str) -> Descriptor:
    """What the tag ``1`` names right now."""
    registry, _, repository = name.partition("/")
    with RegistryClient(lookup=lambda _registry, _repository: None) as client:
        return client.repository(registry, repository).resolve("1").descriptor


def forms(name: str) -> set[Form]:
    """In which forms it is signed."""
    registry, _, repository = name.partition("/")
    with RegistryClient(lookup=lambda _registry, _repository: None) as client:
        places = collect(client.repository(registry, repository), subject(name))
    return {candidate.form for place in places for candidate in place.candidates}


def url(name: str, reference: object) -> str:
    registry, _, repository = name.partition("/")
    return f"http://{registry}/v2/{repository}/manifests/{reference}"


def delete(name: str, reference: str) -> None:
    """Delete the manifest that a reference names, if there is one."""
    accept = {"Accept": f"{mediatypes.MANIFEST}, {mediatypes.INDEX}"}
    found = requests.head(url(name, reference), headers=accept, timeout=30)
    if found.ok:
        digest = found.headers["Docker-Content-Digest"]
        requests.delete(url(name, digest), timeout=30).raise_for_status()


def keep_only(form: Form, name: str) -> None:
    """Take the other form of our signatures away."""
    digest = subject(name).digest
    if form == "bundle":
        delete(name, legacy_tag(digest))
    else:
        registry, _, repository = name.partition("/")
        with RegistryClient(lookup=lambda _registry, _repository: None) as client:
            place = client.repository(registry, repository)
            found = _bundles(lambda: place.resolve(fallback_tag(digest)))
            found |= {str(entry.digest) for entry in _listed(lambda: place.referrers(digest))}
        for bundle in found:
            delete(name, bundle)
        delete(name, fallback_tag(digest))
    assert forms(name) == {form}


def _listed(listing: Callable[[], tuple[Descriptor, ...]]) -> tuple[Descriptor, ...]:
    try:
        return listing()
    except Exception:  # noqa: BLE001 - a registry without the API
        return ()


def _bundles(resolve: Callable[[], object]) -> set[str]:
    try:
        found = resolve()
    except Exception:  # noqa: BLE001 - a registry with the API has no such tag
        return set()
    assert isinstance(found, Index)
    return {str(entry.digest) for entry in found.manifests}


class TestOursForCosign:
    """What `bpfpack sign` and `push` write, in the eyes of `cosign verify --key`."""

    def test_unsigned(self, author: Host, cosign: Cosign, name: str) -> None:
        told = cosign.verify(identity(author), f"{name}:1", code=None)
        assert told.code != 0

    def test_both_forms(self, author: Host, cosign: Cosign, name: str) -> None:
        author.push("-q", f"{name}:1")
        assert forms(name) == {"bundle", "legacy"}
        (found,) = cosign.verify(identity(author), f"{name}:1").json
        assert found["critical"]["image"]["docker-manifest-digest"] == str(subject(name).digest)

    @pytest.mark.parametrize("form", ["bundle", "legacy"])
    def test_one_form_alone(self, author: Host, cosign: Cosign, name: str, form: Form) -> None:
        author.push("-q", f"{name}:1")
        keep_only(form, name)
        cosign.verify(identity(author), f"{name}:1")
        cosign.verify(identity(author), f"{name}@{subject(name).digest}")
        _, other = cosign.keygen("other")
        assert cosign.verify(other, f"{name}:1", code=None).code != 0

    @pytest.mark.parametrize("form", ["bundle", "legacy"])
    def test_what_we_say_of_it_can_be_asked_for(
        self, author: Host, cosign: Cosign, name: str, form: Form
    ) -> None:
        author.push("-q", f"{name}:1")
        keep_only(form, name)
        key = identity(author)
        cosign.verify(key, f"{name}:1", "-a", f"dev.bpfpack.created={_created(author, name)}")
        wrong = ("-a", "dev.bpfpack.created=2020-01-01T00:00:00.000Z")
        assert cosign.verify(key, f"{name}:1", *wrong, code=None).code != 0

    def test_beside_a_strangers_bundle(self, author: Host, cosign: Cosign, name: str) -> None:
        """cosign looks at no ``.sig`` where any bundle is: ours is there in both forms."""
        stranger, _ = cosign.keygen("stranger")
        cosign.sign_bundle(stranger, f"{name}@{subject(name).digest}")
        author.push("-q", f"{name}:1")
        cosign.verify(identity(author), f"{name}:1")

    def test_an_rsa_key(
        self, author: Host, cosign: Cosign, name: str, tmp_path: Path, host: Host
    ) -> None:
        host.run("keygen", "--type", "rsa-2048", "--output-key-prefix", tmp_path / "r", env=SECRET)
        author.run("sign", "-y", "--key", tmp_path / "r.key", f"{name}:1", env=SECRET)
        author.push("-q", "--no-sign", f"{name}:1")
        for form in ("bundle", "legacy"):
            cosign.verify(tmp_path / "r.pub", f"{name}:1")
            if form == "bundle":
                keep_only("legacy", name)


def _created(author: Host, name: str) -> str:
    found = author.run("verify", "--key", identity(author), "-o", "json", f"{name}:1").json
    return str(found["signers"][0]["created"])


SIGN = {"bundle": Cosign.sign_bundle, "legacy": Cosign.sign_legacy}


class TestCosignsForUs:
    """What cosign writes, in the eyes of `bpfpack verify` and `run`."""

    @pytest.mark.parametrize("form", ["bundle", "legacy"])
    def test_accepted_where_names_may_lack(
        self, cosign: Cosign, host: Host, name: str, form: Form
    ) -> None:
        private, public = cosign.keygen()
        scope = name.rpartition("/")[0]
        host.run("trust", "add", scope, "--key", public)
        assert "is not signed" in host.run("verify", f"{name}:1", code=6).stderr
        SIGN[form](cosign, private, f"{name}@{subject(name).digest}")
        assert forms(name) == {form}
        cosign.verify(public, f"{name}:1")
        # No bundle of cosign's names anything, and no payload of its a tag.
        lacks = "names no reference" if form == "bundle" else "names no tag"
        assert lacks in host.run("verify", f"{name}:1", code=6).stderr
        assert lacks in host.run("run", f"{name}:1", ME, code=126).stderr
        host.run("trust", "rm", scope)
        host.run("trust", "add", scope, "--key", public, "--unnamed")
        host.run("verify", f"{name}:1")
        host.run("run", "--dry-run", f"{name}:1", ME)
        host.run("run", "--dry-run", "--no-pull", f"{name}:1", ME)

    @pytest.mark.parametrize("form", ["bundle", "legacy"])
    def test_accepted_by_a_key_alone(
        self, cosign: Cosign, host: Host, name: str, form: Form
    ) -> None:
        private, public = cosign.keygen()
        _, other = cosign.keygen("other")
        SIGN[form](cosign, private, f"{name}@{subject(name).digest}")
        host.run("verify", "--key", public, f"{name}:1")
        assert "unknown key" in host.run("verify", "--key", other, f"{name}:1", code=6).stderr

    def test_a_payload_that_names_its_tag(self, cosign: Cosign, host: Host, name: str) -> None:
        """``--sign-container-identity``: nothing is lacking then."""
        private, public = cosign.keygen()
        pinned = f"{name}@{subject(name).digest}"
        cosign.sign_legacy(private, pinned, "--sign-container-identity", f"{name}:1")
        host.run("trust", "add", name, "--key", public)
        host.run("verify", f"{name}:1")

    def test_unnamed_takes_no_other_name(self, cosign: Cosign, host: Host, name: str) -> None:
        private, public = cosign.keygen()
        pinned = f"{name}@{subject(name).digest}"
        cosign.sign_legacy(private, pinned, "--sign-container-identity", "evil.example/x/bell")
        host.run("trust", "add", name, "--key", public, "--unnamed")
        assert "was made for evil.example" in host.run("verify", f"{name}:1", code=6).stderr

    def test_a_copy_keeps_what_cosign_signed(
        self, cosign: Cosign, host: Host, name: str, author: Host, tmp_path: Path
    ) -> None:
        private, public = cosign.keygen()
        pinned = f"{name}@{subject(name).digest}"
        cosign.sign_bundle(private, pinned)
        cosign.sign_legacy(private, pinned)
        copy = name.replace("/x/", "/mirror/")
        carrier = Host(root=tmp_path / "carrier")
        carrier.run("pull", "-q", f"{name}:1")
        carrier.run("tag", f"{name}:1", f"{copy}:1")
        carrier.run("push", "-q", f"{copy}:1")
        assert forms(copy) == {"bundle", "legacy"}
        cosign.verify(public, f"{copy}:1")
        signed_as = name.rpartition("/")[0]
        host.run(
            *("trust", "add", copy.rpartition("/")[0], "--key", public),
            *("--unnamed", "--signed-as", signed_as),
        )
        host.run("run", "--dry-run", f"{copy}:1", ME)


class TestOtherKeys:
    """P-384 and Ed25519: what cosign signs with them it does not verify; what we sign it does."""

    @pytest.mark.parametrize(
        ("algorithm", "options"),
        [
            ("EC", ("-pkeyopt", "ec_paramgen_curve:P-384")),
            ("EC", ("-pkeyopt", "ec_paramgen_curve:P-521")),
            ("ED25519", ()),
        ],
    )
    def test_imported_with_a_warning(
        self,
        cosign: Cosign,
        host: Host,
        author: Host,
        name: str,
        tmp_path: Path,
        algorithm: str,
        options: tuple[str, ...],
    ) -> None:
        source = openssl_key(tmp_path / "plain.pem", "-algorithm", algorithm, *options)
        told = host.run("keygen", "--import", source, env=SECRET)
        assert "cosign" in told.stderr
        key = identity(host)
        host.run("sign", "-y", f"{name}:1", env=SECRET)
        cosign.verify(key, f"{name}:1")
        keep_only("legacy", name)
        cosign.verify(key, f"{name}:1")
        told = author.run("trust", "add", name, "--key", key)
        assert "cosign" in told.stderr


class TestIndexes:
    """An index and each package that it lists: whoever asks for one by digest finds it signed."""

    def test_ours_for_cosign(self, author: Host, cosign: Cosign, name: str) -> None:
        index = push_index(name)
        author.run("sign", "-y", "--no-recursive", f"{name}:multi", env=SECRET)
        cosign.verify(identity(author), f"{name}:multi")
        assert cosign.verify(identity(author), f"{name}@{subject(name).digest}", code=None).code
        author.run("sign", "-y", f"{name}:multi", env=SECRET)
        for digest in (index.descriptor.digest, *(child.digest for child in index.manifests)):
            cosign.verify(identity(author), f"{name}@{digest}")

    @pytest.mark.parametrize("form", ["bundle", "legacy"])
    def test_cosigns_for_us(self, host: Host, cosign: Cosign, name: str, form: Form) -> None:
        index = push_index(name)
        private, public = cosign.keygen()
        host.run("trust", "add", name, "--key", public, "--unnamed")
        child = f"{name}@{subject(name).digest}"
        SIGN[form](cosign, private, f"{name}@{index.descriptor.digest}")
        host.run("verify", f"{name}:multi")
        host.run("verify", child, code=6)
        SIGN[form](cosign, private, f"{name}@{index.descriptor.digest}", "--recursive")
        host.run("verify", child)
        host.run("run", "--dry-run", f"{name}:multi", ME)


def push_index(name: str) -> Index:
    """Push an index of the package for this machine and another for one that is not here."""
    registry, _, repository = name.partition("/")
    with RegistryClient(lookup=lambda _registry, _repository: None) as client:
        place = client.repository(registry, repository)
        other = make_package("other")
        for blob in (other.manifest.config, *other.manifest.layers):
            place.push(blob, io.BytesIO(other.blobs[blob.digest]))
        place.put(other.manifest)
        elsewhere = Platform(os="linux", architecture="riscv64")
        index = build_index(
            (
                replace(subject(name), platform=host_platform()),
                replace(other.manifest.descriptor, platform=elsewhere),
            )
        )
        place.put(index, "multi")
    return index


class TestKeyFiles:
    def test_cosign_reads_ours(self, author: Host, cosign: Cosign) -> None:
        private = identity(author).with_suffix(".key")
        assert cosign.run("public-key", "--key", private).stdout == identity(author).read_text()
        older = cosign.root / "older.key"
        older.write_bytes(private.read_bytes().replace(b"SIGSTORE", b"COSIGN"))
        older.chmod(0o600)
        assert cosign.run("public-key", "--key", older).stdout == identity(author).read_text()

    def test_cosign_signs_with_ours(
        self, author: Host, cosign: Cosign, host: Host, name: str
    ) -> None:
        key = identity(author)
        cosign.sign_bundle(key.with_suffix(".key"), f"{name}@{subject(name).digest}")
        cosign.verify(key, f"{name}:1")
        host.run("verify", "--key", key, f"{name}:1")

    @pytest.mark.parametrize("label", [b"SIGSTORE", b"COSIGN"])
    def test_we_read_cosigns(
        self, author: Host, cosign: Cosign, host: Host, name: str, label: bytes
    ) -> None:
        private, public = cosign.keygen()
        private.write_bytes(private.read_bytes().replace(b"SIGSTORE", label))
        assert b"ENCRYPTED %s PRIVATE KEY" % label in private.read_bytes()
        env = {"COSIGN_PASSWORD": PASSWORD}
        assert host.run("pubkey", "--key", private, env=env).stdout == public.read_text()
        wrong = {"COSIGN_PASSWORD": "wrong"}
        host.run("sign", "-y", "--key", private, f"{name}:1", env=wrong, code=6)
        host.run("sign", "-y", "--key", private, f"{name}:1", env=env)
        cosign.verify(public, f"{name}:1")

    @pytest.mark.parametrize("kind", ["rsa", "ec"])
    def test_we_read_what_cosign_imported(
        self, cosign: Cosign, host: Host, tmp_path: Path, kind: str
    ) -> None:
        options = {
            "rsa": ("-algorithm", "RSA", "-pkeyopt", "rsa_keygen_bits:2048"),
            "ec": ("-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-256"),
        }[kind]
        source = openssl_key(tmp_path / "plain.pem", *options)
        cosign.run("import-key-pair", "--key", source, "--output-key-prefix", "imported")
        public = (cosign.root / "imported.pub").read_text()
        env = {"COSIGN_PASSWORD": PASSWORD}
        assert host.run("pubkey", "--key", cosign.root / "imported.key", env=env).stdout == public
        host.run("keygen", "--import", source, env=env)
        assert identity(host).read_text() == public


def test_the_bytes_are_cosigns(cosign: Cosign, author: Host, tmp_path: Path) -> None:
    """Of one signature the legacy payload differs from cosign's in no byte but what we add."""
    with bpfpack_registry(tmp_path / "registry") as running:
        name = f"{running.host}/x/bell"
        author.run("tag", "bell:1", f"{name}:1")
        author.push("-q", f"{name}:1")
        ours = _payload(name)
        delete(name, legacy_tag(subject(name).digest))
        more = ("--sign-container-identity", f"{name}:1")
        added = json.loads(ours)["optional"]
        notes = [
            part
            for key, value in added.items()
            if key != "timestamp"
            for part in ("-a", f"{key}={value}")
        ]
        private, _ = cosign.keygen()
        cosign.sign_legacy(private, f"{name}@{subject(name).digest}", *more, *notes)
        theirs = _payload(name)
        stamp = b'"timestamp":%d' % added["timestamp"]
        assert ours.count(b"," + stamp) == 1
        assert ours.replace(b"," + stamp, b"") == theirs


def _payload(name: str) -> bytes:
    tag = legacy_tag(subject(name).digest)
    manifest = requests.get(url(name, tag), headers={"Accept": mediatypes.MANIFEST}, timeout=30)
    (layer,) = manifest.json()["layers"]
    blobs = url(name, "").replace("/manifests/", "/blobs/")
    return requests.get(f"{blobs}{layer['digest']}", timeout=30).content
