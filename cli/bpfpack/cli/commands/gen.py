"""``bpfpack gen``: what builds need."""

from pathlib import Path
from typing import Annotated

import typer

from bpfpack.builder import vmlinux as builder
from bpfpack.cli.app import epilog, new_app
from bpfpack.cli.host import Host
from bpfpack.spec.bounded import read_at_most
from bpfpack.spec.errors import UsageError
from bpfpack.spec.limits import LIMITS

app = new_app("Generate what builds need.", ("bpfpack gen vmlinux > vmlinux.h",))


@app.callback()
def _gen() -> None:
    """Generate what builds need."""


@app.command(
    epilog=epilog(
        ("bpfpack gen vmlinux > vmlinux.h", "bpfpack gen vmlinux --btf arm64.btf > vmlinux.h")
    )
)
def vmlinux(
    btf: Annotated[
        Path | None,
        typer.Option("--btf", help="Of this BTF file, not the running kernel.", metavar="FILE"),
    ] = None,
) -> None:
    """Print the kernel's types as a C header."""
    host = Host.here()
    if btf is None:
        header = builder.running_kernel(host.dirs.cache)
    else:
        try:
            with btf.open("rb") as stream:
                data = read_at_most(stream, LIMITS.btf, str(btf))
        except OSError as e:
            raise UsageError(f"cannot read {btf}: {e.strerror}") from e
        if not builder.may_hold_btf(data):
            raise UsageError(f"{btf} is neither BTF nor an ELF file")
        header = builder.from_bytes(data)
    with host.printer.writing() as out:
        out.buffer.write(header)
