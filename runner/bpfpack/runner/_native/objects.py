"""libbpf's objects, programs, maps and links as Python values; no policy here.

Programs and maps are views: they hold their object and refuse to be used once it is
closed, because libbpf would follow a dangling pointer.
"""

import ctypes
import errno
import mmap
from collections.abc import Iterator
from typing import Final, Self

from bpfpack.runner._native.libbpf import Handle, fn
from bpfpack.spec.errors import KernelError

# The most a kernel accepts (kernel/bpf/log.c, bpf_verifier_log_attr_valid: UINT_MAX >> 2,
# and UINT_MAX >> 8 before 5.18); untouched pages of it cost nothing.
_LOG_BYTES: Final = (2**32 - 1) >> 8


class _OpenOpts(ctypes.Structure):
    """libbpf.h, ``struct bpf_object_open_opts``, up to the members used here.

    A shorter ``sz`` than the library's own is libbpf's way to be compatible.
    """

    _fields_ = (
        ("sz", ctypes.c_size_t),
        ("object_name", ctypes.c_char_p),
        ("relaxed_maps", ctypes.c_bool),
        ("pin_root_path", ctypes.c_char_p),
        ("attach_prog_fd", ctypes.c_uint32),
        ("kconfig", ctypes.c_char_p),
        ("btf_custom_path", ctypes.c_char_p),
    )


class _UprobeOpts(ctypes.Structure):
    """libbpf.h, ``struct bpf_uprobe_opts``, up to the members used here."""

    _fields_ = (
        ("sz", ctypes.c_size_t),
        ("ref_ctr_offset", ctypes.c_size_t),
        ("bpf_cookie", ctypes.c_uint64),
        ("retprobe", ctypes.c_bool),
    )


class _ProgramInfo(ctypes.Structure):
    """include/uapi/linux/bpf.h, ``struct bpf_prog_info``, up to the members used here."""

    _fields_ = (("type", ctypes.c_uint32), ("id", ctypes.c_uint32))


class VerifierLog:
    """Where the verifier writes about the program that it refuses.

    libbpf loads one program after the other and stops at the first that fails, so one
    buffer serves them all; nothing is written, and no page used, while all is well.
    """

    def __init__(self) -> None:
        self._memory = mmap.mmap(-1, _LOG_BYTES)
        self._start: ctypes.c_char | None = ctypes.c_char.from_buffer(self._memory)
        self.address: Final = ctypes.addressof(self._start)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self._start = None
        self._memory.close()

    def text(self) -> str:
        """All that was written."""
        return ctypes.string_at(self.address).decode(errors="replace")


class NativeObject(Handle):
    """A ``struct bpf_object``, and the very bytes it was opened from."""

    def __init__(self, pointer: int, data: bytes) -> None:
        super().__init__(pointer)
        self.data = data

    @classmethod
    def open(cls, name: str, data: bytes) -> Self:
        """Parse ``data``; raises KernelError.

        Without ``object_name`` libbpf names the object, and with it the maps of globals,
        after the buffer's address.
        """
        opts = _OpenOpts(sz=ctypes.sizeof(_OpenOpts), object_name=name.encode())
        pointer = fn("bpf_object__open_mem")(
            ctypes.cast(ctypes.c_char_p(data), ctypes.c_void_p), len(data), ctypes.byref(opts)
        )
        return cls(pointer, data)

    def _delete(self, pointer: int) -> None:
        fn("bpf_object__close")(pointer)

    def load(self, log: "VerifierLog") -> None:
        """Hand maps and programs to the kernel; on failure ``log`` has the verifier's words."""
        for program in self.programs():
            fn("bpf_program__set_log_buf")(program.ptr, log.address, _LOG_BYTES)
        fn("bpf_object__load")(self.ptr)

    def programs(self) -> Iterator["NativeProgram"]:
        """Every program, subprograms left out."""
        pointer = fn("bpf_object__next_program")(self.ptr, None)
        while pointer:
            yield NativeProgram(self, pointer)
            pointer = fn("bpf_object__next_program")(self.ptr, pointer)

    def maps(self) -> Iterator["NativeMap"]:
        """Every map, those of globals included."""
        pointer = fn("bpf_object__next_map")(self.ptr, None)
        while pointer:
            yield NativeMap(self, pointer)
            pointer = fn("bpf_object__next_map")(self.ptr, pointer)

    def map(self, name: str) -> "NativeMap":
        """The map of that name, a section's name (``.rodata``) for those of globals."""
        return NativeMap(self, fn("bpf_object__find_map_by_name")(self.ptr, name.encode()))


class _Part:
    """Something inside a `NativeObject`, usable as long as it is open."""

    def __init__(self, owner: NativeObject, pointer: int) -> None:
        self._owner, self._pointer = owner, pointer

    @property
    def ptr(self) -> int:
        """The pointer; raises ValueError once the object is closed."""
        if self._owner.closed:
            raise ValueError("the object is closed")
        return self._pointer


def program_exists(number: int) -> bool:
    """Whether the kernel has a program of this number; raises KernelError, Unsupported.

    Needs CAP_SYS_ADMIN.
    """
    found = ctypes.c_uint32()
    try:
        fn("bpf_prog_get_next_id")(number - 1, ctypes.byref(found))
    except KernelError as e:
        if e.errno == errno.ENOENT:
            return False
        raise
    return found.value == number


