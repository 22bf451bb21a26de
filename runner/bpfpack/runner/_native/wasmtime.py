"""libwasmtime's C API through ctypes: the few calls that run one module without imports.

The library is that of the ``wasmtime`` wheel.  The Python package in there is not imported: it
binds a thousand functions, which takes longer than all else that a run does before it attaches.
Entries are called unchecked (``wasmtime_func_call_unchecked``): the arguments are ours.

One error convention: a call gives an error or NULL, and may leave a trap besides; either
becomes an EngineError.
"""

import ctypes
import functools
import os
import sys
from collections.abc import Callable
from typing import Any, Final

from bpfpack.runner._native.libbpf import Handle
from bpfpack.spec.errors import EngineError

#: Bytes in a page of Wasm's memory.
PAGE: Final = 64 * 1024
#: Address space that a memory is given at once: whatever its size, it never moves.
_RESERVED: Final = 4 << 30

_P: Final = ctypes.c_void_p
_PP: Final = ctypes.POINTER(_P)
_S: Final = ctypes.c_char_p
_SIZE: Final = ctypes.c_size_t
_U64: Final = ctypes.c_uint64
_BOOL: Final = ctypes.c_bool


class _Bytes(ctypes.Structure):
    """wasm.h, ``wasm_byte_vec_t``."""

    _fields_ = (("size", _SIZE), ("data", _P))


class _Extern(ctypes.Structure):
    """wasmtime/extern.h, ``wasmtime_extern_t``: a kind, and what is opaque to us."""

    _fields_ = (("kind", ctypes.c_uint8), ("of", _U64 * 3))


class _Instance(ctypes.Structure):
    """wasmtime/instance.h, ``wasmtime_instance_t``."""

    _fields_ = (("store", _U64), ("private", _SIZE))


class _Raw(ctypes.Structure):
    """wasmtime/val.h, ``wasmtime_val_raw_t``: 16 bytes, an i32 in the first four."""

    _fields_ = (("i32", ctypes.c_uint32), ("rest", ctypes.c_uint32 * 3))


_EXTERN_FUNC: Final = 0
_EXTERN_MEMORY: Final = 3

#: C prototypes of everything used: the result, the arguments.
PROTOTYPES: Final[dict[str, tuple[Any, ...]]] = {
    "wasm_byte_vec_delete": (None, ctypes.POINTER(_Bytes)),
    "wasm_config_new": (_P,),
    "wasm_engine_delete": (None, _P),
    "wasm_engine_new_with_config": (_P, _P),
    "wasm_trap_delete": (None, _P),
    "wasm_trap_message": (None, _P, ctypes.POINTER(_Bytes)),
    "wasmtime_config_memory_may_move_set": (None, _P, _BOOL),
    "wasmtime_config_memory_reservation_set": (None, _P, _U64),
    "wasmtime_config_parallel_compilation_set": (None, _P, _BOOL),
    "wasmtime_error_delete": (None, _P),
    "wasmtime_error_message": (None, _P, ctypes.POINTER(_Bytes)),
    "wasmtime_func_call_unchecked": (_P, _P, _P, ctypes.POINTER(_Raw), _SIZE, _PP),
    "wasmtime_instance_export_get": (
        *(_BOOL, _P, ctypes.POINTER(_Instance)),
        *(_S, _SIZE, ctypes.POINTER(_Extern)),
    ),
    "wasmtime_instance_new": (_P, _P, _P, _P, _SIZE, ctypes.POINTER(_Instance), _PP),
    "wasmtime_memory_data": (_P, _P, _P),
    "wasmtime_memory_data_size": (_SIZE, _P, _P),
    "wasmtime_memory_grow": (_P, _P, _P, _U64, ctypes.POINTER(_U64)),
    "wasmtime_module_delete": (None, _P),
    "wasmtime_module_deserialize": (_P, _P, _S, _SIZE, _PP),
    "wasmtime_module_new": (_P, _P, _S, _SIZE, _PP),
    "wasmtime_module_serialize": (_P, _P, ctypes.POINTER(_Bytes)),
    "wasmtime_store_context": (_P, _P),
    "wasmtime_store_delete": (None, _P),
    "wasmtime_store_new": (_P, _P, _P, _P),
}


