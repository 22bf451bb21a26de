"""A directory to start from: init."""

import os
import shlex
import shutil
import sys
from pathlib import Path
from typing import Annotated, Final, Literal

import typer

from bpfpack.builder.init import init as init_directory
from bpfpack.cli.host import Host

EXAMPLES: Final = {
    "init": ("bpfpack init mytool", "bpfpack init latency --template histogram"),
}

#: Debian's and Ubuntu's /etc/sudoers, which only root can read.
_SECURE_PATH: Final = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin:/snap/bin"


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
    host.printer.info(f"  {as_root()} run ./{made}", "hint")


def as_root() -> str:
    """Return how to call bpfpack as root: sudo looks in places of its own (``secure_path``)."""
    here = "bpfpack" if shutil.which("bpfpack") else shlex.quote(str(Path(sys.argv[0]).absolute()))
    if os.geteuid() == 0:
        return here
    if shutil.which("bpfpack", path=_SECURE_PATH):
        return "sudo bpfpack"
    return 'sudo "$(command -v bpfpack)"' if here == "bpfpack" else f"sudo {here}"
