"""Where an artifact came from, as far as trust is concerned."""

from typing import Literal

from bpfpack.spec.reference import Reference
from bpfpack.spec.value import valuetype

OriginKind = Literal["registry", "store", "file", "https", "stdin", "source"]


@valuetype
class Origin:
    """What the user named, and what kind of place it is.

    ``reference`` is the effective canonical one: host and repository as typed, tag after
    default resolution; a mirror or an annotation never changes it.  None for a path, a URL
    and stdin, unless the user said which reference to check (``--as``).
    ``location`` is the absolute path, the URL, or any text for display.
    ``implicit`` says that nobody typed the tag: whoever answers for it chose the version.
    """

    kind: OriginKind
    reference: Reference | None
    location: str
    implicit: bool = False

    def __str__(self) -> str:
        return str(self.reference) if self.reference else self.location
