"""libbpf through ctypes: the library, its prototypes, its errors and its messages.

Two error conventions and no third: a negative int is ``-errno``, and NULL leaves the
reason in errno (libbpf 1.0, "libbpf: streamline error reporting for low-level APIs").
Every function is bound with its argument types, its result type and an error check.
"""

import ctypes
import errno
import functools
import os
import sys
import threading
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Final, Self

from bpfpack.spec.errors import KernelError, Unsupported

_Check = Callable[[Any, Any, tuple[Any, ...]], Any]

_P: Final = ctypes.c_void_p
_S: Final = ctypes.c_char_p
_I: Final = ctypes.c_int
_U32: Final = ctypes.c_uint32
_U64: Final = ctypes.c_uint64
_SIZE: Final = ctypes.c_size_t
_BOOL: Final = ctypes.c_bool

#: libbpf's own codes begin here (libbpf.h, ``enum libbpf_errno``).
_LIBBPF_ERRNO_START: Final = 4000
#: Kernel-internal ENOTSUPP (include/linux/errno.h); it leaks to user space and no libc names it.
ENOTSUPP: Final = 524

# libbpf.h, ``enum libbpf_print_level``.
_WARN: Final = 0
_DEBUG: Final = 2
_MESSAGE_BYTES: Final = 4096
_MESSAGES: Final = 256


def describe(code: int) -> str:
    """Say what an errno means, those of libbpf and the unnamed ENOTSUPP included."""
    if code == ENOTSUPP:
        return "Operation not supported by this kernel"
    if code < _LIBBPF_ERRNO_START:
        return os.strerror(code)
    text = ctypes.create_string_buffer(128)
    lib().libbpf_strerror(code, text, len(text))
    return text.value.decode(errors="replace")


def check_int(result: int, function: Any, args: tuple[Any, ...]) -> int:
    """First convention: a negative int is ``-errno``."""
    if result < 0:
        raise KernelError(-result, describe(-result), function.__name__)
    return result


def check_pointer(result: int | None, function: Any, args: tuple[Any, ...]) -> int:
    """Second convention: NULL, with the reason in errno."""
    if not result:
        code = ctypes.get_errno()
        raise KernelError(code, describe(code), function.__name__)
    return result


def plain(result: Any, function: Any, args: tuple[Any, ...]) -> Any:
    """For functions that cannot fail, or whose NULL or zero is an answer."""
    return result


def _result(result: int, function: Any, args: tuple[Any, ...]) -> int:
    """For functions whose negative result is an answer that the caller tells apart."""
    return result


