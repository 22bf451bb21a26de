"""The engine's code: one Wasm file, compiled for this machine once and kept."""

import hashlib
import os
from contextlib import suppress
from pathlib import Path
from typing import Final, Protocol

from bpfpack.runner._native import wasmtime
from bpfpack.runner._native.wasmtime import WasmEngine, WasmModule
from bpfpack.spec.errors import BpfpackError, EngineError

#: What the build compiled.
FILE: Final = Path(__file__).with_name("engine.wasm")
#: Bytes of compiled code that are read at most.
CODE_LIMIT: Final = 16 << 20


class CodeCache(Protocol):
    """Files that nobody but us, or root, can have written: what is in them is executed."""

    def read(self, name: str, limit: int) -> bytes | None:
        """A file's content, None where there is none; raises BpfpackError."""
        ...

    def write(self, name: str, data: bytes) -> None:
        """Put a whole file there; raises BpfpackError."""
        ...


def load(engine: WasmEngine, cache: CodeCache | None) -> WasmModule:
    """The engine's module, from the cache where it is in there; raises EngineError.

    A cache that cannot be used, or should not be, costs time and nothing else.
    """
    wasm = _wasm()
    if cache is None:
        return WasmModule.compile(engine, wasm)
    name = _name(wasm)
    with suppress(BpfpackError):
        code = cache.read(name, CODE_LIMIT)
        if code is not None:
            return WasmModule.load(engine, code)
    module = WasmModule.compile(engine, wasm)
    with suppress(BpfpackError):
        cache.write(name, module.serialize())
    return module


def _wasm() -> bytes:
    try:
        return FILE.read_bytes()
    except OSError as e:
        raise EngineError(f"the event engine was not compiled: {e.strerror}").with_hint(
            "scripts/build-engine compiles it; it takes clang and lld"
        ) from e


def _name(wasm: bytes) -> str:
    """Another engine, another wasmtime or another machine has another name."""
    digest = hashlib.sha256(wasm).hexdigest()
    return f"{digest}-{wasmtime.version()}-{os.uname().machine}"
