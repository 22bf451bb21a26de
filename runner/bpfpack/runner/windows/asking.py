"""``--by`` and ``--show``: by what events are grouped, and what is told of each group."""

import re
from collections.abc import Sequence
from fractions import Fraction
from typing import Final

from bpfpack.spec.errors import UsageError
from bpfpack.spec.limits import LIMITS
from bpfpack.spec.safetext import printable
from bpfpack.spec.value import valuetype

#: Functions of a field beside quantiles.
FUNCTIONS: Final = ("sum", "min", "max", "avg")
_CALL: Final = re.compile(r"\s*([A-Za-z0-9_.]+)\s*(?:\(\s*([^()]*?)\s*\))?\s*")
_QUANTILE: Final = re.compile(r"p([0-9]{1,3}(?:\.[0-9]{1,6})?)")
_HINT: Final = "write count, sum(x), min(x), max(x), avg(x), p50(x), p99.9(x)"


@valuetype
class Aggregate:
    """One thing that is told of a group; of ``count`` there is no field.

    ``share`` is that of a quantile: p99 is the value that 99 % of all do not exceed.
    """

    function: str
    field: str = ""
    share: Fraction | None = None

    @property
    def name(self) -> str:
        """As it is written."""
        return f"{self.function}({self.field})" if self.field else self.function


@valuetype
class Asked:
    """What a window shows: the names of its keys, and what is told of each group."""

    seconds: float
    by: tuple[str, ...]
    show: tuple[Aggregate, ...]


def parse_window(seconds: float, by: str | None, show: str | None) -> Asked:
    """Return what the options ask for; raises UsageError."""
    from bpfpack.runner.filters.names import split

    keys = tuple(dict.fromkeys(split(by, "--by"))) if by is not None else ()
    if len(keys) > LIMITS.window_keys_named:
        raise UsageError(f"--by: more than {LIMITS.window_keys_named} names")
    asked = tuple(dict.fromkeys(map(aggregate, ("count" if show is None else show).split(","))))
    if len(asked) > LIMITS.window_shown:
        raise UsageError(f"--show: more than {LIMITS.window_shown} values")
    return Asked(seconds=seconds, by=keys, show=asked)


def aggregate(text: str) -> Aggregate:
    """Parse one; raises UsageError.

    >>> aggregate("p99.9(lat)").share
    Fraction(999, 1000)
    >>> aggregate(" sum( bytes ) ").name
    'sum(bytes)'
    """
    match = _CALL.fullmatch(text)
    if match is None:
        raise _refused(text, "not a value of a group")
    function, field = match[1], match[2] or ""
    if function == "count":
        if match[2] is not None:
            raise _refused(text, "count is of events, not of a field")
        return Aggregate(function="count")
    share = _share(function)
    if share is None and function not in FUNCTIONS:
        raise _unknown(function)
    if not field:
        raise _refused(text, f"{function} of which field?")
    return Aggregate(function=function, field=field, share=share)


def _share(function: str) -> Fraction | None:
    match = _QUANTILE.fullmatch(function)
    if match is None:
        return None
    share = Fraction(match[1]) / 100
    if share > 1:
        raise _refused(function, "quantiles are p0 to p100")
    return share


def _refused(text: str, reason: str) -> UsageError:
    return UsageError(f"--show {printable(text.strip(), 80)!r}: {reason}").with_hint(_HINT)


def _unknown(function: str) -> UsageError:
    from difflib import get_close_matches

    near: Sequence[str] = get_close_matches(function[:80], ("count", *FUNCTIONS), n=1)
    meant = f"did you mean {near[0]}? " if near else ""
    error = UsageError(f"--show: no function {printable(function, 80)!r}")
    return error.with_hint(meant + _HINT)
