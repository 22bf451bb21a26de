"""Elements of maps, by descriptor; keys and values are bytes."""

import ctypes
import errno

from bpfpack.runner._native.libbpf import ENOTSUPP, fn
from bpfpack.spec.errors import KernelError


def lookup(fd: int, key: bytes, size: int) -> bytes | None:
    """The value, ``size`` bytes of it, or None; raises KernelError."""
    value = ctypes.create_string_buffer(size)
    try:
        fn("bpf_map_lookup_elem")(fd, key, value)
    except KernelError as e:
        if e.errno == errno.ENOENT:
            return None
        raise
    return value.raw


def take(fd: int, key: bytes, size: int) -> bytes | None:
    """Remove an element and return its value, or None; raises KernelError.

    Kernels before 5.14 do both at once for queues only: there, what is counted between
    the look and the removal is lost.
    """
    value = ctypes.create_string_buffer(size)
    try:
        fn("bpf_map_lookup_and_delete_elem")(fd, key, value)
    except KernelError as e:
        if e.errno == errno.ENOENT:
            return None
        if e.errno not in (errno.EINVAL, errno.EOPNOTSUPP, ENOTSUPP):
            raise
        found = lookup(fd, key, size)
        return found if found is not None and delete(fd, key) else None
    return value.raw


def update(fd: int, key: bytes, value: bytes) -> None:
    """Create or replace an element; raises KernelError."""
    fn("bpf_map_update_elem")(fd, key, value, 0)


def delete(fd: int, key: bytes) -> bool:
    """Remove an element and say whether it was there; raises KernelError."""
    try:
        fn("bpf_map_delete_elem")(fd, key)
    except KernelError as e:
        if e.errno == errno.ENOENT:
            return False
        raise
    return True


def next_key(fd: int, key: bytes | None, size: int) -> bytes | None:
    """The key after ``key`` (the first one for None), or None at the end.

    A key that is gone leads to the first one again.
    """
    found = ctypes.create_string_buffer(size)
    try:
        fn("bpf_map_get_next_key")(fd, key, found)
    except KernelError as e:
        if e.errno == errno.ENOENT:
            return None
        raise
    return found.raw


class BatchBuffers:
    """Room for the elements of one call, and where the next call goes on.

    Views of ``keys`` and ``values`` are overwritten by the next call.
    """

    def __init__(self, key_size: int, value_size: int, chunk: int) -> None:
        self._sizes = key_size, value_size
        # Hash tables keep 32 bits here, other types a whole key.
        self._cursor = ctypes.create_string_buffer(max(key_size, 8))
        self._started = False
        self.grow(chunk)

    def grow(self, chunk: int) -> None:
        """Make room for so many elements; what was read is gone."""
        self.chunk = chunk
        key_size, value_size = self._sizes
        self._keys = ctypes.create_string_buffer(chunk * key_size)
        self._values = ctypes.create_string_buffer(chunk * value_size)
        self.keys, self.values = memoryview(self._keys), memoryview(self._values)

    def rewind(self) -> None:
        """Let the next call begin with the first element."""
        self._started = False

    def call(self, fd: int, *, delete: bool) -> tuple[int, int]:
        """Read the next elements, and remove them if told; return how many, and an errno or 0.

        ENOENT says that they are the last.
        """
        count = ctypes.c_uint32(self.chunk)
        name = "bpf_map_lookup_and_delete_batch" if delete else "bpf_map_lookup_batch"
        start = self._cursor if self._started else None
        try:
            fn(name)(
                *(fd, start, self._cursor, self._keys, self._values),
                *(ctypes.byref(count), None),
            )
        except KernelError as e:
            # Of another error nothing is known that came before it.
            return (count.value if e.errno == errno.ENOENT else 0), e.errno or errno.EINVAL
        self._started = True
        return count.value, 0
