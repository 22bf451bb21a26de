"""Builds what takes part, once, in a directory of its own."""

import os
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

HERE: Final = Path(__file__).resolve().parent
REPO: Final = HERE.parents[2]
BPFPACK: Final = REPO / ".venv/bin/bpfpack"
_PACKAGES: Final = {
    "flood": HERE / "flood",
    "keys": HERE / "keys",
    "opensnoop": REPO / "examples/opensnoop",
}
_ELF: Final = b"\x7fELF"


@dataclass(frozen=True)
class Workshop:
    """Programs, packages and objects, and for how long they are measured."""

    place: Path
    rounds: int
    seconds: float

    def program(self, name: str) -> str:
        """A program of one C source, linked with libbpf, as a programmer would build it."""
        path = self.place / name
        if not path.exists():
            source = HERE / f"{name}.c"
            run("clang", "-O2", "-Wall", "-Werror", "-o", str(path), str(source), "-lbpf")
        return str(path)

    def environment(self, package: str) -> dict[str, str]:
        """An environment whose store has this package alone, built here and so trusted.

        Python may keep its compiled modules, as on every other machine.
        """
        env = {k: v for k, v in os.environ.items() if k != "PYTHONDONTWRITEBYTECODE"}
        home = self.place / "homes" / package
        for name in ("CONFIG", "DATA", "STATE", "CACHE", "RUN"):
            env[f"BPFPACK_{name}_DIR"] = str(home / name.lower())
        env["DOCKER_CONFIG"] = str(home / "docker")
        if not home.exists():
            home.mkdir(parents=True)
            source = str(_PACKAGES[package])
            run(str(BPFPACK), "build", "-q", "-t", f"{package}:1.0", source, env=env)
        return env

    def object(self, package: str) -> Path:
        """The object of a package, the bytes that the store has."""
        blobs = Path(self.environment(package)["BPFPACK_DATA_DIR"]).glob("store/blobs/sha256/*")
        data = next(data for data in map(Path.read_bytes, blobs) if data.startswith(_ELF))
        path = self.place / f"{package}.o"
        path.write_bytes(data)
        return path


def run(*command: str, env: Mapping[str, str] | None = None) -> str:
    """Run a command to its end, and leave with what it says when it fails."""
    done = subprocess.run(command, env=env, capture_output=True, text=True, check=False)
    if done.returncode:
        sys.exit(f"{' '.join(command)} ended with {done.returncode}:\n{done.stderr}")
    return done.stdout


def takes(option: str, choice: str | None = None) -> bool:
    """Whether this tree's ``run`` has an option, and a choice of it."""
    from bpfpack.cli.run_options import OPTIONS

    return any(o.long == option and (choice is None or choice in o.choices) for o in OPTIONS)
