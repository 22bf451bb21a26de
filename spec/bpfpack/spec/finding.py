"""What an examination of a host finds: one part, how it is, why, and what to do about it."""

from typing import Literal

from bpfpack.spec.value import valuetype

#: ``failed``: something that bpfpack is for cannot work; ``warning``: some of it cannot.
State = Literal["ok", "warning", "failed"]


@valuetype
class Finding:
    """One part of a host as it was found.

    ``cure`` is None exactly where nothing needs one.
    """

    part: str
    state: State
    told: str
    cure: str | None = None

    @classmethod
    def ok(cls, part: str, told: str) -> "Finding":
        """Nothing is wrong."""
        return cls(part=part, state="ok", told=told)

    @classmethod
    def warning(cls, part: str, told: str, cure: str) -> "Finding":
        """Some packages, or some commands, will not work."""
        return cls(part=part, state="warning", told=told, cure=cure)

    @classmethod
    def failed(cls, part: str, told: str, cure: str) -> "Finding":
        """A main part of bpfpack cannot work here."""
        return cls(part=part, state="failed", told=told, cure=cure)
