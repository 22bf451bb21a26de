"""Compiled code of the engine, kept by this process for its next sessions."""

from typing import Final


class CodeInMemory:
    """A `CodeCache` of what this process compiled itself."""

    def __init__(self) -> None:
        self._files: dict[str, bytes] = {}

    def read(self, name: str, limit: int) -> bytes | None:
        """See `CodeCache`."""
        found = self._files.get(name)
        return found if found is not None and len(found) <= limit else None

    def write(self, name: str, data: bytes) -> None:
        """See `CodeCache`."""
        self._files = {name: data}


CODE: Final = CodeInMemory()
