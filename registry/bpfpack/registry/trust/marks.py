"""The high-water marks: the newest signature this host accepted for a tag of a repository.

One file for each (repository, tag), in one directory for each repository, so that a look-up
costs the same however many there are.  What cannot be read is not "no mark": it is refused,
since whoever can damage the file could otherwise bring an old release back.
"""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, Final

from bpfpack.registry.owned import OwnedDir
from bpfpack.spec import fields, strictjson
from bpfpack.spec.digest import Digest
from bpfpack.spec.errors import SpecError, StoreError, TrustError
from bpfpack.spec.judgement import Mark
from bpfpack.spec.policy import fold_host
from bpfpack.spec.signature import format_time, parse_time
from bpfpack.spec.value import replace
from bpfpack.spec.versions import highest_release

_DIRECTORY: Final = "marks"
# A repository has at most 255 characters, a tag 128.
_RECORD: Final = 4096


class MarkFiles:
    """The `Marks` of this host, below its state directory."""

    def __init__(self, state: Path) -> None:
        self._state = state

    def newest(self, repository: str, tag: str | None = None) -> Mark | None:
        """Return the mark of a tag; None when nothing was accepted.  Raises TrustError.

        Without a tag, the newest of what a name without one has stood for: ``latest`` and
        the highest release, not an older branch that is still maintained.  Where tags are no
        versions, the newest of all.
        """
        repository = fold_host(repository)
        if tag is None:
            marks = self._all(repository)
            stood = {"latest", highest_release(mark.tag for mark in marks)}
            counted = [mark for mark in marks if mark.tag in stood] or marks
            return max(counted, key=lambda mark: mark.created, default=None)
        with _refusing(repository), self._find(repository) as directory:
            return _read(directory, repository, tag) if directory else None

    def record(self, mark: Mark) -> None:
        """Raise the mark, never lower it; durable on return.  Raises TrustError."""
        mark = replace(mark, repository=fold_host(mark.repository))
        with (
            _refusing(mark.repository),
            OwnedDir.open(self._state, create=True) as state,
            state.child(_DIRECTORY) as marks,
            marks.child(_directory(mark.repository)) as directory,
            directory.locked("lock", exclusive=True),
        ):
            held = _read(directory, mark.repository, mark.tag)
            if held is None or held.created < mark.created:
                directory.write(_file(mark.tag), _dump(mark))

    def tags(self, repository: str) -> tuple[str, ...]:
        """Return the tags of a repository that have a mark, sorted; raises TrustError."""
        return tuple(sorted(mark.tag for mark in self._all(fold_host(repository))))

    def _all(self, repository: str) -> tuple[Mark, ...]:
        with _refusing(repository), self._find(repository) as directory:
            return tuple(
                _parse(data)
                for name in (directory.names() if directory else ())
                if name.endswith(".json")
                and directory
                and (data := directory.read(name, _RECORD)) is not None
            )

    @contextmanager
    def _find(self, repository: str) -> Iterator[OwnedDir | None]:
        """Open the directory of a repository; None when there is none, and none is made."""
        with ExitStack() as stack:
            found = OwnedDir.find(self._state)
            for name in (_DIRECTORY, _directory(repository)):
                if found is None:
                    break
                found = stack.enter_context(found).find_child(name)
            yield stack.enter_context(found) if found else None


@contextmanager
def _refusing(repository: str) -> Iterator[None]:
    try:
        yield
    except (StoreError, SpecError) as e:
        error = TrustError(f"cannot tell what was accepted of {repository} before: {e}")
        raise error.with_hint(e.hint or "look at the file; removing it forgets that") from e


def _read(directory: OwnedDir, repository: str, tag: str) -> Mark | None:
    data = directory.read(_file(tag), _RECORD)
    if data is None:
        return None
    mark = _parse(data)
    if (mark.repository, mark.tag) != (repository, tag):
        raise SpecError(f"{directory.path / _file(tag)} is about another name")
    return mark


def _parse(data: bytes) -> Mark:
    found: dict[str, Any] = strictjson.loads_object(data, _RECORD)
    fields.only(found, "repository", "tag", "created", "digest")
    return Mark(
        repository=fields.string(found, "repository"),
        tag=fields.string(found, "tag"),
        created=parse_time(fields.string(found, "created")),
        digest=Digest.parse(fields.string(found, "digest")),
    )


def _dump(mark: Mark) -> bytes:
    return strictjson.dumps(
        {
            "repository": mark.repository,
            "tag": mark.tag,
            "created": format_time(mark.created),
            "digest": str(mark.digest),
        }
    )


def _directory(repository: str) -> str:
    return Digest.sha256(repository.encode()).encoded


def _file(tag: str) -> str:
    return f"{Digest.sha256(tag.encode()).encoded}.json"
