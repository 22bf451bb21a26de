"""A directory to start from: init."""

from pathlib import Path
from typing import Annotated, Final, Literal

import typer

from bpfpack.builder.init import init as init_directory
from bpfpack.cli.host import Host

EXAMPLES: Final = {
    "init": ("bpfpack init mytool", "bpfpack init latency --template histogram"),
}


def init(
    name: Annotated[str, typer.Argument(help="The package's name, and the directory's.")],
    template: Annotated[
        Literal["tracepoint", "histogram"],
        typer.Option("--template", help="What to start from."),
    ] = "tracepoint",
) -> None:
    """Make a directory with a program that builds and runs."""
    host = Host.here()
    made = init_directory(name, template=template, directory=Path())
    for file in sorted(made.iterdir()):
        host.printer.result(str(file))
    host.printer.info("try it:", "hint")
    host.printer.info(f"  sudo bpfpack run ./{made}", "hint")
