"""The command line: the only place that prints, prompts and exits.

``bpfpack run`` goes straight to `bpfpack.cli.run`, without typer (75 ms of imports);
every other command goes through `bpfpack.cli.app`.  Both know the options of ``run`` from
`bpfpack.cli.run_options` alone.
"""

import sys


def main() -> None:
    """Run the command line of this process and exit with its code."""
    sys.exit(entry(sys.argv[1:]))


def entry(argv: list[str]) -> int:
    """Run one command line and return its exit code."""
    from bpfpack.cli.guard import guarded

    if argv[:1] == ["run"]:
        from bpfpack.cli.run import run_main

        return guarded(lambda: run_main(argv[1:]), run=True)
    from bpfpack.cli.app import app_main

    return guarded(lambda: app_main(argv))
