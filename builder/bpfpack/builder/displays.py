"""How the members of what is shown are displayed, from tags and TOML."""

from collections.abc import Mapping

from bpfpack.builder.tags import member_words
from bpfpack.builder.words import Numbers, Words, as_held, over
from bpfpack.spec.agreement import type_name
from bpfpack.spec.btf import Btf, Struct, Union
from bpfpack.spec.errors import LimitExceeded
from bpfpack.spec.layout import array_of, members, resolve
from bpfpack.spec.limits import LIMITS


class Displays:
    """Gathers what is said of members, by shown type and then by dotted path.

    ``told`` is the TOML's ``[fields.TYPE.MEMBER]``, of a type that is shown itself or that
    is a member of one.
    """

    def __init__(self, btf: Btf, told: Mapping[str, Mapping[str, Words]]) -> None:
        self._btf, self._told, self._numbers = btf, told, Numbers(btf)
        self._seen: set[str] = set()
        self.found: dict[str, dict[str, Words]] = {}

    def add(self, type_id: int) -> None:
        """Take in a type that an output shows; raises SpecError."""
        name = type_name(self._btf, type_id)
        said = self._of(type_id, 0)
        if name is not None and said:
            self.found[name] = said

    def unused(self) -> set[str]:
        """Return the types that the TOML speaks of and no output shows."""
        return set(self._told) - self._seen

    def _of(self, type_id: int, depth: int) -> dict[str, Words]:
        """Return what is said of the members of a type and of theirs."""
        if depth > LIMITS.btf_resolve_depth:
            raise LimitExceeded("type nested too deep", path=(self._btf.spelling(type_id),))
        element, _ = array_of(self._btf, type_id)
        if not isinstance(resolve(self._btf, element)[1], Struct | Union):
            return {}
        found: dict[str, Words] = {}
        for member in members(self._btf, element):
            said = member_words(self._btf, self._numbers, member.owner, member.component)
            if labels := said.get("labels"):
                said["labels"] = {
                    str(as_held(self._btf, member.type_id, int(value))): label
                    for value, label in labels.items()
                }
            if said:
                found[member.name] = said
            for path, inner in self._of(member.type_id, depth + 1).items():
                found[f"{member.name}.{path}"] = inner
        name = type_name(self._btf, element) or ""
        self._seen.add(name)
        return over(found, self._told.get(name, {}))
