"""The engine fills the columns that plain Python reads."""

from bpfpack.runner.columns.schema import schema_of
from bpfpack.runner.engine.host import Engine
from bpfpack.spec.errors import SpecError
from tests.fuzz.differential import CLOCK
from tests.kit.columnhost import filled, read, values
from tests.kit.enginecases import Dice, fields_of, make_case

_ROUNDS, _CASES = 6, 40


def test_any_types_and_records() -> None:
    compared = 0
    for first in range(0, _ROUNDS * _CASES, _CASES):
        with Engine() as engine:  # its memory is not given back before it ends
            for seed in range(first, first + _CASES):
                case = make_case(Dice(f"columns:{seed}"))
                try:
                    schema = schema_of(case.output)
                except SpecError:  # nothing is shown, or two types disagree
                    continue
                found = values(filled(engine, schema, case.records, CLOCK))
                assert found == values(read(schema, case.records, CLOCK)), (seed, fields_of(case))
                compared += len(case.records)
    assert compared > 400
