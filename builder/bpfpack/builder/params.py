"""Options from globals: every `const volatile` of the object, unless hidden."""

import math
import re
from collections import Counter
from collections.abc import Mapping
from typing import Any, Final

from bpfpack.builder.diagnosis import Diagnosis
from bpfpack.builder.words import Words, as_held
from bpfpack.spec.agreement import check_role, enumerators, initial_value, is_volatile, option_type
from bpfpack.spec.btf import Int
from bpfpack.spec.config import TARGET_PID, Param, Value
from bpfpack.spec.errors import SpecError
from bpfpack.spec.layout import resolve
from bpfpack.spec.objectspec import ObjectSpec, Variable

#: What programs call the process or user to look at; the option loses the prefix.
_PREFIX: Final = re.compile(r"(?:targ|target)_(?=.)")
#: The first of these that there is: beside one for the process, "pid" is a thread.
_TARGET_PIDS: Final = ("target_tgid", "targ_tgid", "target_pid", "targ_pid")
#: The package's own help is bpfpack's.
_RESERVED: Final = {"help": "option", "h": "short"}


def make_params(
    spec: ObjectSpec, said: Mapping[str, Words], diagnosis: Diagnosis
) -> tuple[Param, ...]:
    """Return the options, in the order in which the globals lie; raises BuildError."""
    variables = {v.name: v for v in spec.variables if _is_param(spec, v)}
    for name in said:
        if said[name] and name not in variables:
            cause = SpecError(f"{name!r} is not a `const volatile` global of the object")
            raise diagnosis.error(cause, told=("params", name), name=name)
    shown = {n: v for n, v in variables.items() if not said.get(n, {}).get("hidden")}
    names, target = _option_names(shown, said), _target(shown, said)
    found: dict[str, Param] = {}
    for name, variable in shown.items():
        words = {k: v for k, v in said.get(name, {}).items() if k != "hidden"}
        try:
            words = {"option": names[name], **words}
            param = _param(spec, variable, words, inferred=name == target)
            if param is not None:
                _check_unique(param, found)
                found[name] = param
        except SpecError as e:
            raise diagnosis.error(e, told=("params", name), name=name) from e
    return tuple(found.values())


def _is_param(spec: ObjectSpec, variable: Variable) -> bool:
    return (
        variable.const
        and variable.section.startswith(".rodata")
        and not variable.name.startswith("__")
        and is_volatile(spec.types("an option"), variable.type_id)
    )


def _option_names(shown: Mapping[str, Variable], said: Mapping[str, Words]) -> dict[str, str]:
    """Name each option after its global, without `targ_` where that stays clear."""
    long = {name: _dashed(name) for name in shown}
    short = {name: _dashed(_PREFIX.sub("", name, count=1)) for name in shown}
    count = Counter(str(said.get(n, {}).get("option", short[n])) for n in shown)
    return {n: short[n] if count[short[n]] == 1 else long[n] for n in shown}


def _dashed(name: str) -> str:
    """Return a C name as an option.

    >>> _dashed("max__Args_")
    'max-args'
    """
    return re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-")


def _target(shown: Mapping[str, Variable], said: Mapping[str, Words]) -> str | None:
    """The global that has the role of the process to look at, where nobody says which."""
    if any("role" in words for words in said.values()):
        return None
    return next((name for name in _TARGET_PIDS if name in shown), None)


def _param(spec: ObjectSpec, variable: Variable, words: Words, *, inferred: bool) -> Param | None:
    """Return the param; None for one of a type that no option has, if nothing is said of it.

    ``inferred`` says that it is the one that selects a process.
    """
    btf = spec.types("an option")
    try:
        type_ = option_type(btf, variable.type_id)
    except SpecError:
        if set(words) == {"option"}:
            return None
        raise
    _, kind = resolve(btf, variable.type_id)
    data: dict[str, Any] = {"global": variable.name, "type": type_, **words}
    if isinstance(choices := words.get("choices"), dict):
        data["choices"] = {
            name: as_held(btf, variable.type_id, value) if type(value) is int else value
            for name, value in choices.items()
        }
    if named := enumerators(kind):
        data.setdefault("choices", named)
    if inferred and isinstance(kind, Int) and kind.size == 4:
        data.setdefault("role", TARGET_PID)
    default = _default(spec, variable)
    if default is not None:
        data["default"] = default
    param = Param.from_dict(data)
    check_role(btf, param, variable)
    return param


def _default(spec: ObjectSpec, variable: Variable) -> Value | None:
    value = initial_value(spec, variable)
    # JSON has no word for NaN and the infinities.
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _check_unique(param: Param, others: Mapping[str, Param]) -> None:
    for name, kind in ((param.option, "option"), (param.short, "short")):
        if name is not None and _RESERVED.get(name) == kind:
            raise SpecError(f"{name!r} is the option for help")
    for other in others.values():
        if param.role and other.role == param.role:
            raise SpecError(f"{other.variable!r} has the role {param.role!r} too")
        if other.option == param.option:
            raise SpecError(f"'--{param.option}' is the option of {other.variable!r} too")
        if param.short and other.short == param.short:
            raise SpecError(f"'-{param.short}' is the option of {other.variable!r} too")
