"""What `run` and `pull` take when a reference names neither tag nor digest."""

from bpfpack.spec.content import Source
from bpfpack.spec.errors import NotFound
from bpfpack.spec.versions import highest_release

LATEST = "latest"


def default_tag(source: Source) -> str:
    """Return ``latest`` where it exists, else the highest released version.

    Raises NotFound when there is neither, and what `Source.resolve` and `Source.tags` raise.
    """
    try:
        source.resolve(LATEST)
    except NotFound:
        tags = source.tags()
    else:
        return LATEST
    if (found := highest_release(tags)) is None:
        some = ", ".join(tags[-5:])
        raise NotFound(f"neither {LATEST} nor a released version").with_hint(
            f"name a tag, such as {some}" if some else "name a tag"
        )
    return found
