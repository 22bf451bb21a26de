"""Turns what is wrong with the metadata into an error that says where it was said."""

from collections.abc import Sequence
from dataclasses import dataclass, field

from bpfpack.builder.places import Place, Places
from bpfpack.builder.release import FILE_NAME, Release
from bpfpack.builder.tags import TagError
from bpfpack.spec.errors import BuildError, SpecError


@dataclass(frozen=True, slots=True, kw_only=True)
class Diagnosis:
    """What is known of where things are said; ``shown`` leads to the project, "x/" or ""."""

    shown: str = ""
    release: Release = field(default_factory=Release)
    places: Sequence[Places] = ()

    def error(
        self,
        cause: SpecError,
        *,
        told: tuple[str, ...] = (),
        name: str = "",
        before: str = "",
    ) -> BuildError:
        """Return ``cause`` as a build's error.

        ``told`` is where the TOML would have said it; ``name``, behind ``before``, what the
        source calls it.
        """
        path = (*told, *cause.path)
        where = self._toml(path) or self._source(cause, name, before) or self._toml(told)
        message = str(SpecError(cause.reason, path=path))
        error = BuildError(f"{where}: {message}" if where else message)
        error.hint = cause.hint
        return error

    def toml_error(self, cause: SpecError) -> BuildError:
        """Return an error in bpfpack.toml itself."""
        line = self.release.line_of(cause.path)
        place = f"{self.shown}{FILE_NAME}" + ("" if line is None else f":{line}")
        return BuildError(f"{place}: {cause}")

    def _toml(self, path: tuple[str, ...]) -> str | None:
        """Return the line of the TOML that says this and not only what is around it."""
        line = self.release.line_of(path, whole=True) if path else None
        return None if line is None else f"{self.shown}{FILE_NAME}:{line}"

    def _source(self, cause: SpecError, name: str, before: str) -> str | None:
        for places in self.places:
            place: Place | None = None
            if isinstance(cause, TagError) and cause.tag:
                place = places.tag(cause.tag)
            if place is None and name:
                place = places.name(name, before)
            if place is not None:
                return f"{self.shown}{place}"
        return None
