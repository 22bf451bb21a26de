"""Lists of fields, as ``--fields`` and ``--unique`` take them."""

import re
from collections.abc import Iterator, Sequence
from difflib import get_close_matches
from typing import Final

from bpfpack.runner.events.formatter import EventOutput
from bpfpack.runner.filters.leaves import find
from bpfpack.spec.errors import UsageError
from bpfpack.spec.limits import LIMITS
from bpfpack.spec.record import Field, RecordLayout
from bpfpack.spec.safetext import printable

#: Known names that an error lists.
_LISTED: Final = 24
_SUBSCRIPTS: Final = re.compile(r"\[[0-9]+\]")


def near(name: str, known: Sequence[str]) -> str:
    """Say which names there are, the one that is most like the wrong one first.

    >>> near("pidd", ["pid", "comm"])
    'did you mean pid? the fields are pid, comm'
    """
    close = get_close_matches(name[:80], known, n=1)
    meant = f"did you mean {printable(close[0], 80)}? " if close else ""
    more = ", ..." if len(known) > _LISTED else ""
    listed = ", ".join(printable(n, 80) for n in known[:_LISTED])
    return f"{meant}the fields are {listed}{more}"


def split(text: str, option: str) -> list[str]:
    """Return the names of a list with commas; raises UsageError.

    >>> split("pid, -comm", "--fields")
    ['pid', '-comm']
    """
    names = [name.strip(" ") for name in text.split(",")]
    if not all(name.strip("-") for name in names) or len(names) > LIMITS.fields:
        raise UsageError(f"{option} {printable(text, 80)!r}: not names with commas between")
    return names


def matching(layout: RecordLayout, name: str) -> list[Field]:
    """Return the field of a name, or those of the struct, or the structs, of that name.

    Of an array of structs a name without subscripts means all of them.
    """
    exact = layout.field(name)
    if exact is not None:
        return [exact]
    return [f for f in layout.fields if not f.hidden and _is_inside(f, name)]


def _is_inside(field: Field, name: str) -> bool:
    for path in (field.name, _SUBSCRIPTS.sub("", field.name)):
        if path == name or path.startswith((f"{name}.", f"{name}[")):
            return True
    return False


def visible(outputs: Sequence[EventOutput]) -> Iterator[Field]:
    """Yield the fields that are shown."""
    for output in outputs:
        for one in output.types:
            yield from (f for f in one.layout.fields if not f.hidden)


def unknown(name: str, outputs: Sequence[EventOutput], option: str) -> UsageError:
    """Return the error for a name that none of the outputs has."""
    known = list(dict.fromkeys(f.name for f in visible(outputs)))
    return UsageError(f"{option}: no field {printable(name, 80)!r}").with_hint(near(name, known))


def values(text: str, outputs: Sequence[EventOutput]) -> list[str]:
    """Return the names of single values that ``--unique`` lists; raises UsageError."""
    found: dict[str, None] = {}
    layouts = [t.layout for output in outputs for t in output.types]
    for name in split(text, "--unique"):
        each = [f.name for layout in layouts for f in matching(layout, name)]
        if not each and any(find(layout, name) for layout in layouts):
            each = [name]
        if not each:
            raise unknown(name, outputs, "--unique")
        found |= dict.fromkeys(each)
    return list(found)
