"""Records come out of the engine whole, framed, one behind the other."""

from functools import cache, partial

from hypothesis import given, settings
from hypothesis import strategies as st

from bpfpack.runner.api.taking import places_of
from bpfpack.runner.engine.program import assemble
from tests.kit.enginehost import Arena, Host
from tests.kit.records import FixedClock, field, layout, output

LAYOUT = layout(field("a", "uint", 0, 4), field("b", "uint", 4, 4))


@cache
def _arena() -> Arena:
    return Arena()


@settings(max_examples=200, deadline=None)
@given(st.lists(st.binary(max_size=100), max_size=20), st.integers(0, 200))
def test_records_of_any_length_are_framed(records: list[bytes], room: int) -> None:
    """Shorter than their type, longer, or of none; a small output takes several calls."""
    host = Host(partial(assemble, "framed", output(LAYOUT), clock=FixedClock()), _arena())
    framed = host.format(records, size=116 + room)
    assert [framed[at : at + size] for at, size in places_of(framed)] == records
    assert framed == b"".join(
        len(r).to_bytes(8, "little") + r + bytes(-len(r) % 8) for r in records
    )