class NativeProgram(_Part):
    """A ``struct bpf_program``."""

    @property
    def name(self) -> str:
        """The C function's name."""
        return _text(fn("bpf_program__name")(self.ptr))

    @property
    def section(self) -> str:
        """The ELF section it came from."""
        return _text(fn("bpf_program__section_name")(self.ptr))

    @property
    def fd(self) -> int:
        """The loaded program's descriptor, owned by the object."""
        return int(fn("bpf_program__fd")(self.ptr))

    @property
    def id(self) -> int:
        """The loaded program's number in the kernel, which no other has until the next boot."""
        info, size = _ProgramInfo(), ctypes.c_uint32(ctypes.sizeof(_ProgramInfo))
        fn("bpf_obj_get_info_by_fd")(self.fd, ctypes.byref(info), ctypes.byref(size))
        return int(info.id)

    def set_autoload(self, wanted: bool) -> None:
        """Whether `NativeObject.load` loads it."""
        fn("bpf_program__set_autoload")(self.ptr, wanted)

    def set_kind(self, program_type: int, attach_type: int, flags: int) -> None:
        """Set type, expected attach type and flags, and drop libbpf's own idea of them.

        A change of type makes libbpf forget the handler that its section table chose
        (libbpf commit d6e6286a12e7, "disassociate section handler on explicit
        bpf_program__set_type() call"), so the way through type 0 makes sure of a change.
        """
        fn("bpf_program__set_type")(self.ptr, 0)
        fn("bpf_program__set_type")(self.ptr, program_type)
        fn("bpf_program__set_expected_attach_type")(self.ptr, attach_type)
        fn("bpf_program__set_flags")(self.ptr, flags)

    def set_attach_target(self, name: str) -> None:
        """Look the kernel function or tracepoint up in the kernel's BTF; raises KernelError."""
        fn("bpf_program__set_attach_target")(self.ptr, 0, name.encode())

    def attach_tracepoint(self, category: str, name: str) -> "NativeLink":
        """Attach to one event of tracefs."""
        attach = fn("bpf_program__attach_tracepoint")
        return NativeLink(attach(self.ptr, category.encode(), name.encode()))

    def attach_raw_tracepoint(self, name: str) -> "NativeLink":
        """Attach to one of the kernel's raw tracepoints."""
        return NativeLink(fn("bpf_program__attach_raw_tracepoint")(self.ptr, name.encode()))

    def attach_uprobe(self, path: str, offset: int, pid: int, *, returning: bool) -> "NativeLink":
        """Attach to the code at ``offset`` of a file, in one process or (-1) in all."""
        opts = _UprobeOpts(sz=ctypes.sizeof(_UprobeOpts), retprobe=returning)
        attach = fn("bpf_program__attach_uprobe_opts")
        return NativeLink(attach(self.ptr, pid, path.encode(), offset, ctypes.byref(opts)))

    def attach_usdt(self, path: str, pid: int, provider: str, name: str) -> "NativeLink":
        """Attach to all places of a static tracepoint, in one process or in all (-1)."""
        attach = fn("bpf_program__attach_usdt")
        names = provider.encode(), name.encode()
        return NativeLink(attach(self.ptr, pid, path.encode(), *names, None))

    def attach_perf_event(self, event: int) -> "NativeLink":
        """Attach to an open perf event, which the link owns from then on."""
        return NativeLink(fn("bpf_program__attach_perf_event")(self.ptr, event))

    def attach_iter(self) -> "NativeLink":
        """Make a link of the iterator that the program was loaded for."""
        return NativeLink(fn("bpf_program__attach_iter")(self.ptr, None))

    def attach_trace(self) -> "NativeLink":
        """Attach to the BTF target that the program was loaded with."""
        return NativeLink(fn("bpf_program__attach_trace")(self.ptr))


class NativeMap(_Part):
    """A ``struct bpf_map``."""

    @property
    def name(self) -> str:
        """As libbpf spells it."""
        return _text(fn("bpf_map__name")(self.ptr))

    @property
    def fd(self) -> int:
        """The created map's descriptor, owned by the object."""
        return int(fn("bpf_map__fd")(self.ptr))

    @property
    def shape(self) -> tuple[int, int, int, int]:
        """Type, key size, value size (bytes), maximum of entries."""
        pointer = self.ptr
        return (
            fn("bpf_map__type")(pointer),
            fn("bpf_map__key_size")(pointer),
            fn("bpf_map__value_size")(pointer),
            fn("bpf_map__max_entries")(pointer),
        )

    def set_max_entries(self, count: int) -> None:
        """Resize, before the object is loaded."""
        fn("bpf_map__set_max_entries")(self.ptr, count)

    def unpin(self) -> None:
        """Forget the path at which the object asks to be pinned."""
        fn("bpf_map__set_pin_path")(self.ptr, None)

    def write_initial(self, offset: int, data: bytes) -> None:
        """Write into the initial value of a map of globals; raises KernelError.

        After load the same memory of ``.data`` and ``.bss`` is the live map, and that of
        ``.rodata`` cannot be written: call it before.
        """
        size = ctypes.c_size_t()
        address = fn("bpf_map__initial_value")(self.ptr, ctypes.byref(size))
        if offset < 0 or offset + len(data) > size.value:
            raise KernelError(
                22, f"{offset}+{len(data)} is outside of {size.value} bytes", self.name
            )
        ctypes.memmove(address + offset, data, len(data))


class NativeLink(Handle):
    """A ``struct bpf_link``; what it attached lives until `close`."""

    @property
    def fd(self) -> int:
        """Its descriptor."""
        return int(fn("bpf_link__fd")(self.ptr))

    def _delete(self, pointer: int) -> None:
        fn("bpf_link__destroy")(pointer)


def _text(raw: bytes | None) -> str:
    return (raw or b"").decode(errors="replace")
