"""``bpfpack completion``: what a shell needs to complete our command lines."""

from typing import Annotated, Final, Literal

import typer

from bpfpack.cli.host import Host
from bpfpack.cli.reference import completion as scripts
from bpfpack.cli.reference.pages import all_pages

EXAMPLES: Final = {
    "completion": (
        "bpfpack completion bash > /etc/bash_completion.d/bpfpack",
        "bpfpack completion zsh > ~/.zfunc/_bpfpack",
        "bpfpack completion fish > ~/.config/fish/completions/bpfpack.fish",
    )
}


def completion(
    shell: Annotated[Literal["bash", "zsh", "fish"], typer.Argument(help="Which shell.")],
) -> None:
    """Print the completion script of a shell."""
    with Host.here().printer.writing() as out:
        out.write(scripts.SCRIPTS[shell](all_pages()))
