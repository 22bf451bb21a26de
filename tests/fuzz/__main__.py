"""``scripts/fuzz``: see there."""

import argparse
import sys
import tempfile
from pathlib import Path

from tests.fuzz import archives


def main() -> int:
    """Fuzz what the command line names; 1 when something was found."""
    parser = argparse.ArgumentParser(prog="scripts/fuzz")
    parser.add_argument("target")
    parser.add_argument("--count", type=int, default=1000, help="archives")
    parser.add_argument("--first", type=int, default=0, help="number of the first")
    parser.add_argument("--seed", default="1")
    told = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="fuzz-", dir="/dev/shm") as directory:
        result = archives.fuzz(Path(directory), told.count, seed=told.seed, first=told.first)
    for what, times in sorted(result.codes.items()):
        print(f"{what}: {times}")
    print(*result.faults, f"{len(result.faults)} faults", sep="\n")
    return bool(result.faults)


if __name__ == "__main__":
    sys.exit(main())
