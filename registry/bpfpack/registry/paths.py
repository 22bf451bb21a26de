"""Where bpfpack keeps its files.

| | user | root |
|---|---|---|
| config | `$XDG_CONFIG_HOME/bpfpack` | `/etc/bpfpack` |
| data | `$XDG_DATA_HOME/bpfpack` | `/var/lib/bpfpack` |
| state | `$XDG_STATE_HOME/bpfpack` | `/var/lib/bpfpack/state` |
| cache | `$XDG_CACHE_HOME/bpfpack` | `/var/cache/bpfpack` |
| run | `$XDG_RUNTIME_DIR/bpfpack` | `/run/bpfpack` |

Root never looks at HOME or XDG variables, which sudo may leave pointing at somebody else's
files; ``BPFPACK_{CONFIG,DATA,STATE,CACHE,RUN}_DIR`` override each for everyone.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Final

from bpfpack.spec.errors import UsageError
from bpfpack.spec.value import valuetype

_ROOT: Final = {
    "config": "/etc/bpfpack",
    "data": "/var/lib/bpfpack",
    "state": "/var/lib/bpfpack/state",
    "cache": "/var/cache/bpfpack",
    "run": "/run/bpfpack",
}
#: The XDG variable, and what stands for it below HOME (XDG base directory spec 0.8).
_XDG: Final = {
    "config": ("XDG_CONFIG_HOME", ".config"),
    "data": ("XDG_DATA_HOME", ".local/share"),
    "state": ("XDG_STATE_HOME", ".local/state"),
    "cache": ("XDG_CACHE_HOME", ".cache"),
}


@valuetype
class Dirs:
    """The five directories; none needs to exist yet."""

    config: Path
    data: Path
    state: Path
    cache: Path
    run: Path

    @classmethod
    def of(cls, environ: Mapping[str, str], euid: int) -> "Dirs":
        """Return the directories of a user; raises UsageError when nothing names one.

        >>> Dirs.of({"HOME": "/home/u"}, 1000).data
        PosixPath('/home/u/.local/share/bpfpack')
        >>> Dirs.of({"HOME": "/home/u", "BPFPACK_RUN_DIR": "/tmp/r"}, 0).run
        PosixPath('/tmp/r')
        """
        return cls(
            config=_one("config", environ, euid),
            data=_one("data", environ, euid),
            state=_one("state", environ, euid),
            cache=_one("cache", environ, euid),
            run=_one("run", environ, euid),
        )

    @property
    def store(self) -> Path:
        """The local store."""
        return self.data / "store"


def _one(kind: str, environ: Mapping[str, str], euid: int) -> Path:
    variable = f"BPFPACK_{kind.upper()}_DIR"
    if text := environ.get(variable):
        return _absolute(variable, text)
    if euid == 0:
        return Path(_ROOT[kind])
    if kind == "run":
        return _run(environ, euid)
    name, below_home = _XDG[kind]
    # "All paths must be absolute.  [Else] consider the path invalid and ignore it."
    if (text := environ.get(name, "")).startswith("/"):
        return Path(text) / "bpfpack"
    if not environ.get("HOME"):
        raise UsageError(f"neither HOME nor {name} says where files go").with_hint(
            f"set {variable} to a directory"
        )
    return _absolute("HOME", environ["HOME"]) / below_home / "bpfpack"


def _run(environ: Mapping[str, str], euid: int) -> Path:
    if (text := environ.get("XDG_RUNTIME_DIR", "")).startswith("/"):
        return Path(text) / "bpfpack"
    # Cleared at boot, as the specification wants; OwnedDir refuses one made by others.
    return Path(f"/tmp/bpfpack-{euid}")  # noqa: S108


def _absolute(variable: str, text: str) -> Path:
    if not text.startswith("/"):
        raise UsageError(f"{variable} is not an absolute path: {text!r}")
    return Path(text)
