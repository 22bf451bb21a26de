"""`bpfpack init`: a directory that builds and runs at once."""

import shlex
from importlib import resources
from importlib.resources.abc import Traversable
from pathlib import Path

from bpfpack.builder.project import package_name
from bpfpack.spec.config import check_name
from bpfpack.spec.errors import BuildError, SpecError, UsageError

_PROGRAM = "program.bpf.c"


def templates() -> tuple[str, ...]:
    """Return the names that `init` takes.

    >>> templates()
    ('histogram', 'tracepoint')
    """
    return tuple(sorted(t.name for t in _root().iterdir() if t.is_dir()))


def init(name: str, *, template: str = "tracepoint", directory: Path = Path()) -> Path:
    """Make ``directory/name`` from a template and return its path.

    Raises UsageError for a name no package can have, for an unknown template and when
    something is there already, BuildError when it cannot be written.
    """
    _check_name(name)
    if template not in templates():
        raise UsageError(f"no template {template!r}").with_hint(f"one of {', '.join(templates())}")
    made = directory / name
    try:
        made.mkdir(parents=True)
        for file in sorted(_root().joinpath(template).iterdir(), key=lambda f: f.name):
            text = file.read_text().replace("@NAME@", name)
            target = f"{name}.bpf.c" if file.name == _PROGRAM else file.name
            (made / target).write_text(text)
    except FileExistsError as e:
        raise UsageError(f"{made} exists already") from e
    except OSError as e:
        raise BuildError(f"{made}: {e.strerror}") from e
    return made


def _check_name(name: str) -> None:
    try:
        check_name(name)
    except SpecError as e:
        place, slash, last = name.rstrip("/").rpartition("/")
        near = package_name(last) if last.strip("._-") else "NAME"
        hint = f"`cd {shlex.quote(place or '/')}` first: " if slash else ""
        raise UsageError(f"{name!r} is {e.reason}").with_hint(
            f"{hint}`bpfpack init {near}` makes a new directory {near}"
        ) from e


def _root() -> Traversable:
    return resources.files("bpfpack.builder").joinpath("templates")
