"""bpfpack.toml: what is about the release, and everything that a tag could say.

name = "opensnoop"              version, license, description, authors, homepage, source
readme = "README.md"

[build]
flags = ["-DMAX_ARGS=20"]       see `flags.check_flags`
platforms = ["linux/amd64"]     where the object runs, everywhere unless told

[params.target_pid]             option, short, help, unit, role, choices, hidden
[programs.enter_open]           optional, alternative, attach, option
[fields.event.addr]             title, format, unit, clock, order, labels, hidden
[outputs.events]                map, type | types and by | histogram (and step) | table,
                                unit, slots, interval, sort, hidden
"""

import re
import tomllib
from collections.abc import Mapping
from pathlib import PurePosixPath
from typing import Any, Final

from bpfpack.builder import words
from bpfpack.builder.words import Said, Words
from bpfpack.spec import fields
from bpfpack.spec.errors import LimitExceeded, SpecError
from bpfpack.spec.limits import LIMITS
from bpfpack.spec.value import field, valuetype

FILE_NAME: Final = "bpfpack.toml"
_SECTIONS: Final = ("build", "params", "programs", "outputs", "fields")
_HEADER: Final = re.compile(r"\s*\[\[?\s*(.+?)\s*\]\]?\s*(?:#.*)?")
_KEY: Final = re.compile(r"\s*([^=#\[]+?)\s*=")
_PART: Final = re.compile(r'"((?:[^"\\]|\\.)*)"|\'([^\']*)\'|([A-Za-z0-9_-]+)')


@valuetype
class Release:
    """A parsed bpfpack.toml; the default is what an absent one says."""

    said: Said = field(default_factory=Said)
    readme: str | None = None
    flags: tuple[str, ...] = ()
    platforms: tuple[str, ...] = ()
    text: str = field(default="", repr=False)

    @classmethod
    def parse(cls, data: bytes) -> "Release":
        """Parse the file; raises SpecError, whose path `line_of` finds, and LimitExceeded."""
        if len(data) > LIMITS.config:
            raise LimitExceeded(f"larger than {LIMITS.config} bytes")
        try:
            text = data.decode()
            found = tomllib.loads(text)
        except (ValueError, RecursionError) as e:  # of many digits, too: plain ValueError
            raise SpecError(str(e) or "nested too deep") from e
        fields.only(found, *words.PACKAGE, "readme", *_SECTIONS)
        with fields.inside("build"):
            build = fields.mapping(found, "build")
            fields.only(build, "flags", "platforms")
            flags = fields.strings(build, "flags", most=256)
            platforms = fields.strings(build, "platforms", most=32)
        return cls(
            said=Said(
                package={k: found[k] for k in words.PACKAGE if k in found},
                params=_table(found, "params", words.PARAM),
                programs=_table(found, "programs", words.PROGRAM),
                outputs=_table(found, "outputs", words.OUTPUT),
                fields=_fields(found),
            ),
            readme=_readme(found),
            flags=flags,
            platforms=platforms,
            text=text,
        )

    def line_of(self, path: tuple[str, ...], *, whole: bool = False) -> int | None:
        """Return the line, from 1, that says ``path`` or most of it, None when none does.

        ``whole`` wants all of it.
        """
        best: int | None = None
        length = 0
        table: tuple[str, ...] = ()
        for number, line in enumerate(self.text.splitlines(), 1):
            if header := _HEADER.fullmatch(line):
                here = table = _parts(header[1])
            elif key := _KEY.match(line):
                here = (*table, *_parts(key[1]))
            else:
                continue
            common = _common(here, path)
            if common in (len(here), len(path)) and common > length:
                best, length = number, common
        return None if whole and length < len(path) else best


def _table(found: Mapping[str, Any], section: str, known: tuple[str, ...]) -> dict[str, Words]:
    """Return the tables of one section, their words known."""
    tables = fields.mapping(found, section)
    with fields.inside(section):
        return {name: _words(tables, name, known) for name in tables}


def _words(tables: Mapping[str, Any], name: str, known: tuple[str, ...]) -> Words:
    table = fields.mapping(tables, name)
    with fields.inside(name):
        fields.only(table, *known)
        return dict(table)


def _fields(found: Mapping[str, Any]) -> dict[str, dict[str, Words]]:
    types = fields.mapping(found, "fields")
    with fields.inside("fields"):
        return {name: _table(types, name, words.FIELD) for name in types}


def _readme(found: Mapping[str, Any]) -> str | None:
    name = fields.optional_string(found, "readme")
    if name is None:
        return None
    path = PurePosixPath(name)
    if path.is_absolute() or ".." in path.parts or "\0" in name:
        raise SpecError("leaves the project", path=("readme",))
    return name


def _parts(dotted: str) -> tuple[str, ...]:
    return tuple(a or b or c for a, b, c in _PART.findall(dotted))


def _common(one: tuple[str, ...], other: tuple[str, ...]) -> int:
    count = 0
    for a, b in zip(one, other, strict=False):
        if a != b:
            break
        count += 1
    return count