#: C prototypes of everything used: the error check, the result, the arguments.
PROTOTYPES: Final[dict[str, tuple[Any, ...]]] = {
    "bpf_iter_create": (check_int, _I, _I),
    "bpf_link__destroy": (check_int, _I, _P),
    "bpf_link__fd": (check_int, _I, _P),
    "bpf_link_create": (check_int, _I, _I, _I, _I, _P),
    "bpf_map__fd": (check_int, _I, _P),
    "bpf_map__initial_value": (check_pointer, _P, _P, ctypes.POINTER(_SIZE)),
    "bpf_map__key_size": (plain, _U32, _P),
    "bpf_map__max_entries": (plain, _U32, _P),
    "bpf_map__name": (plain, _S, _P),
    "bpf_map__set_max_entries": (check_int, _I, _P, _U32),
    "bpf_map__set_pin_path": (check_int, _I, _P, _S),
    "bpf_map__type": (plain, _I, _P),
    "bpf_map__value_size": (plain, _U32, _P),
    "bpf_map_delete_elem": (check_int, _I, _I, _P),
    "bpf_map_get_next_key": (check_int, _I, _I, _P, _P),
    "bpf_map_lookup_and_delete_batch": (
        *(check_int, _I, _I, _P, _P, _P, _P),
        *(ctypes.POINTER(_U32), _P),
    ),
    "bpf_map_lookup_and_delete_elem": (check_int, _I, _I, _P, _P),
    "bpf_map_lookup_batch": (check_int, _I, _I, _P, _P, _P, _P, ctypes.POINTER(_U32), _P),
    "bpf_map_lookup_elem": (check_int, _I, _I, _P, _P),
    "bpf_map_update_elem": (check_int, _I, _I, _P, _P, _U64),
    "bpf_obj_get_info_by_fd": (check_int, _I, _I, _P, ctypes.POINTER(_U32)),
    "bpf_object__close": (plain, None, _P),
    "bpf_object__find_map_by_name": (check_pointer, _P, _P, _S),
    "bpf_object__load": (check_int, _I, _P),
    "bpf_object__next_map": (plain, _P, _P, _P),
    "bpf_object__next_program": (plain, _P, _P, _P),
    "bpf_object__open_mem": (check_pointer, _P, _P, _SIZE, _P),
    "bpf_prog_get_next_id": (check_int, _I, _U32, ctypes.POINTER(_U32)),
    "bpf_program__attach_iter": (check_pointer, _P, _P, _P),
    "bpf_program__attach_perf_event": (check_pointer, _P, _P, _I),
    "bpf_program__attach_raw_tracepoint": (check_pointer, _P, _P, _S),
    "bpf_program__attach_trace": (check_pointer, _P, _P),
    "bpf_program__attach_tracepoint": (check_pointer, _P, _P, _S, _S),
    "bpf_program__attach_uprobe_opts": (check_pointer, _P, _P, _I, _S, _SIZE, _P),
    "bpf_program__attach_usdt": (check_pointer, _P, _P, _I, _S, _S, _S, _P),
    "bpf_program__fd": (check_int, _I, _P),
    "bpf_program__name": (plain, _S, _P),
    "bpf_program__section_name": (plain, _S, _P),
    "bpf_program__set_attach_target": (check_int, _I, _P, _I, _S),
    "bpf_program__set_autoload": (check_int, _I, _P, _BOOL),
    "bpf_program__set_expected_attach_type": (check_int, _I, _P, _I),
    "bpf_program__set_flags": (check_int, _I, _P, _U32),
    "bpf_program__set_log_buf": (check_int, _I, _P, _P, _SIZE),
    "bpf_program__set_type": (check_int, _I, _P, _I),
    "btf__find_by_name": (check_int, _I, _P, _S),
    "btf__find_by_name_kind": (check_int, _I, _P, _S, _U32),
    "btf__free": (plain, None, _P),
    "btf__load_vmlinux_btf": (check_pointer, _P),
    "libbpf_num_possible_cpus": (check_int, _I),
    "libbpf_probe_bpf_prog_type": (check_int, _I, _I, _P),
    "perf_buffer__buffer_cnt": (plain, _SIZE, _P),
    "perf_buffer__buffer_fd": (check_int, _I, _P, _SIZE),
    "perf_buffer__consume_buffer": (_result, _I, _P, _SIZE),
    "perf_buffer__epoll_fd": (check_int, _I, _P),
    "perf_buffer__free": (plain, None, _P),
    "perf_buffer__new_raw": (check_pointer, _P, _I, _SIZE, _P, _P, _P, _P),
    "ring_buffer__consume": (_result, _I, _P),
    "ring_buffer__epoll_fd": (check_int, _I, _P),
    "ring_buffer__free": (plain, None, _P),
    "ring_buffer__new": (check_pointer, _P, _I, _P, _P, _P),
}


@functools.cache
def lib() -> ctypes.CDLL:
    """Load libbpf on first use: `pull` and `inspect` run on hosts without it.

    Raises KernelError when there is none, Unsupported when it is older than 1.0.
    """
    name = os.environ.get("BPFPACK_LIBBPF") or "libbpf.so.1"
    try:
        found = ctypes.CDLL(name, use_errno=True)
    except OSError as e:
        raise KernelError(e.errno or errno.ENOENT, "cannot be loaded", name).with_hint(
            "install libbpf 1.0 or newer (Debian: libbpf1), or set BPFPACK_LIBBPF"
        ) from e
    _require_1_0(found, name)
    found.libbpf_version_string.argtypes, found.libbpf_version_string.restype = [], _S
    found.libbpf_strerror.argtypes = [_I, _P, _SIZE]
    found.libbpf_set_print.argtypes = [_PRINT]
    found.libbpf_set_print.restype = _P
    found.libbpf_set_print(_ON_MESSAGE)
    return found


