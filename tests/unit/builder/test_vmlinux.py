"""vmlinux.h from the running kernel, from a file, and from its cache."""

import os
from pathlib import Path

import pytest

from bpfpack.builder import vmlinux
from bpfpack.builder.build import BuildOptions, build
from bpfpack.spec.errors import BuildError, LimitExceeded
from tests.kit.objects import compiled
from tests.kit.sources import LICENSE, PROGRAM, write_project

USES = '#include "vmlinux.h"\n#include <bpf/bpf_helpers.h>\n'


@pytest.fixture(scope="module")
def kernel() -> bytes:
    """The running kernel's header."""
    return vmlinux.running_kernel()


def test_the_running_kernels_types(kernel: bytes) -> None:
    assert b"struct task_struct {" in kernel
    assert kernel.startswith(b"#ifndef __VMLINUX_H__")


def test_the_header_is_kept_by_build_id(kernel: bytes, tmp_path: Path) -> None:
    cache = tmp_path / "made" / "cache"
    assert vmlinux.running_kernel(cache) == kernel
    (kept,) = cache.iterdir()
    build_id = kept.name.removeprefix("vmlinux-").removesuffix(".h")
    assert bytes.fromhex(build_id) in Path("/sys/kernel/notes").read_bytes()
    kept.write_bytes(b"/* kept */\n")
    assert vmlinux.running_kernel(cache) == b"/* kept */\n"


def test_a_cache_that_others_could_write_is_not_believed(kernel: bytes, tmp_path: Path) -> None:
    vmlinux.running_kernel(tmp_path)
    (kept,) = tmp_path.iterdir()
    kept.write_bytes(b"/* evil */\n")
    kept.chmod(0o666)
    assert vmlinux.running_kernel(tmp_path) == kernel
    kept.write_bytes(b"/* evil */\n")
    kept.chmod(0o644)
    tmp_path.chmod(0o777)
    assert vmlinux.running_kernel(tmp_path) == kernel
    tmp_path.chmod(0o700)
    kept.unlink()
    other = tmp_path / "other"
    other.write_bytes(b"/* evil */\n")
    kept.symlink_to(other)
    assert vmlinux.running_kernel(tmp_path) == kernel
    if os.geteuid() == 0:
        kept.unlink()
        kept.write_bytes(b"/* evil */\n")
        os.chown(kept, 65534, 65534)
        assert vmlinux.running_kernel(tmp_path) == kernel


def test_a_cache_that_cannot_be_written_is_none(kernel: bytes, tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    assert vmlinux.running_kernel(tmp_path / "file" / "cache") == kernel


def test_a_header_is_taken_as_it_is() -> None:
    assert vmlinux.from_bytes(b"struct a { int b; };\n") == b"struct a { int b; };\n"
    with pytest.raises(LimitExceeded):
        vmlinux.from_bytes(bytes(32 * 2**20 + 1))


def test_btf_becomes_a_header(kernel: bytes) -> None:
    assert vmlinux.from_bytes(vmlinux.KERNEL_BTF.read_bytes()) == kernel
    assert b"enum mode {" in vmlinux.from_bytes(compiled("options").read_bytes())


@pytest.mark.parametrize("data", [b"\x9f\xeb" + bytes(50), b"\x7fELF" + bytes(80)])
def test_btf_that_is_none(data: bytes) -> None:
    with pytest.raises(BuildError, match="cannot read these types"):
        vmlinux.from_bytes(data)


def test_a_given_header_wins_and_a_projects_own_is_kept(tmp_path: Path) -> None:
    header = (
        "typedef unsigned long long __u64; typedef unsigned int __u32; typedef int __s32;\n"
        "typedef unsigned short __u16; typedef short __s16; typedef unsigned char __u8;\n"
        "typedef long long __s64; typedef __u16 __be16; typedef __u32 __be32;\n"
        "typedef __u32 __wsum; enum bpf_map_type { BPF_MAP_TYPE_RINGBUF = 27 };\n"
        "#define {}\n"
    )
    wants = f"{USES}#ifndef GIVEN\n#error not given\n#endif\n{PROGRAM}{LICENSE}"
    given = write_project(tmp_path / "given", {"x.bpf.c": wants})
    build(given, BuildOptions(vmlinux=header.replace("{}", "GIVEN").encode()))
    own = {"x.bpf.c": wants, "vmlinux.h": header.replace("{}", "GIVEN")}
    build(write_project(tmp_path / "own", own))


def test_another_architecture_with_its_own_types(kernel: bytes, tmp_path: Path) -> None:
    body = f"{USES}#ifndef __TARGET_ARCH_arm64\n#error target\n#endif\n{PROGRAM}{LICENSE}"
    project = write_project(tmp_path, {"x.bpf.c": body})
    config = build(project, BuildOptions(vmlinux=kernel, arch="arm64")).config
    assert config.requirements.architectures == ()


def test_an_object_that_reads_registers_belongs_to_its_architecture(
    kernel: bytes, tmp_path: Path
) -> None:
    body = f'{USES}SEC("raw_tp/x") int probe(struct pt_regs *regs) {{ return 0; }}\n{LICENSE}'
    project = write_project(tmp_path, {"x.bpf.c": body})
    config = build(project, BuildOptions(vmlinux=kernel, arch="x86_64")).config
    assert config.requirements.architectures == ("x86_64",)
    (project / "bpfpack.toml").write_text('[build]\nplatforms = ["linux/amd64", "linux/arm64"]\n')
    config = build(project, BuildOptions(vmlinux=kernel, arch="x86_64")).config
    assert config.requirements.architectures == ("x86_64", "aarch64")