@functools.cache
def library() -> str:
    """Where the wheel keeps the library; raises EngineError where there is no such wheel."""
    machine = os.uname().machine
    for place in sys.path:
        path = f"{place}/wasmtime/linux-{machine}/_libwasmtime.so"
        if os.path.exists(path):  # noqa: PTH110  # at each start: a Path takes longer
            return path
    raise EngineError(f"the Python package wasmtime is not there for {machine}").with_hint(
        "pip install 'wasmtime>=50,<51'"
    )


@functools.cache
def version() -> str:
    """The version of the wheel, "" where it says none."""
    beside = library().rsplit("/", 3)[0]
    for name in os.listdir(beside):  # noqa: PTH208
        if name.startswith("wasmtime-") and name.endswith(".dist-info"):
            return name[len("wasmtime-") : -len(".dist-info")]
    return ""


@functools.cache
def _lib() -> ctypes.CDLL:
    try:
        return ctypes.CDLL(library())
    except OSError as e:
        raise EngineError(f"wasmtime cannot be loaded: {e}") from e


@functools.cache
def fn(name: str) -> Callable[..., Any]:
    """Bind one function of `PROTOTYPES`; none is bound without its types."""
    result, *arguments = PROTOTYPES[name]
    try:
        bound = getattr(_lib(), name)
    except AttributeError as e:
        raise EngineError(f"this wasmtime has no {name}") from e
    bound.argtypes, bound.restype = arguments, result
    return bound  # type: ignore[no-any-return]


def _take(text: _Bytes) -> bytes:
    """The contents of a vector, which is freed."""
    taken = ctypes.string_at(text.data, text.size) if text.size else b""
    fn("wasm_byte_vec_delete")(ctypes.byref(text))
    return taken


def _message(of: str, pointer: int) -> str:
    """What an error or a trap says; it is freed."""
    text = _Bytes()
    fn(f"{of}_message")(pointer, ctypes.byref(text))
    fn(f"{of}_delete")(pointer)
    return told(_take(text).rstrip(b"\0").decode(errors="replace"))


def told(text: str) -> str:
    """One line of a message: its causes without their numbers, or else how it begins.

    >>> told("it failed\\n\\nCaused by:\\n    0: no memory\\n    1: os error 12")
    'no memory: os error 12'
    """
    first, _, causes = text.partition("Caused by:")
    lines = (line.strip().lstrip("0123456789").removeprefix(": ") for line in causes.splitlines())
    return ": ".join(filter(None, lines)) or first.partition("\n")[0]


def _check(error: int | None, what: str, trap: ctypes.c_void_p | None = None) -> None:
    """Raise EngineError for an error, or a trap."""
    if error:
        raise EngineError(f"{what}: {_message('wasmtime_error', error)}")
    if trap is not None and trap.value:
        raise EngineError(f"{what}: {_message('wasm_trap', trap.value)}")


class WasmEngine(Handle):
    """A compiler and what it compiles for: memories that stay where they are, no threads."""

    def __init__(self) -> None:
        config = fn("wasm_config_new")()
        # Threads would be started with the privileges that the run gives up later.
        fn("wasmtime_config_parallel_compilation_set")(config, False)
        fn("wasmtime_config_memory_may_move_set")(config, False)
        fn("wasmtime_config_memory_reservation_set")(config, _RESERVED)
        engine = fn("wasm_engine_new_with_config")(config)
        if not engine:
            raise EngineError("wasmtime refuses its configuration")
        super().__init__(engine)

    def _delete(self, pointer: int) -> None:
        fn("wasm_engine_delete")(pointer)


