"""The kernel's own BTF and libbpf's probes."""

import functools
import sys
from typing import Final, Self

from bpfpack.runner._native.libbpf import Handle, captured, fn
from bpfpack.spec.errors import KernelError

# include/uapi/linux/btf.h
KIND_TYPEDEF: Final = 8
KIND_FUNC: Final = 12
_ENOENT: Final = 2


class KernelBtf(Handle):
    """The types of the running kernel, without its modules."""

    @classmethod
    def load(cls) -> Self:
        """Read them; raises KernelError where the kernel has none."""
        with captured():
            return cls(fn("btf__load_vmlinux_btf")())

    def has(self, name: str, kind: int | None = None) -> bool:
        """Whether there is a type of that name, and of that kind if told."""
        try:
            if kind is None:
                fn("btf__find_by_name")(self.ptr, name.encode())
            else:
                fn("btf__find_by_name_kind")(self.ptr, name.encode(), kind)
        except KernelError as e:
            if e.errno == _ENOENT:
                return False
            raise
        return True

    def __del__(self) -> None:
        # Only memory, which nothing else points into: it may go whenever Python says.
        if not sys.is_finalizing():
            self.close()

    def _delete(self, pointer: int) -> None:
        fn("btf__free")(pointer)


def probe_program_type(program_type: int) -> bool:
    """Whether the kernel takes a trivial program of that type; raises KernelError."""
    with captured():
        return bool(fn("libbpf_probe_bpf_prog_type")(program_type, None))


@functools.cache
def possible_cpus() -> int:
    """How many CPUs a per-CPU value has slots for."""
    return int(fn("libbpf_num_possible_cpus")())
