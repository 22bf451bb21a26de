"""The author's words as bpfpack.h leaves them in an object: BTF declaration tags.

The grammar is in the header.  A word said twice of one item, with two values, is an error;
so is one that the header does not know.
"""

from collections.abc import Iterator
from typing import Final

from bpfpack.builder import words
from bpfpack.builder.words import Numbers, Said, Words
from bpfpack.spec.agreement import type_name
from bpfpack.spec.btf import Array, Btf, Func, FuncProto, Fwd, Ptr, Union
from bpfpack.spec.errors import SpecError
from bpfpack.spec.layout import resolve
from bpfpack.spec.objectspec import ObjectSpec

PREFIX: Final = "bpfpack:"
_KINDS: Final = ("events", "histogram", "table", "stacks")
_OUTPUT: Final = (*_KINDS, "by", "unit", "slots", "sort", "name", *words.STACKS)
_PACKAGE: Final = (*(w for w in words.PACKAGE if w != "authors"), "author")
#: Of several types a union, whose members are each type and a number that tells it apart.
_TYPES: Final = "__bpfpack_types_"
_OF: Final = "__bpfpack_of"
_WHEN: Final = "__bpfpack_when"
#: Numbers that the compiler worked out: the lengths of arrays that parameters point to.
_NUMBERS: Final = {
    _WHEN: "when",
    "__bpfpack_step": "step",
    "__bpfpack_exponential": "exponential",
    "__bpfpack_interval": "interval",
}


class TagError(SpecError):
    """A tag that makes no sense; ``tag`` is its text, to find it in the source."""

    def __init__(self, reason: str, *, path: tuple[str, ...] = (), tag: str = "") -> None:
        super().__init__(reason, path=path)
        self.tag = tag


def output_tags(map_name: str) -> tuple[str, ...]:
    """Return the tags with which the header may say what a map shows."""
    return tuple(f"{PREFIX}{kind}={map_name}" for kind in _KINDS)


def read_tags(spec: ObjectSpec) -> Said:
    """Return what the tags of an object say; raises TagError."""
    if spec.btf is None:
        return Said()
    return _Reader(spec, spec.btf).said()


def member_words(btf: Btf, numbers: Numbers, owner: int, component: int) -> Words:
    """Return what the tags on one member of a struct say; raises TagError."""
    return _words(btf, numbers, owner, words.FIELD, component=component)


def _words(
    btf: Btf,
    numbers: Numbers,
    type_id: int,
    known: tuple[str, ...],
    *,
    component: int = -1,
    into: Words | None = None,
    many: tuple[str, ...] = (),
) -> Words:
    """Return the words on one item, added to ``into``."""
    found: Words = {} if into is None else into
    for tag in btf.tags_of(type_id, component):
        if not tag.startswith(PREFIX):
            continue
        word, _, text = tag.removeprefix(PREFIX).partition("=")
        if word not in known:
            raise TagError(f"{word!r} cannot be said here", tag=tag)
        value = _value(numbers, word, text, tag)
        if word in many:
            found.setdefault(word, []).append(value)
        elif found.setdefault(word, value) != value:
            raise TagError(f"{word!r} is said twice: {found[word]!r} and {value!r}", tag=tag)
    return found


def _value(numbers: Numbers, word: str, text: str, tag: str) -> object:
    try:
        if word in words.FLAGS:
            return True
        if word in words.LABELS:
            return numbers.labels(text)
        if word in words.CHOICES:
            return numbers.choices(text)
    except SpecError as e:
        raise TagError(e.reason, tag=tag).with_hint(e.hint or "") from e
    # What the author put into quotes although it could stand bare.
    return text[1:-1] if len(text) > 1 and text[0] == text[-1] == '"' else text


def _scale(said: Words, tag: str) -> Words:
    """The scale of a histogram, and its step, which an exponential one is said with."""
    exponential = said.pop("exponential", None)
    if exponential is None:
        return {"histogram": "linear" if "step" in said else "log2"}
    if "step" in said:
        raise TagError("linear and exponential at once", tag=tag)
    return {"histogram": "exponential", "step": exponential}


