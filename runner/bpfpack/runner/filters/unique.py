"""``--unique``: the first event of each combination of some values.

So many combinations are remembered and no more.  An event of another one is shown, though it may
not be the first, and counted.
"""

from collections.abc import Sequence
from typing import Final, TypeAlias

from bpfpack.runner.filters.leaves import find, leaf, whole
from bpfpack.runner.filters.predicates import Leaf
from bpfpack.spec.limits import LIMITS
from bpfpack.spec.record import RecordLayout

_Key: TypeAlias = tuple[int | bytes | None, ...]


class Distinct:
    """What was seen of one output; ``parts`` are the values of each of its types, and of records
    of no known type last, None for one that a type has not."""

    def __init__(
        self, parts: Sequence[Sequence[Leaf | None]], most: int = LIMITS.unique_keys
    ) -> None:
        self.parts: Final = parts
        self.most: Final = most
        self.overflow = 0
        self._seen: set[_Key] = set()

    def is_first(self, index: int, record: memoryview) -> bool:
        """Remember a record of that type (-1: of none); say whether it is to be shown."""
        key = tuple(_value(part, record) for part in self.parts[index])
        if key in self._seen:
            return False
        if len(self._seen) >= self.most:
            self.overflow += 1
        else:
            self._seen.add(key)
        return True


def value_parts(layout: RecordLayout, names: Sequence[str]) -> list[Leaf | None]:
    """Where the values of these names stand in a type; an array is compared as a whole."""
    parts: list[Leaf | None] = []
    for name in names:
        found = find(layout, name)
        if found is None:
            parts.append(None)
        elif found[0].dimensions and not found[1]:
            parts.append(whole(found[0]))
        else:
            parts.append(leaf(*found, layout.byte_order))
    return parts


def _value(part: Leaf | None, record: memoryview) -> int | bytes | None:
    if part is None or len(record) < part.needs:
        return None
    if part.kind == "number":
        number = part.number(record)
        return None if number is None else int(number)
    if part.kind == "float":
        # Its bits: no number equals itself, and is one combination all the same.
        raw = bytes(record[part.offset : part.offset + part.size])
        return int.from_bytes(raw, part.order)
    return part.text(record)
