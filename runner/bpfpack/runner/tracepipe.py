"""What bpf_printk() prints, read from an instance of tracefs that is ours alone.

Since Linux 5.9 it is an ordinary trace event (commit ac5a72ea5c89), so that an instance gets
it as well, whoever reads the host's own ``trace_pipe`` loses nothing to us, and ``buffer_percent``
makes a line readable as soon as it is there.  The event does not say which program printed:
lines of every program on the host come.

An instance outlives its process: it stands in a journal before it is made.
"""

import contextlib
import errno
import os
import re
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Self

from bpfpack.runner.events.batch import Batch
from bpfpack.runner.mounts import ensure_tracefs
from bpfpack.spec import fields
from bpfpack.spec.errors import KernelError, Unsupported
from bpfpack.spec.safetext import json_string, printable
from bpfpack.spec.value import valuetype

if TYPE_CHECKING:
    from bpfpack.runner.journal import Journal

_INSTANCE: Final = re.compile(r"bpfpack-[0-9]{1,10}-[0-9a-f]{8}")
#: Seconds within which the descriptors of a process that ends are closed.
_ENDING: Final = 1.0
_EVENT: Final = Path("events/bpf_trace/bpf_trace_printk/enable")
_SIZE_KB: Final = "256"
_CHUNK: Final = 64 * 1024
#: kernel/trace/trace.c, print_trace_line.
#: Characters of a line that are shown; bpf_trace_printk itself stops at 1024.
_LONGEST: Final = 4096
NAME: Final = "trace-pipe"
#: kernel/trace/trace_output.c, trace_print_context: "comm-pid [cpu] flags seconds: event: text".
_LINE: Final = re.compile(
    r"\s*(.+)-(\d+)\s+\[(\d+)\] \S+ +[\d.]+: bpf_trace_printk: (.*)", re.DOTALL
)
_LOST: Final = re.compile(rb"^CPU:\d+ \[LOST (\d+) EVENTS\]\n", re.MULTILINE)


@valuetype
class TraceInstance:
    """What a journal says of an instance."""

    kind: str = "trace-instance"
    name: str

    def to_dict(self) -> dict[str, Any]:
        """As JSON."""
        return {"kind": self.kind, "name": self.name}

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Self:
        """Parse; raises SpecError."""
        return cls(name=fields.known(fields.matching(data, "name", _INSTANCE, "ours"), "name"))

    def undo(self) -> bool:
        """Remove it and say whether it was there; raises KernelError while somebody reads it."""
        path = ensure_tracefs() / "instances" / self.name
        until = time.monotonic() + _ENDING
        while True:
            try:
                path.rmdir()
            except FileNotFoundError:
                return False
            except OSError as e:
                if e.errno != errno.EBUSY or time.monotonic() > until:
                    raise KernelError(e.errno or 0, str(e.strerror), str(path)) from e
                time.sleep(_ENDING / 100)
            else:
                return True


class TracePipe:
    """A source of lines; the records of a batch hold no newlines.

    Raises Unsupported before Linux 5.9 or without tracefs, KernelError, StoreError.
    """

    def __init__(self, journal: "Journal") -> None:
        instances = ensure_tracefs() / "instances"
        # Process numbers differ between containers, and tracefs is one for all.
        instance = TraceInstance(name=f"bpfpack-{os.getpid()}-{os.urandom(4).hex()}")
        self._directory = instances / instance.name
        self._journal, self._number = journal, journal.record(instance)
        with _told(instances):
            self._directory.mkdir()
        try:
            with _told(self._directory):
                self.fd = self._open()
        except BaseException:
            journal.undo(self._number)
            raise
        self._rest = b""
        self._lost = 0

    def _open(self) -> int:
        if not (self._directory / _EVENT).exists():
            raise Unsupported("--trace-pipe", "bpf_printk is no trace event here", minimum="5.9")
        pipe = os.open(self._directory / "trace_pipe", os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        try:
            for name, value in (
                ("buffer_size_kb", _SIZE_KB),
                ("buffer_percent", "0"),
                (str(_EVENT), "1"),
            ):
                (self._directory / name).write_text(value)
        except BaseException:
            os.close(pipe)
            raise
        return pipe

    def drain(self, max_records: int) -> Batch | None:
        """Take at most ``max_records`` lines without waiting; raises KernelError."""
        if b"\n" not in self._rest:
            self._rest += self._read()
        lines: list[tuple[int, int]] = []
        start = 0
        while len(lines) < max_records and (end := self._rest.find(b"\n", start)) >= 0:
            if end > start:
                lines.append((start, end - start))
            start = end + 1
        if not start:
            return None
        taken, self._rest = self._rest[:start], self._rest[start:]
        return Batch(memory=memoryview(taken), records=lines)

    def _read(self) -> bytes:
        try:
            data = os.read(self.fd, _CHUNK)
        except BlockingIOError:
            return b""
        except OSError as e:
            raise KernelError(e.errno or 0, str(e.strerror), "trace_pipe") from e
        self._lost += sum(int(n) for n in _LOST.findall(data))
        return data

    def lost(self) -> int:
        """What the kernel said it overwrote."""
        return self._lost

    def close(self) -> None:
        """Remove the instance; raises KernelError."""
        os.close(self.fd)
        self._journal.undo(self._number)


class TraceFormatter:
    """Shows the lines; ``alone`` is False when there are other outputs.

    As JSON: ``{"output":"trace-pipe","comm":..,"pid":..,"cpu":..,"message":..}``, the message
    alone for a line of another form, such as the second of a text with a newline in it.
    """

    def __init__(self, *, json: bool, alone: bool) -> None:
        self._json, self._alone = json, alone

    def header(self) -> bytes | None:
        """The name, where a table has others."""
        return None if self._json or self._alone else f"{NAME}:\n".encode()

    def format(self, batch: Batch) -> bytes:
        """See `bpfpack.runner.events.formatter.Formatter`."""
        texts = [
            bytes(batch.memory[at : at + size]).decode(errors="replace")
            for at, size in batch.records
        ]
        lines = [_as_json(t) if self._json else printable(t.strip(), _LONGEST) for t in texts]
        return "".join(f"{line}\n" for line in lines).encode()


def _as_json(text: str) -> str:
    first = f'{{"output":"{NAME}"'
    if found := _LINE.fullmatch(text):
        comm, pid, cpu, text = found.groups()
        first += f',"comm":{json_string(comm)},"pid":{int(pid)},"cpu":{int(cpu)}'
    return f'{first},"message":{json_string(text)}}}'


@contextlib.contextmanager
def _told(path: Path) -> Iterator[None]:
    """Tell of what fails in the block by its file."""
    try:
        yield
    except KernelError:
        raise
    except OSError as e:
        raise KernelError(e.errno or 0, str(e.strerror), str(e.filename or path)) from e
