"""Every command but ``run``'s hot way: a table, and a typer group that reads it.

A command's module is imported when that command is called, so that its imports are paid
by nobody else and ``--help`` stays quick.  A test holds the lines of the table equal to
the docstrings.
"""

import errno
from collections.abc import Callable
from difflib import get_close_matches
from importlib import import_module
from importlib.metadata import version
from typing import Any, Final

import typer
import typer.core
import typer.main

from bpfpack.cli import run_options
from bpfpack.cli._exit import Exit
from bpfpack.cli.printer import Printer
from bpfpack.spec.errors import BpfpackError, UsageError
from bpfpack.spec.value import valuetype


@valuetype(kw_only=False)
class Command:
    """Where a command lives, and its line in the help."""

    module: str
    line: str
    group: str
    alias_of: str | None = None


_PACKAGES, _REGISTRIES, _TRUST = "Packages", "Registries", "Trust"
_RUN, _HOST = "Running", "This host"

COMMANDS: Final[dict[str, Command]] = {
    "init": Command("init", "Make a directory with a program that builds and runs.", _PACKAGES),
    "build": Command("build", "Build a package from C or a prebuilt object.", _PACKAGES),
    "gen": Command("gen", "Generate what builds and packagers need.", _PACKAGES),
    "list": Command("store", "List the packages in the local store.", _PACKAGES),
    "images": Command("store", "The same as list.", _PACKAGES, alias_of="list"),
    "inspect": Command("inspect", "Show everything about a package.", _PACKAGES),
    "tag": Command("store", "Give a package another name.", _PACKAGES),
    "rmi": Command("store", "Remove names from the local store.", _PACKAGES),
    "prune": Command("store", "Delete content that no name reaches.", _PACKAGES),
    "save": Command("archive", "Write packages and their signatures to an OCI archive.", _PACKAGES),
    "load": Command(
        "archive", "Read packages and their signatures from an OCI archive.", _PACKAGES
    ),
    "pull": Command("transfer", "Fetch a package and its signatures from a registry.", _REGISTRIES),
    "push": Command("transfer", "Send a package and its signatures to a registry.", _REGISTRIES),
    "copy": Command("copy", "Copy a package and its signatures between registries.", _REGISTRIES),
    "login": Command("login", "Log in to a registry.", _REGISTRIES),
    "logout": Command("login", "Forget the credentials for a registry.", _REGISTRIES),
    "registry": Command("registry", "Serve a registry.", _REGISTRIES),
    "keygen": Command("keys", "Make a key pair to sign with.", _TRUST),
    "pubkey": Command("keys", "Print the public key of your identity.", _TRUST),
    "sign": Command("sign", "Sign a package where it is.", _TRUST),
    "verify": Command("sign", "Check a package's signatures.", _TRUST),
    "trust": Command("trust", "Say whose signatures count for which packages.", _TRUST),
    "run": Command("run", "Fetch, verify, load and show a package.", _RUN),
    "doctor": Command("doctor", "Examine this host: what works, what does not, why", _HOST),
    "completion": Command("completion", "Print the completion script of a shell.", _HOST),
}

SUMMARY: Final = "Package, sign, ship and run eBPF programs the way docker does containers."

EPILOG: Final = (
    "\b",
    "Examples:",
    "  bpfpack build -t ghcr.io/x/opensnoop:1.0 examples/opensnoop",
    "  bpfpack push ghcr.io/x/opensnoop:1.0",
    "  bpfpack run ghcr.io/x/opensnoop",
)


class Group(typer.core.TyperGroup):
    """Lists commands from `COMMANDS` and imports one when it is called."""

    def list_commands(self, ctx: Any) -> list[str]:
        """In the order of the table."""
        return list(COMMANDS)

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        """Import one command."""
        found = COMMANDS.get(cmd_name)
        if found is None:
            return None
        if cmd_name == "run":
            return _run_command()
        module = import_module(f"bpfpack.cli.commands.{found.module}")
        return make_command(module, found.alias_of or cmd_name)

    def format_commands(self, ctx: Any, formatter: Any) -> None:
        """The help's table, without importing any command."""
        for group in dict.fromkeys(command.group for command in COMMANDS.values()):
            with formatter.section(group):
                rows = [(name, c.line) for name, c in COMMANDS.items() if c.group == group]
                formatter.write_dl(rows)


def make_command(module: Any, name: str) -> Any:
    """Return the typer command ``name`` of a command module; ``EXAMPLES`` end its help.

    A module offers functions by the names of its commands (``list_`` for ``list``), or an
    ``app`` with commands of its own.
    """
    if hasattr(module, "app"):
        return typer.main.get_group(module.app)
    function: Callable[..., Any] = getattr(module, name, None) or getattr(module, f"{name}_")
    examples: dict[str, tuple[str, ...]] = module.EXAMPLES
    single = new_app()
    single.command(name=name, epilog=epilog(examples[name]))(function)
    return typer.main.get_command(single)


