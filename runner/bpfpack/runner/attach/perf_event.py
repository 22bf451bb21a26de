"""Clocks and counters: one event, and one link, for each CPU."""

import errno
import os
from collections.abc import Iterator

from bpfpack.runner._native.objects import NativeLink, NativeProgram
from bpfpack.runner.attach import events
from bpfpack.runner.attach.attachments import EventAttachment
from bpfpack.spec.errors import KernelError


def attach(program: NativeProgram, to: EventAttachment) -> Iterator[NativeLink]:
    """Yield the link of each CPU as it is made; raises KernelError."""
    for cpu in events.online():
        try:
            event = events.open_on(to, cpu)
        except KernelError as e:
            if e.errno == errno.ENODEV:  # it went offline a moment ago
                continue
            raise
        try:
            link = program.attach_perf_event(event)
        except BaseException:
            os.close(event)
            raise
        yield link
