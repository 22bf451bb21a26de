"""Every command as a value, read from the very declarations that parse command lines."""

import inspect
from collections.abc import Iterator
from importlib import import_module
from typing import Any, Final, Literal

from bpfpack.cli import run_options
from bpfpack.cli.app import COMMANDS, EPILOG, SUMMARY, make_command
from bpfpack.spec.value import valuetype

#: What a word of the command line stands for, so that a shell can complete it.
Kind = Literal["file", "directory", "reference", "word"]

_KINDS: Final[dict[str, Kind]] = {
    "FILE": "file",
    "PUB": "file",
    "DIR": "directory",
    "REF": "reference",
    "REF...": "reference",
    "SRC": "reference",
    "path": "file",
    "file": "file",
    "directory": "directory",
    "names": "reference",
    "source": "reference",
    "target": "reference",
}


@valuetype
class Operand:
    """An argument that is known by its place."""

    name: str
    help: str
    required: bool = True
    repeated: bool = False

    @property
    def kind(self) -> Kind:
        """What it stands for."""
        return _KINDS.get(self.name, "word")

    def __str__(self) -> str:
        shown = self.name.removesuffix("...").upper() + ("..." if self.repeated else "")
        return shown if self.required else f"[{shown}]"


@valuetype
class Switch:
    """An option; ``metavar`` None makes it a flag."""

    spellings: tuple[str, ...]
    help: str
    metavar: str | None = None
    choices: tuple[str, ...] = ()

    @property
    def kind(self) -> Kind:
        """What its value stands for."""
        return _KINDS.get(self.metavar or "", "word")

    def __str__(self) -> str:
        shown = "|".join(self.choices) if self.choices else self.metavar
        return ", ".join(self.spellings) + (f" {shown}" if self.metavar else "")


@valuetype
class Page:
    """One command; ``words`` are what is typed, ``children`` its commands and their lines.

    ``passes_on``: what comes after the first operand is none of ours.
    """

    words: tuple[str, ...]
    summary: str
    details: tuple[str, ...] = ()
    operands: tuple[Operand, ...] = ()
    switches: tuple[Switch, ...] = ()
    examples: tuple[str, ...] = ()
    children: tuple[tuple[str, str], ...] = ()
    passes_on: bool = False

    @property
    def name(self) -> str:
        """As it is typed."""
        return " ".join(("bpfpack", *self.words))

    @property
    def slug(self) -> str:
        """As files of it are called."""
        return "-".join(("bpfpack", *self.words))

    @property
    def usage(self) -> str:
        """Its synopsis."""
        parts = [self.name, "[OPTIONS]", *map(str, self.operands)]
        if self.children:
            parts += ["COMMAND", "..."]
        if self.passes_on:
            parts.append("[PACKAGE OPTIONS]")
        return " ".join(parts)


_HELP: Final = Switch(spellings=("-h", "--help"), help="Show this help and exit.")


def all_pages() -> tuple[Page, ...]:
    """Every command, those of commands after them, in the order of the help."""
    return (_root(), *_each())


def _root() -> Page:
    return Page(
        words=(),
        summary=SUMMARY,
        switches=(Switch(spellings=("--version",), help="Show the version and exit."), _HELP),
        examples=_stripped(EPILOG),
        children=tuple((name, entry.line) for name, entry in COMMANDS.items()),
    )


def _each() -> Iterator[Page]:
    for name, entry in COMMANDS.items():
        if name == "run":
            yield _run()
            continue
        module = import_module(f"bpfpack.cli.commands.{entry.module}")
        command = make_command(module, entry.alias_of or name)
        inner: dict[str, Any] = getattr(command, "commands", {})
        pages = [_page((name, word), child) for word, child in inner.items()]
        yield _page((name,), command, tuple((page.words[-1], page.summary) for page in pages))
        yield from pages


def _page(words: tuple[str, ...], command: Any, children: tuple[tuple[str, str], ...] = ()) -> Page:
    first, *rest = _paragraphs(command.help or "")
    operands = tuple(_operand(p) for p in command.params if p.param_type_name == "argument")
    switches = tuple(_switch(p) for p in command.params if p.param_type_name == "option")
    return Page(
        words=words,
        summary=first,
        details=tuple(rest),
        operands=operands,
        switches=(*switches, _HELP),
        examples=_stripped((command.epilog or "").splitlines()),
        children=children,
    )


def _operand(param: Any) -> Operand:
    return Operand(
        name=param.metavar or param.name,
        help=param.help or "",
        required=param.required,
        repeated=param.nargs == -1,
    )


def _switch(param: Any) -> Switch:
    choices = tuple(getattr(param.type, "choices", ()))
    metavar = None
    if not param.is_flag:
        metavar = param.metavar or ("CHOICE" if choices else param.name.strip("_").upper())
    return Switch(
        spellings=(*param.opts, *param.secondary_opts),
        help=param.help or "",
        metavar=metavar,
        choices=choices,
    )


def _run() -> Page:
    """``run`` has its options in a table of its own."""
    switches = tuple(
        Switch(
            spellings=(option.short, option.long) if option.short else (option.long,),
            help=f"{option.help[0].upper()}{option.help[1:]}.",
            metavar=option.metavar,
            choices=() if option.named else option.choices,
        )
        for option in run_options.OPTIONS
    )
    return Page(
        words=("run",),
        summary=COMMANDS["run"].line,
        details=run_options.DETAILS,
        operands=(Operand(name="REF", help="A reference, a path, a URL, or - for stdin."),),
        switches=switches,
        examples=run_options.EXAMPLES,
        passes_on=True,
    )


def _paragraphs(text: str) -> list[str]:
    blocks = inspect.cleandoc(text).split("\n\n")
    return [" ".join(block.split()) for block in blocks]


def _stripped(lines: Any) -> tuple[str, ...]:
    """The commands of an ``Examples:`` block."""
    return tuple(line.strip() for line in lines if line.strip().startswith("bpfpack"))
