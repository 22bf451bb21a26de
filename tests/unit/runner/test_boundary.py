"""Only what the policy admitted reaches the kernel: the types say so, and so does the module."""

import inspect
from pathlib import Path

import pytest
from mypy import api

from bpfpack.runner import loader, session
from bpfpack.spec.trust import RemoteArtifact, VerifiedArtifact

ROOT = Path(__file__).parents[3]
SNIPPET = """
from bpfpack.runner.kernel import Kernel
from bpfpack.runner.loader import OpenObject
from bpfpack.runner.plan import Plan
from bpfpack.runner.session import Session
from bpfpack.spec.trust import RemoteArtifact, VerifiedArtifact

def use(artifact: {type}, plan: Plan, kernel: Kernel) -> None:
    Session.open(artifact, plan)
    OpenObject.open(artifact, plan, kernel)
"""


@pytest.mark.parametrize(
    ("kind", "errors"), [("VerifiedArtifact", 0), ("RemoteArtifact", 2), ("bytes", 2)]
)
def test_mypy_refuses_whatever_is_not_verified(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str, errors: int
) -> None:
    monkeypatch.chdir(ROOT)
    snippet = tmp_path / "snippet.py"
    snippet.write_text(SNIPPET.format(type=kind))
    out, _, status = api.run(["--no-error-summary", "--cache-dir", str(tmp_path), str(snippet)])
    told = [line for line in out.splitlines() if "snippet.py" in line]
    assert len([line for line in told if "[arg-type]" in line]) == errors, out
    assert (status == 0) == (errors == 0), out


@pytest.mark.parametrize("module", [loader, session])
def test_no_public_entry_of_the_loader_takes_anything_else(module: object) -> None:
    """Every public classmethod or function that makes an object takes a VerifiedArtifact."""
    for _, made in inspect.getmembers(module, inspect.isclass):
        if made.__module__ != module.__name__:  # type: ignore[attr-defined]  # a module
            continue
        for name, function in inspect.getmembers(made, inspect.ismethod):
            if not name.startswith("_"):
                parameters = list(inspect.signature(function).parameters.values())
                assert parameters[0].annotation is VerifiedArtifact, (made, name)


def test_a_remote_artifact_is_no_verified_one() -> None:
    assert not issubclass(RemoteArtifact, VerifiedArtifact)
    assert not issubclass(VerifiedArtifact, RemoteArtifact)
