"""From record to record: what is left alone, what is skipped, and why a call comes back."""

import struct
from functools import partial

from bpfpack.runner.engine.program import assemble
from tests.kit.enginehost import BUSY, BUSY_BIT, DISCARD_BIT, EMPTY, FULL, MOST, ROOM, Host, staged
from tests.kit.records import field, layout, output

_OUTPUT = output(layout(field("n", "uint", 0, 4)))


def host() -> Host:
    return Host(partial(assemble, "json", _OUTPUT))


def record(number: int) -> bytes:
    return struct.pack("<I", number)


def test_everything_at_once() -> None:
    of = host()
    of.stage(staged([record(n) for n in range(3)]))
    found = of.run()
    assert found.output == b'{"n":0}\n{"n":1}\n{"n":2}\n'
    assert (found.taken, found.shown, found.status) == (3, 3, EMPTY)
    assert of.run() == (b"", 0, 0, EMPTY, 0)


def test_a_record_that_is_being_written_is_left_where_it_is() -> None:
    of = host()
    of.stage(staged([record(1), record(2)], BUSY_BIT))
    first = of.run()
    assert (first.output, first.taken, first.status) == (b'{"n":1}\n', 1, BUSY)
    assert of.run().status == BUSY


def test_a_record_that_was_given_up_is_skipped() -> None:
    of = host()
    of.stage(staged([record(1), record(2)], DISCARD_BIT) + staged([record(3)]))
    found = of.run()
    assert (found.output, found.taken) == (b'{"n":1}\n{"n":3}\n', 2)


def test_at_most_so_many() -> None:
    of = host()
    of.stage(staged([record(n) for n in range(3)]))
    assert of.run(most=2)[1:4] == (2, 2, MOST)
    assert of.run(most=0)[1:4] == (0, 0, MOST)
    assert of.run(most=2).output == b'{"n":2}\n'


def test_no_room_for_another_line() -> None:
    of = host()
    of.stage(staged([record(n) for n in range(1000)]))
    output, calls = b"", 0
    while True:
        found = of.run(size=200)
        output, calls = output + found.output, calls + 1
        if found.status != FULL:
            break
    assert found.status == EMPTY and calls > 10
    assert output == b"".join(b'{"n":%d}\n' % n for n in range(1000))


def test_no_room_for_one() -> None:
    of = host()
    of.stage(staged([record(7)]))
    found = of.run(size=8)
    assert (found.status, found.taken, found.output) == (ROOM, 0, b"")
    assert of.run(size=found.needed - 1).status == ROOM
    assert of.run(size=found.needed).output == b'{"n":7}\n'


def test_records_of_no_bytes_and_odd_lengths() -> None:
    of = host()
    assert of.format([b"", b"\1", record(2), record(3) + b"more"]) == (
        b'{"n":null}\n{"n":null}\n{"n":2}\n{"n":3}\n'
    )
