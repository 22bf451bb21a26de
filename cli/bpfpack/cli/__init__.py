"""The command line: the only place that prints, prompts and exits.

``bpfpack run`` goes straight to `bpfpack.cli.run`, without typer (75 ms of imports);
every other command goes through `bpfpack.cli.app`.  Both know the options of ``run`` from
`bpfpack.cli.run_options` alone.
"""

import os
import sys


def main() -> None:
    """Run the command line of this process and exit with its code."""
    _open_what_is_closed()
    try:
        code = entry(sys.argv[1:])
    except KeyboardInterrupt:  # while something is being imported
        code = 130
    sys.exit(code)


def _open_what_is_closed() -> None:
    """Give a closed stdin, stdout or stderr to /dev/null.

    Otherwise the next file that is opened gets its number, and what is printed goes there.
    What is written to a stdout that was closed still fails with EBADF: nobody gets it.
    """
    for number, name in enumerate(("stdin", "stdout", "stderr")):
        if getattr(sys, name) is None:
            mode = os.O_RDONLY if number == 1 else os.O_RDWR
            os.dup2(os.open(os.devnull, mode), number)
            setattr(sys, name, os.fdopen(number, "w" if number else "r"))


def entry(argv: list[str]) -> int:
    """Run one command line and return its exit code."""
    from bpfpack.cli.guard import guarded

    if argv[:1] == ["run"]:
        from bpfpack.cli.run import run_main

        return guarded(lambda: run_main(argv[1:]), run=True)
    from bpfpack.cli.app import app_main

    return guarded(lambda: app_main(argv))
