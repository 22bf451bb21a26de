"""Attaches while another run removes its clsact: ``python -m tests.kit.clsactrace DIR INTERFACE``.

The second comes right after the first has seen that nobody has a filter there.  Says whether
the filter of the second is ``there`` when both are done, or ``lost``.
"""

import os
import socket
import sys
import threading
from pathlib import Path
from typing import Final

from bpfpack.runner._native.netlink import Message, Netlink
from bpfpack.runner.attach.clsact import ClsactFilter, attach_clsact
from bpfpack.runner.journal import Journal
from tests.kit.clsact import Loaded, ours, sh

# Seconds.  The second attaches in this time, or it waits for the first as it should.
_HEAD_START: Final = 0.5
_RTM_DELQDISC: Final = 37


class Hooked(Netlink):
    """Starts a thread before the first request to remove a qdisc."""

    thread: threading.Thread | None = None

    def request(self, type_: int, body: bytes, *, flags: int = 0) -> list[Message]:
        if type_ == _RTM_DELQDISC and Hooked.thread:
            thread, Hooked.thread = Hooked.thread, None
            thread.start()
            thread.join(_HEAD_START)
        return super().request(type_, body, flags=flags)


def main(directory: Path, interface: str) -> int:
    """See above."""
    fd = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    index, filters = socket.if_nametoindex(interface), list[ClsactFilter]()
    with Loaded(ours()) as program:
        journals = [Journal.create(fd), Journal.create(fd)]

        def attach(journal: Journal) -> None:
            filters.append(attach_clsact(program.fd, program.id, index, "ingress", journal))

        attach(journals[0])
        second = Hooked.thread = threading.Thread(target=attach, args=(journals[1],))
        filters[0].close()
        second.join()
        shown = sh("tc", "filter", "show", "dev", interface, "ingress")
        print("there" if "bpfpack_ours" in shown else "lost")
        filters[1].close()
        for journal in journals:
            journal.discard()
    return 0


if __name__ == "__main__":
    # What opens a socket by its class opens one of ours.
    for module in ("bpfpack.runner.netns", "bpfpack.runner.attach.clsact"):
        vars(sys.modules[module])["Netlink"] = Hooked
    sys.exit(main(Path(sys.argv[1]), sys.argv[2]))
