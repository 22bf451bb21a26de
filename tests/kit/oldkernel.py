"""This kernel, said to be older than tcx: goes before a command line of bpfpack."""

import runpy
import sys
from pathlib import Path
from typing import Final

from bpfpack.runner import kernel

#: The ``prefix`` of a `tests.kit.cli.Host` with such a kernel.
BEFORE_TCX: Final = (sys.executable, str(Path(__file__).resolve()))


class BeforeTcx(kernel.LiveKernel):
    """A kernel before 6.6: it has clsact, as this one has too."""

    def has_type(self, name: str) -> kernel.Answer:
        """As the running kernel says, but for what came with tcx."""
        return kernel.Answer.NO if name == "tcx_link" else super().has_type(name)


if __name__ == "__main__":
    kernel.LiveKernel = BeforeTcx  # type: ignore[misc]
    del sys.argv[0]
    runpy.run_path(sys.argv[0], run_name="__main__")
