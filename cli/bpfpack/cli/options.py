"""Options that several commands share, each with one spelling and one help text."""

from pathlib import Path
from typing import Annotated, Literal

import typer

ListingFormat = Annotated[
    Literal["table", "wide", "json", "yaml"],
    typer.Option("-o", "--output", help="How to print the result."),
]
DocumentFormat = Annotated[
    Literal["text", "json", "yaml"],
    typer.Option("-o", "--output", help="How to print the result."),
]
Quiet = Annotated[bool, typer.Option("-q", "--quiet", help="Print only results and errors.")]
PlainHttp = Annotated[
    bool, typer.Option("--plain-http", help="Speak HTTP to a registry beyond loopback.")
]
CaFile = Annotated[
    Path | None, typer.Option("--ca-file", help="Trust this CA for registries.", metavar="FILE")
]
PasswordFile = Annotated[
    Path | None,
    typer.Option("--password-file", help="Read the key's password from a file.", metavar="FILE"),
]
PasswordFd = Annotated[
    int | None,
    typer.Option("--password-fd", help="Read the key's password from a descriptor.", metavar="N"),
]
