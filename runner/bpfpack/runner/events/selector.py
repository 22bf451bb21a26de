"""Which of an output's types a record is of."""

import struct
from collections.abc import Mapping, Sequence
from typing import Final

from bpfpack.runner.events.values import BYTE_ORDERS, number_reader
from bpfpack.spec.errors import SpecError
from bpfpack.spec.record import RecordLayout


class Selector:
    """Called with a record, gives the index of its type, or None when it has none.

    One type takes every record.  Several are told apart by their ``when``, the value of the
    member ``discriminator`` at its place in the first of them; without one by their sizes:
    the largest that the record has room for, since a perf buffer pads what it hands over, but
    never to the padded size of another type (`bpfpack.spec.agreement.perf_size`).
    """

    def __init__(
        self, types: Sequence[tuple[RecordLayout, int | None]], discriminator: str | None
    ) -> None:
        self._single = len(types) == 1
        self._by_size = sorted(
            ((layout.size, i) for i, (layout, _) in enumerate(types)), key=lambda t: (-t[0], t[1])
        )
        self._when: Final[Mapping[int | None, int]] = {when: i for i, (_, when) in enumerate(types)}
        self._member: tuple[int, struct.Struct] | None = None
        if discriminator is not None and not self._single:
            self._use(types[0][0], discriminator)

    def _use(self, layout: RecordLayout, name: str) -> None:
        field = layout.field(name)
        if field is None or field.dimensions or field.base not in ("int", "uint", "enum", "bool"):
            raise SpecError("no such integer member", path=("discriminator", name))
        code, self._load = number_reader(field, layout.byte_order)
        self._member = field.offset, struct.Struct(BYTE_ORDERS[layout.byte_order] + code)

    def __call__(self, memory: memoryview, offset: int, length: int) -> int | None:
        """The index of the record's type."""
        if self._single:
            return 0
        if self._member is None:
            return next((i for size, i in self._by_size if size <= length), None)
        at, member = self._member
        if at + member.size > length:
            return None
        (raw,) = member.unpack_from(memory, offset + at)
        return self._when.get(raw if self._load is None else self._load(raw))
