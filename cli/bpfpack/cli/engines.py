"""Which engine makes bytes of events: the compiled one, or plain Python where there is none."""

from pathlib import Path
from typing import TYPE_CHECKING

from bpfpack.cli.host import Host
from bpfpack.cli.run_options import RunRequest
from bpfpack.registry.owned import OwnedDir
from bpfpack.runner.engine.host import Engine
from bpfpack.spec.errors import EngineError

if TYPE_CHECKING:
    from bpfpack.runner.engine.module import CodeCache


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
        """See `CodeCache`; raises StoreError."""
        with OwnedDir.open(self._directory, create=True) as directory:
            directory.write(name, data)


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