def version() -> str:
    """What the library says of itself, such as ``v1.1``; raises as `lib`."""
    told: bytes = lib().libbpf_version_string()
    return told.decode(errors="replace")


def _require_1_0(found: ctypes.CDLL, name: str) -> None:
    if getattr(found, "libbpf_major_version", int)() < 1:
        raise Unsupported("libbpf", f"{name} is too old", minimum="1.0").with_hint(
            "install libbpf 1.0 or newer, or set BPFPACK_LIBBPF"
        )


@functools.cache
def fn(name: str) -> Callable[..., Any]:
    """Bind one function of `PROTOTYPES`; none is bound without its types and check."""
    check, result, *arguments = PROTOTYPES[name]
    try:
        bound = getattr(lib(), name)
    except AttributeError as e:
        raise Unsupported(name, "this libbpf does not have it").with_hint(
            "install a newer libbpf, or set BPFPACK_LIBBPF"
        ) from e
    bound.argtypes, bound.restype, bound.errcheck = arguments, result, check
    return bound  # type: ignore[no-any-return]


# A va_list is an array, a pointer or a structure passed by reference on every
# architecture of the kernel's BPF JITs, so a pointer carries it through unread.
_PRINT: Final = ctypes.CFUNCTYPE(_I, _I, _S, _P)
_captured: Final = threading.local()


@functools.cache
def _vsnprintf() -> Callable[..., int]:
    bound = ctypes.CDLL(None).vsnprintf
    bound.argtypes, bound.restype = [_P, _SIZE, _S, _P], _I
    return bound


def _on_message(level: int, form: bytes, arguments: int) -> int:
    """Keep a message for `captured`, or hand it to `logging`, which shows what is safe to."""
    if level >= _DEBUG:
        return 0
    buffer = ctypes.create_string_buffer(_MESSAGE_BYTES)
    _vsnprintf()(buffer, len(buffer), form, arguments)
    text = buffer.value.decode(errors="replace").strip()
    into: list[str] | None = getattr(_captured, "messages", None)
    if into is None:
        import logging  # 10 ms that only a message outside of `captured` pays

        from bpfpack.spec.safetext import printable

        logging.getLogger("bpfpack.libbpf").log(
            logging.WARNING if level == _WARN else logging.INFO, "%s", printable(text)
        )
    elif len(into) < _MESSAGES:
        into.append(text)
    return 0


# libbpf keeps the address only: the callback must live as long as the library.
_ON_MESSAGE: Final = _PRINT(_on_message)


@contextmanager
def captured() -> Iterator[list[str]]:
    """Collect what libbpf says on this thread while the block runs, at most 256 messages."""
    outer = getattr(_captured, "messages", None)
    messages: list[str] = []
    _captured.messages = messages
    try:
        yield messages
    finally:
        _captured.messages = outer


class Handle:
    """Owns one C pointer.  It comes in through ``__init__``: no half-built state.

    One that is dropped without `close` warns, and is not freed: by then nobody knows
    what else is gone.
    """

    _pointer: int | None = None

    def __init__(self, pointer: int) -> None:
        self._pointer = pointer

    def __del__(self) -> None:
        if self._pointer is not None and not sys.is_finalizing():
            told = f"{type(self).__name__} was not closed"
            warnings.warn(told, ResourceWarning, stacklevel=2, source=self)

    @property
    def ptr(self) -> int:
        """The pointer; raises ValueError after `close` or `consume`."""
        if self._pointer is None:
            raise ValueError(f"{type(self).__name__} is closed")
        return self._pointer

    @property
    def closed(self) -> bool:
        """Whether the pointer is gone."""
        return self._pointer is None

    def consume(self) -> int:
        """Give the pointer away: the caller frees it from now on."""
        pointer, self._pointer = self.ptr, None
        return pointer

    def close(self) -> None:
        """Free what is owned; a second call does nothing."""
        if self._pointer is not None:
            self._delete(self.consume())

    def _delete(self, pointer: int) -> None:
        raise NotImplementedError

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()
