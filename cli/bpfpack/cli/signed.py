"""What a signature is due to: a package, or an index and every package that it lists."""

from bpfpack.registry.fetch_package import resolve_child
from bpfpack.spec.content import Source
from bpfpack.spec.descriptor import Descriptor
from bpfpack.spec.errors import LimitExceeded, NotFound
from bpfpack.spec.limits import LIMITS
from bpfpack.spec.manifest import Index, Manifest
from bpfpack.spec.value import replace, valuetype


@valuetype
class Subjects:
    """What to sign, what was asked for first; ``absent`` are children that are not there."""

    present: tuple[Descriptor, ...]
    absent: int = 0


def subjects(place: Source, content: Manifest | Index, *, recursive: bool = True) -> Subjects:
    """Return ``content`` and, if it is an index, what it lists, each once.

    Whoever asks for a child by its digest finds only the child's own signature.  Raises
    LimitExceeded, and ContentError or SpecError for a child that is not as listed.
    """
    found = {content.descriptor.digest: replace(content.descriptor, annotations={})}
    absent = 0
    todo = [(content, 0)] if recursive else []
    while todo:
        parent, depth = todo.pop()
        if depth >= LIMITS.index_depth:
            raise LimitExceeded(f"indexes nested deeper than {LIMITS.index_depth}")
        for listed in parent.manifests if isinstance(parent, Index) else ():
            if listed.digest in found:
                continue
            if len(found) > LIMITS.index_children:
                raise LimitExceeded(f"more than {LIMITS.index_children} manifests")
            try:
                child = resolve_child(place, listed)
            except NotFound:  # a pull takes the child of its platform alone
                absent += 1
                continue
            found[listed.digest] = replace(child.descriptor, annotations={})
            todo.append((child, depth + 1))
    return Subjects(present=tuple(found.values()), absent=absent)