class WasmModule(Handle):
    """Machine code for one module."""

    @classmethod
    def compile(cls, engine: WasmEngine, wasm: bytes) -> "WasmModule":
        """Compile; raises EngineError, as where no memory may become executable."""
        return cls(_made("wasmtime_module_new", engine, wasm))

    @classmethod
    def load(cls, engine: WasmEngine, code: bytes) -> "WasmModule":
        """Take what `serialize` gave: code that runs as it is, so it must be our own.

        Raises EngineError for what another version or for another processor was made.
        """
        return cls(_made("wasmtime_module_deserialize", engine, code))

    def serialize(self) -> bytes:
        """The machine code, for `load`; raises EngineError."""
        code = _Bytes()
        _check(fn("wasmtime_module_serialize")(self.ptr, ctypes.byref(code)), "serialize")
        return _take(code)

    def _delete(self, pointer: int) -> None:
        fn("wasmtime_module_delete")(pointer)


def _made(how: str, engine: WasmEngine, data: bytes) -> int:
    module = ctypes.c_void_p()
    _check(fn(how)(engine.ptr, data, len(data), ctypes.byref(module)), "the event engine")
    return int(module.value or 0)


class WasmInstance(Handle):
    """One instance in a store of its own: a memory, and entries that take one address.

    ``base`` is where the memory begins.  It is freed with the last reference: whoever looks into
    it holds one, and so do its entries.
    """

    def __del__(self) -> None:
        self.close()

    def __init__(self, engine: WasmEngine, module: WasmModule) -> None:
        super().__init__(fn("wasmtime_store_new")(engine.ptr, None, None))
        try:
            self._context = fn("wasmtime_store_context")(self.ptr)
            self._instance = _Instance()
            trap = ctypes.c_void_p()
            made = (self._context, module.ptr, None, 0, self._instance, ctypes.byref(trap))
            _check(fn("wasmtime_instance_new")(*made), "the event engine", trap)
            self._memory = self._export("memory", _EXTERN_MEMORY)
            self.base: Final = int(fn("wasmtime_memory_data")(self._context, self._memory))
        except BaseException:
            self.close()
            raise

    @property
    def size(self) -> int:
        """Bytes of memory."""
        self.ptr  # noqa: B018  # ValueError once closed
        return int(fn("wasmtime_memory_data_size")(self._context, self._memory))

    def grow(self, size: int) -> None:
        """Make the memory at least ``size`` bytes large; raises EngineError."""
        pages = -(-(size - self.size) // PAGE)
        if pages > 0:
            before = _U64()
            grown = fn("wasmtime_memory_grow")(self._context, self._memory, pages, before)
            _check(grown, "memory of the event engine")

    def entry(self, name: str) -> Callable[[int], None]:
        """An exported function of one i32 and no result; calling it raises EngineError."""
        call, context = fn("wasmtime_func_call_unchecked"), self._context
        function, trap, argument = self._export(name, _EXTERN_FUNC), ctypes.c_void_p(), _Raw()
        told = ctypes.byref(trap)

        def enter(address: int, held: WasmInstance = self) -> None:
            argument.i32 = address
            error = call(context, function, argument, 1, told)
            if error or trap.value:
                failed = ctypes.c_void_p(trap.value)
                trap.value = None
                _check(error, name, failed)

        return enter

    def _export(self, name: str, kind: int) -> ctypes.c_void_p:
        found, word = _Extern(), name.encode()
        known = fn("wasmtime_instance_export_get")(
            self._context, self._instance, word, len(word), found
        )
        if not known or found.kind != kind:
            raise EngineError(f"the event engine exports no {name}")
        # Kept beside its address: ctypes knows nothing of what a bare pointer points to.
        self._kept = [*getattr(self, "_kept", []), found]
        return ctypes.c_void_p(ctypes.addressof(found) + _Extern.of.offset)

    def _delete(self, pointer: int) -> None:
        fn("wasmtime_store_delete")(pointer)
