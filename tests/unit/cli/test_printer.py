"""The printer where there is hardly anything left to print with."""

import subprocess
import sys

_NO_DESCRIPTOR_LEFT = """
import os, resource
from bpfpack.cli.printer import abandon

stream = open("/dev/full", "w")
stream.write("x")
limit = stream.fileno() + 1
resource.setrlimit(resource.RLIMIT_NOFILE, (limit, limit))
try:
    os.open("/dev/null", os.O_WRONLY)
except OSError:
    abandon(stream)
    stream.close()  # which writes what was buffered
    print("done")
"""


def test_an_output_is_given_up_without_a_descriptor_to_spare() -> None:
    done = subprocess.run(
        [sys.executable, "-c", _NO_DESCRIPTOR_LEFT], capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "done\n", "")
