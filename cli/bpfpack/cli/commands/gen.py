"""``bpfpack gen``: what builds and packagers need."""

from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Annotated

import typer

from bpfpack.builder import vmlinux as builder
from bpfpack.cli.app import epilog, new_app
from bpfpack.cli.host import Host
from bpfpack.cli.reference.pages import all_pages
from bpfpack.registry.owned import mapped
from bpfpack.spec.bounded import read_at_most
from bpfpack.spec.errors import UsageError
from bpfpack.spec.limits import LIMITS

Directory = Annotated[Path, typer.Argument(metavar="DIR", help="Made when missing.")]

app = new_app(
    "Generate what builds and packagers need.",
    ("bpfpack gen vmlinux > vmlinux.h", "bpfpack gen man share/man/man1"),
)


@app.callback()
def _gen() -> None:
    """Generate what builds and packagers need."""


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


@app.command(epilog=epilog(("bpfpack gen man share/man/man1",)))
def man(directory: Directory) -> None:
    """Write the manual: one page of section 1 for each command."""
    from bpfpack.cli.reference.man import man as page_of

    release = version("bpfpack")
    _fill(directory, {f"{page.slug}.1": page_of(page, release) for page in all_pages()})


@app.command(epilog=epilog(("bpfpack gen pages docs/commands",)))
def pages(directory: Directory) -> None:
    """Write the commands' pages of the documentation, in Markdown."""
    from bpfpack.cli.reference.markdown import index, markdown

    every = all_pages()
    files = {f"{page.slug}.md": markdown(page) for page in every}
    _fill(directory, {"index.md": index(every), **files})


def _fill(directory: Path, files: Mapping[str, str]) -> None:
    """Write files into a directory, made when missing; raises StoreError."""
    with mapped(str(directory)):
        directory.mkdir(parents=True, exist_ok=True)
        for name, text in files.items():
            (directory / name).write_text(text)
