"""What only starting needed is given back, and works all the same when it is needed again."""

import subprocess
import sys

_CHILD = """
import re
from pathlib import Path
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from bpfpack.runner.footprint import give_back

def resident():
    return int(re.search(r"RssFile:\\s+(\\d+)", Path("/proc/self/status").read_text())[1])

key = ec.generate_private_key(ec.SECP256R1())
signature = key.sign(b"before", ec.ECDSA(SHA256()))
before = resident()
give_back()
after = resident()
key.public_key().verify(signature, b"before", ec.ECDSA(SHA256()))
print(before, after)
"""


def test_it_is_smaller_and_goes_on() -> None:
    done = subprocess.run(
        [sys.executable, "-c", _CHILD], capture_output=True, text=True, check=True
    )
    before, after = map(int, done.stdout.split())
    assert before - after > 1000  # KiB: the code of one signature
