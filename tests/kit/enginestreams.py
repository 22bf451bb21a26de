"""The engine on a map of a test."""

from functools import partial

from bpfpack.runner.engine.host import Engine
from bpfpack.runner.engine.program import assemble
from bpfpack.runner.engine.streams import ClosableStream, open_stream
from bpfpack.runner.events.formatter import EventOutput, OutputFormat, RecordType
from bpfpack.runner.maps import Map
from bpfpack.spec.record import RecordLayout

#: Bytes of which nothing is known.
_OPAQUE = RecordLayout(type="struct record", size=0, byte_order="little", fields=(), flexible=True)


def raw_stream(engine: Engine, of: Map, *, pages: int | None = None) -> ClosableStream:
    """The bytes of a map's records, one after the other."""
    output = EventOutput(name="events", types=(RecordType(layout=_OPAQUE),))
    return stream(engine, of, "raw", output, pages=pages)


def stream(
    engine: Engine, of: Map, shape: OutputFormat, output: EventOutput, *, pages: int | None = None
) -> ClosableStream:
    """A map's events in a form."""
    program = engine.load(partial(assemble, shape, output))
    return open_stream(program, of, pages=pages, header=lambda: None)
