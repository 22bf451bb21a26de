"""Other projects' programs, as ``scripts/peers`` brings them: cosign and sigstore-js.

Each runs with a home of its own, where the network can only be reached on loopback: whatever
needs more fails here.
"""

import hashlib
import json
import os
import re
import shutil
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from tests.kit.cli import PASSWORD, REPO

_CACHE: Final = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "bpfpack-tests"
_HERE: Final = REPO / "tests" / "peers"
_SECONDS: Final = 60
# Go asks no proxy for loopback, and nothing listens here.
_NOWHERE: Final = "http://127.0.0.1:9"


def cosign_program() -> Path:
    """Where cosign is, if it is."""
    found = re.search(r"^cosign=(\S+)$", (REPO / "scripts" / "peers").read_text(), re.MULTILINE)
    assert found
    return _CACHE / f"cosign-{found[1]}" / "bin" / "cosign"


def sigstore_js() -> Path:
    """Where the modules of ``tests/peers/package.json`` are, if they are."""
    names = sorted(_HERE.glob("package*.json"), key=lambda path: path.name)
    key = hashlib.sha256(b"".join(path.read_bytes() for path in names)).hexdigest()[:16]
    return _CACHE / f"sigstore-js-{key}"


def missing() -> list[str]:
    """What this machine lacks."""
    programs = {"cosign": cosign_program().exists(), "node": shutil.which("node") is not None}
    programs["@sigstore/verify"] = (sigstore_js() / "done").exists()
    return [name for name, there in programs.items() if not there]


@dataclass(frozen=True, slots=True, kw_only=True)
class Said:
    """How cosign ended."""

    code: int
    stdout: str
    stderr: str

    @property
    def json(self) -> Any:
        """Its output as one JSON document."""
        return json.loads(self.stdout)


@dataclass(frozen=True, slots=True, kw_only=True)
class Cosign:
    """A user of cosign, with the password of all keys here."""

    root: Path

    def run(self, *argv: str | Path, code: int | None = 0) -> Said:
        """Run a command, which must end with ``code`` (None: any)."""
        self.root.mkdir(parents=True, exist_ok=True)
        done = subprocess.run(
            [cosign_program(), *argv],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            cwd=self.root,
            env=self._environment(),
            timeout=_SECONDS,
            check=False,
        )
        told = Said(code=done.returncode, stdout=done.stdout, stderr=done.stderr)
        assert code in (None, told.code), f"{argv} ended with {told.code}:\n{told.stderr}"
        return told

    def keygen(self, name: str = "cosign") -> tuple[Path, Path]:
        """Make a key pair; returns the private and the public file."""
        self.run("generate-key-pair", "--output-key-prefix", name)
        return self.root / f"{name}.key", self.root / f"{name}.pub"

    def sign_legacy(self, key: Path, reference: str, *more: str) -> None:
        """Sign as cosign 2 did: a layer under the ``.sig`` tag."""
        form = ("--new-bundle-format=false", "--use-signing-config=false", "--tlog-upload=false")
        self._sign(key, reference, *form, *more)

    def sign_bundle(self, key: Path, reference: str, *more: str) -> None:
        """Sign as cosign 3 does, without any service: a bundle as a referrer."""
        config, root = self.root / "signing.json", self.root / "trusted-root.json"
        if not config.exists():
            none = [f"--no-default-{what}" for what in ("fulcio", "rekor", "oidc", "tsa")]
            self.run("signing-config", "create", *none, "--out", config)
            self.run("trusted-root", "create", "--out", root)
        self._sign(key, reference, "--signing-config", config, "--trusted-root", root, *more)

    def verify(self, key: Path, reference: str, *more: str, code: int | None = 0) -> Said:
        """Check a reference by a public key, without a transparency log."""
        offline = ("--insecure-ignore-tlog=true", "--allow-http-registry")
        return self.run("verify", "--key", key, *offline, *more, reference, code=code)

    def _sign(self, key: Path, reference: str, *more: str | Path) -> None:
        self.run("sign", "-y", "--allow-http-registry", "--key", key, *more, reference)

    def _environment(self) -> Mapping[str, str]:
        return {
            "COSIGN_PASSWORD": PASSWORD,
            "HOME": str(self.root),
            "HTTPS_PROXY": _NOWHERE,
            "HTTP_PROXY": _NOWHERE,
            "PATH": "/usr/bin:/bin",
        }


def js_verdict(bundle: bytes, public_pem: str) -> str:
    """Return ``good`` or what sigstore-js says against a bundle."""
    program = shutil.which("node")
    assert program
    done = subprocess.run(
        [program, _HERE / "verify.cjs", sigstore_js() / "node_modules"],
        input=json.dumps({"bundle": json.loads(bundle), "key": public_pem}),
        capture_output=True,
        text=True,
        env={"PATH": "/usr/bin:/bin"},
        timeout=_SECONDS,
        check=True,
    )
    return done.stdout.strip()
