"""``scripts/fuzz``: see there."""

import argparse
import importlib.util
import sys
import tempfile
from pathlib import Path

from tests.fuzz import archives, differential, engine, sanitized
from tests.fuzz.targets import TARGETS


def main() -> int:
    """Fuzz what the command line names; 1 when something was found."""
    parser = argparse.ArgumentParser(prog="scripts/fuzz")
    parser.add_argument("target", choices=("archives", "engine", "engine-c", *TARGETS))
    parser.add_argument("--minutes", type=float, default=10, help="for a parser, engine-c")
    parser.add_argument("--count", type=int, default=1000, help="for archives, engine: how many")
    parser.add_argument("--first", type=int, default=0, help="for these: number of the first")
    parser.add_argument("--seed", default="1")
    told = parser.parse_args()
    if told.target == "engine":
        return differential.by_hand(told.count, told.first)
    with tempfile.TemporaryDirectory(prefix="fuzz-", dir="/dev/shm") as directory:
        if told.target == "archives":
            return _archives(Path(directory), told)
        if told.target == "engine-c":
            return sanitized.fuzz(Path(directory), seconds=int(told.minutes * 60), seed=told.seed)
        return _parser(Path(directory), told)


def _archives(directory: Path, told: argparse.Namespace) -> int:
    result = archives.fuzz(directory, told.count, seed=told.seed, first=told.first)
    for what, times in sorted(result.codes.items()):
        print(f"{what}: {times}")
    print(*result.faults, f"{len(result.faults)} faults", sep="\n")
    return bool(result.faults)


def _parser(directory: Path, told: argparse.Namespace) -> int:
    seconds = told.minutes * 60
    if importlib.util.find_spec("atheris") is None:
        print(
            "blindly: coverage guides with `.venv/bin/pip install 'atheris>=3,<4'`", file=sys.stderr
        )
        fed = engine.blindly(TARGETS[told.target], told.seed, seconds=seconds)
        print(f"{told.target}: {fed.count} inputs, {len(fed.faults)} faults")
        return bool(fed.faults)
    code = engine.guided(told.target, int(seconds), directory)
    found = [path for path in directory.iterdir() if path.is_file()]
    for path in found:
        print(f"{path.name}: {path.read_bytes()[:2000]!r}")
    print(f"{told.target}: ended with {code}, {len(found)} faults")
    return bool(code or found)


if __name__ == "__main__":
    sys.exit(main())
