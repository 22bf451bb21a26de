"""The whole matrix of faults, by hand: see ``scripts/faults``."""

import sys
import tempfile
from pathlib import Path

from tests.kit.faultcases import CASES, KERNEL_CASES
from tests.kit.faultmatrix import FAULTS, Matrix
from tests.kit.faultpairs import PAIRS, Pairs
from tests.kit.faults import FaultServer
from tests.kit.servers import bpfpack_registry


def main(names: list[str]) -> int:
    """Print what came of each case, and everything that did not hold."""
    bad = 0
    with (
        FaultServer() as server,
        tempfile.TemporaryDirectory(prefix="faults-") as directory,
        bpfpack_registry(Path(directory)) as registry,
    ):
        Path(directory, "pairs").mkdir()
        pairs = Pairs(server, Path(directory, "pairs"), registry.host)
        for pair in PAIRS:
            if names and pair.name not in names:
                continue
            ran, faults = pairs.faults(pair)
            print(f"{pair.name}: {ran} runs", *faults, sep="\n  ", flush=True)
            bad += len(faults)
        matrix = Matrix(server, Path(directory), registry.host)
        for case in (*CASES, *KERNEL_CASES):
            if names and case.name not in names:
                continue
            explored = matrix.explore(case)
            report = explored.report(FAULTS, range(1, len(explored.boundaries) + 1))
            ended = ", ".join(f"{what}: {n}" for what, n in sorted(report.ended.items()))
            print(f"{case.name}: {len(report.boundaries)} changes, {report.ran} runs; {ended}")
            for fault in report.faults:
                print(f"  {fault}")
            bad += len(report.faults)
            sys.stdout.flush()
    print(f"{bad} faults")
    return bool(bad)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
