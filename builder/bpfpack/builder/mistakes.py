"""Mistakes that the compiler reports in the words of our macros, said in the author's words."""

import re
from collections.abc import Iterator, Mapping
from difflib import get_close_matches
from typing import Final

#: What the words of a macro begin with in bpfpack.h, by their macro.
_PREFIXES: Final[Mapping[str, str]] = {
    "pt": "BPFPACK_PARAM",
    "ft": "BPFPACK_FIELD",
    "ot": "BPFPACK_OUTPUT, _HISTOGRAM, _TABLE and _STACKS",
    "gt": "BPFPACK_PROGRAM",
}
_WORD: Final = re.compile(r"\b__bpfpack_(pt|ft|ot|gt)_(\w+)")
_LOST: Final = re.compile(r"(__u64 )?\b__bpfpack_lost_(\w+)")
_MACRO: Final = re.compile(r"\bBPFPACK_[A-Z]+\b")
_KERNELS: Final = re.compile(r"^(?:.*/)?vmlinux\.h:\d+:\d+: note: previous", re.MULTILINE)
#: A hint for each of many would be no hint.
_MOST: Final = 5


def explain(preprocessed: str, header: str, messages: str) -> str | None:
    """Return what to do about a source that does not compile, None when nothing is known.

    ``preprocessed`` is the source after the preprocessor, in which what bpfpack.h does not know
    stands as it was glued together; ``header`` is bpfpack.h, ``messages`` the compiler's.
    """
    found = (
        *_without_header(preprocessed),
        *_unknown_words(preprocessed, header),
        *_undeclared(preprocessed),
        *_names_of_the_kernel(messages),
    )
    return "\n".join(list(dict.fromkeys(found))[:_MOST]) or None


def _without_header(preprocessed: str) -> Iterator[str]:
    if macro := _MACRO.search(preprocessed):
        yield f'{macro[0]} is unknown: #include "bpfpack.h" comes before it'


def _unknown_words(preprocessed: str, header: str) -> Iterator[str]:
    known: dict[str, list[str]] = {kind: [] for kind in _PREFIXES}
    for kind, word in _WORD.findall(header):
        known[kind].append(word)
    for kind, word in _WORD.findall(preprocessed):
        told = f"{_PREFIXES[kind]} knows no word {word!r}"
        near = get_close_matches(word, known[kind], n=1)
        among = ", ".join(dict.fromkeys(known[kind]))
        yield f"{told}: did you mean {near[0]}?" if near else f"{told}: only {among}"


def _undeclared(preprocessed: str) -> Iterator[str]:
    declared: set[str] = set()
    for declares, map_ in _LOST.findall(preprocessed):
        if declares:
            declared.add(map_)
        elif map_ not in declared:
            yield (
                f"bpfpack_reserve({map_}, ...) and its kin need BPFPACK_OUTPUT({map_}, ...), "
                f"BPFPACK_TABLE({map_}), BPFPACK_HISTOGRAM({map_}) or BPFPACK_STACKS({map_}) "
                "before them"
            )


def _names_of_the_kernel(messages: str) -> Iterator[str]:
    if _KERNELS.search(messages):
        yield "vmlinux.h holds all the kernel's names: give yours a prefix"
