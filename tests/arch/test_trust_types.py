"""Unverified bytes cannot reach the kernel: the types say so, and nothing goes around them."""

import ast
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path

REPO = Path(__file__).resolve().parents[2]
ROOTS = ("spec", "builder", "registry", "runner", "cli")
GATE = REPO / "spec/bpfpack/spec/trust.py"

SNIPPET = """
from bpfpack.spec.trust import RemoteArtifact, VerifiedArtifact


def load(artifact: VerifiedArtifact) -> bytes:
    return artifact.object


def run(artifact: {kind}) -> bytes:
    return load(artifact)
"""


def mypy(tmp_path: Path, source: str) -> subprocess.CompletedProcess[str]:
    snippet = tmp_path / "snippet.py"
    snippet.write_text(textwrap.dedent(source))
    command = [sys.executable, "-m", "mypy", "--strict", "--cache-dir", str(tmp_path / "cache")]
    return subprocess.run(
        [*command, "--config-file", str(REPO / "pyproject.toml"), str(snippet)],
        cwd=REPO,
        capture_output=True,
        text=True,
        check=False,
    )


def calls_of(name: str) -> Iterator[tuple[Path, str]]:
    """Every call of ``name``, as a plain name or an attribute, with the function it is in."""
    for root in ROOTS:
        for path in sorted((REPO / root / "bpfpack").rglob("*.py")):
            for function in ast.walk(ast.parse(path.read_text())):
                if not isinstance(function, ast.FunctionDef | ast.AsyncFunctionDef):
                    continue
                for node in ast.walk(function):
                    if isinstance(node, ast.Call) and ast.unparse(node.func).split(".")[-1] == name:
                        yield path, function.name


def test_mypy_takes_a_verified_artifact_and_refuses_a_remote_one(tmp_path: Path) -> None:
    good = mypy(tmp_path, SNIPPET.format(kind="VerifiedArtifact"))
    assert good.returncode == 0, good.stdout
    bad = mypy(tmp_path, SNIPPET.format(kind="RemoteArtifact"))
    assert bad.returncode == 1, bad.stdout
    assert 'incompatible type "RemoteArtifact"; expected "VerifiedArtifact"' in bad.stdout


def test_mypy_refuses_to_make_one(tmp_path: Path) -> None:
    source = """
    from bpfpack.spec.trust import VerifiedArtifact

    def make() -> VerifiedArtifact:
        return VerifiedArtifact(seal=object(), object=b"")
    """
    assert (
        'Argument "seal" to "VerifiedArtifact" has incompatible type'
        in mypy(tmp_path, source).stdout
    )


def test_only_admit_makes_a_verified_artifact() -> None:
    assert list(calls_of("VerifiedArtifact")) == [(GATE, "admit")]


def test_nothing_else_touches_the_seal_or_copies_around_it() -> None:
    for root in ROOTS:
        for path in sorted((REPO / root / "bpfpack").rglob("*.py")):
            text = path.read_text()
            assert path == GATE or "_SEAL" not in text, path
            if "VerifiedArtifact" in text:
                assert "object.__new__" not in text, path
                # The gate itself spends its seal, and changes nothing else.
                assert text.count("object.__setattr__") == (path == GATE), path
