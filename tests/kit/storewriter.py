"""One of several writers of the same local store: ``python -m tests.kit.storewriter DIR NAME``.

Puts packages under names of its own and under one that all writers fight for, attaches a
signature for each, prunes in between as another command would, and says "done".
"""

import sys
from pathlib import Path

from bpfpack.registry.store.disk import DiskStore
from bpfpack.spec.signature import legacy_tag
from tests.kit.packages import fill, package, signature_image

ROUNDS = 8
SHARED = "r.example/shared"


def main(root: Path, name: str) -> int:
    store = DiskStore(root)
    subject = package("subject").manifest.descriptor.digest
    for i in range(ROUNDS):
        made = package(f"{name}-{i}", object_=f"{name} {i}".encode())
        fill(store.repository(f"r.example/{name}"), made, str(i))
        fill(store.repository(SHARED), made, "latest")
        signature = signature_image((b"payload", f"{name}-{i}"))
        fill(store.repository(SHARED), signature, legacy_tag(subject))
        store.prune()
    print("done")
    return 0


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]), sys.argv[2]))
