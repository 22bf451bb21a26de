"""Elements of maps, by descriptor; keys and values are bytes."""

import ctypes
import errno
from typing import Final

from bpfpack.runner._native.libbpf import ENOTSUPP, fn
from bpfpack.spec.errors import KernelError

#: Kernels without batches say EINVAL, map types without them ENOTSUPP; a walk that met
#: too many deletions says EINTR (kernel/bpf/syscall.c, generic_map_lookup_batch).
_NO_BATCH: Final = frozenset({errno.EINVAL, errno.EINTR, errno.EOPNOTSUPP, ENOTSUPP})


class BatchUnsupported(Exception):
    """The kernel cannot read this map in batches."""


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


class BatchReader:
    """Reads a map a chunk of elements at a time; every call of `read` is one system call."""

    def __init__(self, fd: int, key_size: int, value_size: int, chunk: int) -> None:
        self._fd, self._key_size, self._value_size = fd, key_size, value_size
        self._first = True
        self.done = False
        # Hash tables keep 32 bits here, other types a whole key.
        self._cursor = ctypes.create_string_buffer(max(key_size, 8))
        self._allocate(chunk)

    def _allocate(self, chunk: int) -> None:
        self._chunk = chunk
        self._keys = ctypes.create_string_buffer(chunk * self._key_size)
        self._values = ctypes.create_string_buffer(chunk * self._value_size)

    def read(self) -> list[tuple[bytes, bytes]]:
        """The next elements; sets ``done`` with the last.

        Raises BatchUnsupported, and KernelError.  A bucket of a hash table comes whole or
        not at all: one that is larger than the chunk makes it grow.
        """
        count = ctypes.c_uint32(self._chunk)
        cursor = None if self._first else self._cursor
        try:
            fn("bpf_map_lookup_batch")(
                *(self._fd, cursor, self._cursor, self._keys, self._values),
                *(ctypes.byref(count), None),
            )
        except KernelError as e:
            if e.errno == errno.ENOSPC:
                self._allocate(self._chunk * 2)
                return self.read()
            if e.errno in _NO_BATCH:
                raise BatchUnsupported from e
            if e.errno != errno.ENOENT:
                raise
            self.done = True
        self._first = False
        return self._elements(count.value)

    def _elements(self, count: int) -> list[tuple[bytes, bytes]]:
        keys, values = memoryview(self._keys), memoryview(self._values)
        k, v = self._key_size, self._value_size
        return [
            (bytes(keys[i * k : i * k + k]), bytes(values[i * v : i * v + v])) for i in range(count)
        ]