class _Reader:
    def __init__(self, spec: ObjectSpec, btf: Btf) -> None:
        self._spec, self._btf, self._numbers = spec, btf, Numbers(btf)

    def said(self) -> Said:
        functions = list(self._functions())
        programs = {p.name for p in self._spec.programs}
        return Said(
            package=self._package(functions),
            params={v.name: self._words(v.var_id, words.PARAM) for v in self._spec.variables},
            programs={
                f.name: self._words(i, words.PROGRAM, many=("attach",))
                for i, f in functions
                if f.name in programs
            },
            outputs=self._outputs(functions),
        )

    def _functions(self) -> Iterator[tuple[int, Func]]:
        for type_id in self._btf.ids(Func):
            if isinstance(found := self._btf[type_id], Func):
                yield type_id, found

    def _words(
        self,
        type_id: int,
        known: tuple[str, ...],
        *,
        into: Words | None = None,
        many: tuple[str, ...] = (),
    ) -> Words:
        return _words(self._btf, self._numbers, type_id, known, into=into, many=many)

    def _package(self, functions: list[tuple[int, Func]]) -> Words:
        found: Words = {}
        for type_id, function in functions:
            if function.name.startswith("__bpfpack_package_"):
                self._words(type_id, _PACKAGE, into=found, many=("author",))
        if authors := found.pop("author", None):
            found["authors"] = list(dict.fromkeys(authors))
        return found

    def _outputs(self, functions: list[tuple[int, Func]]) -> dict[str, Words]:
        found: dict[str, Words] = {}
        for type_id, function in functions:
            if function.name.startswith("__bpfpack_type_"):
                said = self._words(type_id, _OUTPUT)
                kinds = [kind for kind in _KINDS if kind in said]
                if len(kinds) == 1:
                    self._output(function, kinds[0], said, found)
        return found

    def _output(self, function: Func, kind: str, said: Words, outputs: dict[str, Words]) -> None:
        tag = f"{PREFIX}{kind}={said[kind]}"
        map_name = said.pop(kind)
        numbers, carried = self._parameters(function)
        when = numbers.pop("when", None)
        said = {"map": map_name, **said, **numbers}
        name = said.pop("name", map_name)
        if kind == "events":
            said["types"] = self._types(carried, when, tag)
        elif kind == "histogram":
            said |= _scale(said, tag)
        else:
            said[kind] = True
        before = outputs.setdefault(name, said)
        if before is not said:
            self._again(before, said, tag)

    def _again(self, before: Words, said: Words, tag: str) -> None:
        """One more type of an output; whatever else is said must be the same."""
        types = {**before.get("types", {})}
        for name, when in said.get("types", {}).items():
            if types.setdefault(name, when) != when:
                raise TagError(f"two values for {name}", tag=tag)
        rest = [{k: v for k, v in each.items() if k != "types"} for each in (before, said)]
        if rest[0] != rest[1]:
            raise TagError("an output is described twice, differently", tag=tag)
        if types:
            before["types"] = types

    def _types(self, carried: int, when: int | None, tag: str) -> dict[str, int | None]:
        """Return the types by name, each with what tells it apart."""
        _, several = resolve(self._btf, carried)
        if not (isinstance(several, Union) and several.name.startswith(_TYPES)):
            return {self._name(carried, tag): when}
        found: dict[str, int | None] = {}
        name = ""
        for member in several.members:
            if member.name.startswith(_OF):
                name = self._name(member.type_id, tag)
                if name in found:
                    raise TagError(f"two values for {name}", tag=tag)
                found[name] = None
            elif member.name.startswith(_WHEN) and name:
                found[name] = self._length(member.type_id)
        return found

    def _name(self, type_id: int, tag: str) -> str:
        if isinstance(declared := resolve(self._btf, type_id)[1], Fwd):
            word = "union" if declared.union else "struct"
            raise TagError(f"{word} {declared.name} is declared and not defined", tag=tag)
        name = type_name(self._btf, type_id)
        if name is None:
            raise TagError("the type has no name", tag=tag)
        return name

    def _length(self, type_id: int) -> int | None:
        """The length of the array that a type points to, None for any other type."""
        _, pointer = resolve(self._btf, type_id)
        _, target = resolve(self._btf, pointer.type_id) if isinstance(pointer, Ptr) else (0, None)
        return target.length if isinstance(target, Array) else None

    def _parameters(self, function: Func) -> tuple[Words, int]:
        """Return the numbers, and the type that the first parameter points to."""
        proto = self._btf[function.type_id]
        numbers: Words = {}
        carried = 0
        for param in proto.params if isinstance(proto, FuncProto) else ():
            _, pointer = resolve(self._btf, param.type_id)
            length = self._length(param.type_id)
            if param.name == _OF and isinstance(pointer, Ptr):
                carried = pointer.type_id
            elif param.name in _NUMBERS and length is not None:
                numbers[_NUMBERS[param.name]] = length
        return numbers, carried
