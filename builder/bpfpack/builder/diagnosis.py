"""Turns what is wrong with the metadata into an error that says where it was said."""

from collections.abc import Sequence

from bpfpack.builder.places import Places
from bpfpack.builder.release import FILE_NAME, Release
from bpfpack.builder.tags import TagError
from bpfpack.spec import fields
from bpfpack.spec.errors import BuildError, SpecError
from bpfpack.spec.value import field, valuetype


@valuetype
class Diagnosis:
    """What is known of where things are said.

    ``subject`` is what is built, ``shown`` leads to the project: "x/", or "".
    """

    subject: str
    shown: str = ""
    release: Release = field(default_factory=Release)
    places: Sequence[Places] = ()

    def error(
        self,
        cause: SpecError,
        *,
        told: tuple[str, ...] = (),
        name: str = "",
        tags: Sequence[str] = (),
    ) -> BuildError:
        """Return ``cause`` as a build's error.

        ``told`` is where the TOML would have said it; ``tags`` those that say it in the
        source, ``name`` what it is called there.
        """
        path = (*told, *cause.path)
        line = self._toml(path)
        where = line or self._source(cause, name, tags) or self._toml(told)
        said = SpecError(cause.reason, path=path)
        error = BuildError(f"{where or self.subject}: {_in_toml(said) if line else said}")
        error.hint = cause.hint
        return error

    def toml_error(self, cause: SpecError) -> BuildError:
        """Return an error in bpfpack.toml itself."""
        line = self.release.line_of(cause.path)
        place = f"{self.shown}{FILE_NAME}" + ("" if line is None else f":{line}")
        error = BuildError(f"{place}: {_in_toml(cause)}")
        error.hint = cause.hint
        return error

    def _toml(self, path: tuple[str, ...]) -> str | None:
        """Return the line of the TOML that says this and not only what is around it."""
        line = self.release.line_of(path, whole=True) if path else None
        return None if line is None else f"{self.shown}{FILE_NAME}:{line}"

    def _source(self, cause: SpecError, name: str, tags: Sequence[str]) -> str | None:
        wanted = [cause.tag] if isinstance(cause, TagError) else list(tags)
        for places in self.places:
            found = [places.tag(tag) for tag in wanted]
            found += [places.name(name)] if name else []
            if place := next(filter(None, found), None):
                return f"{self.shown}{place}"
        return None


def _in_toml(cause: SpecError) -> str:
    """Say it to who writes TOML by hand."""
    *around, name = cause.path or ("",)
    if cause.reason == fields.UNKNOWN:
        return str(SpecError(f"unknown field {name!r}", path=tuple(around)))
    if cause.reason == fields.NO_STRING:
        return str(SpecError("text in quotes is wanted", path=cause.path))
    return str(cause)
