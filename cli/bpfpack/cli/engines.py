"""Which engine makes bytes of events: the compiled one, or plain Python where there is none."""

import time
from pathlib import Path
from typing import TYPE_CHECKING, Final

from bpfpack.cli.host import Host
from bpfpack.cli.run_options import RunRequest
from bpfpack.registry.owned import OwnedDir
from bpfpack.runner.engine.host import Engine
from bpfpack.spec.errors import EngineError

if TYPE_CHECKING:
    from bpfpack.runner.engine.module import CodeCache

#: Seconds after which compiled code is made anew rather than kept for ever.
_KEPT: Final = 60 * 86_400


class OwnedCache:
    """Compiled code in a directory that only we, or root, can have written."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory

    def read(self, name: str, limit: int) -> bytes | None:
        """See `CodeCache`; raises StoreError, LimitExceeded."""
        found = OwnedDir.find(self._directory)
        if found is None:
            return None
        with found:
            return found.read(name, limit)

    def write(self, name: str, data: bytes) -> None:
        """See `CodeCache`; raises StoreError.  Code of long ago, of other versions, goes."""
        with OwnedDir.open(self._directory, create=True) as directory:
            directory.write(name, data)
            for other in directory.names():
                status = directory.status(other)
                if status is not None and status.st_mtime < time.time() - _KEPT:
                    directory.remove(other)


def start(host: Host, request: RunRequest) -> Engine | None:
    """The engine that ``--engine`` asks for, None for plain Python; raises EngineError.

    ``auto`` takes the compiled one, and warns when there is none.
    """
    asked = request.value("engine", "auto")
    if asked == "reference":
        return None
    cache: CodeCache = OwnedCache(host.dirs.cache / "engine")
    try:
        return Engine(cache)
    except EngineError as e:
        if asked == "wasm":
            raise
        host.printer.warn(f"{e}; events are formatted by plain Python, which is slower")
        return None