def new_app(help_: str | None = None, examples: tuple[str, ...] = ()) -> typer.Typer:
    """A typer app with our settings, for a command that has commands of its own."""
    return typer.Typer(
        help=help_,
        epilog=epilog(examples) if examples else None,
        add_completion=False,
        rich_markup_mode=None,
        pretty_exceptions_enable=False,
        no_args_is_help=bool(help_),
        context_settings=_CONTEXT,
    )


def epilog(examples: tuple[str, ...]) -> str:
    """Examples as the end of a help text, their lines kept."""
    return "\n".join(("\b", "Examples:", *(f"  {line}" for line in examples)))


#: What a help text meets on a full disk, or where nothing is open.
_UNWRITABLE: Final = (errno.ENOSPC, errno.EIO, errno.EBADF)
_CONTEXT: Final = {"help_option_names": ["-h", "--help"]}


def _root(
    version_: bool = typer.Option(False, "--version", help="Show the version and exit."),
) -> None:
    """The command itself."""
    if version_:
        Printer.standard().result(f"bpfpack {version('bpfpack')}")
        raise typer.Exit


def app_main(argv: list[str]) -> int:
    """Run one command line; raises UsageError for one that makes no sense."""
    app = new_app()
    app.callback(
        cls=Group,
        help=SUMMARY,
        epilog="\n".join(EPILOG),
        invoke_without_command=True,
        no_args_is_help=True,
    )(_root)
    command = typer.main.get_command(app)
    try:
        code = command.main(args=argv, prog_name="bpfpack", standalone_mode=False)
    except typer.Exit as e:
        return e.exit_code
    except typer.Abort:
        return Exit.SIGINT
    except SystemExit as e:
        if e.code != 1:  # a signal ended a build
            raise
        raise BrokenPipeError from e  # typer's way to meet one
    except OSError as e:
        if isinstance(e, BpfpackError) or e.errno not in _UNWRITABLE:
            raise
        raise BpfpackError(f"cannot write the output: {e.strerror}") from e
    except Exception as e:
        # Usage errors have no base outside typer's own copy of click; others go on up.
        if not hasattr(e, "format_message"):
            raise
        if type(e).__name__ == "NoArgsIsHelpError":
            Printer.standard().text(e.format_message())
            return Exit.USAGE
        raise _usage(e) from e
    return int(code or Exit.OK)


#: What docker, podman and others call what is ours, by the words typed.
_HABITS: Final[dict[str, str]] = {
    "bpfpack ls": "did you mean `bpfpack list`?",
    "bpfpack rm": "did you mean `bpfpack rmi`?",
    "bpfpack remove": "did you mean `bpfpack rmi`?",
    "bpfpack version": "did you mean `bpfpack --version`?",
    "bpfpack help": "did you mean `bpfpack --help`?",
    "bpfpack ps": "there is no daemon: each `bpfpack run` is a process of its own;"
    " `bpfpack list` shows the packages",
    "bpfpack trust list": "did you mean `bpfpack trust ls`?",
    "bpfpack trust show": "did you mean `bpfpack trust ls`?",
    "bpfpack trust remove": "did you mean `bpfpack trust rm`?",
}


def _usage(error: Any) -> UsageError:
    """Map a usage error of typer's; "did you mean" for a command that is none of ours."""
    context = getattr(error, "ctx", None)
    path = context.command_path if context else "bpfpack"
    message, hint = error.format_message(), f"see `{path} --help`"
    if type(error).__name__ == "MissingParameter":
        message = " ".join(message.split())  # a line for each choice
    if message.startswith("No such command"):
        message, _, _ = message.partition(". Did you mean")
        hint = _nearest(path, message.split("'")[1], context) or hint
    return UsageError(message.rstrip(".")).with_hint(hint)


def _nearest(path: str, typed: str, context: Any) -> str | None:
    if known := _HABITS.get(f"{path} {typed}"):
        return known
    ours = context.command.list_commands(context) if context else list(COMMANDS)
    habits = [words.removeprefix(f"{path} ") for words in _HABITS if words.startswith(f"{path} ")]
    near = get_close_matches(typed, [*ours, *habits], n=1)
    if not near:
        return None
    return _HABITS.get(f"{path} {near[0]}") or f"did you mean `{path} {near[0]}`?"


class _Forward(typer.core.TyperCommand):
    """A command whose arguments are none of typer's business, ``--`` included."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Keep them as they are."""
        ctx.args = list(args)
        return []


def _run_command() -> Any:
    """``run`` for typer: all arguments go to the parser of `run_options`."""
    single = new_app()

    def run(ctx: typer.Context) -> int:
        from bpfpack.cli.run import run_main

        return run_main(ctx.args)

    single.command(
        name="run",
        cls=_Forward,
        help=COMMANDS["run"].line,
        epilog=epilog(run_options.EXAMPLES),
    )(run)
    return typer.main.get_command(single)
