"""``-c COMMAND`` and ``-p PID``: which process a run is about, and the option that says so."""

import os
from collections.abc import Sequence
from typing import TYPE_CHECKING

from bpfpack.cli.run_options import RunRequest
from bpfpack.cli.units import count
from bpfpack.runner.package_options import PackageOption
from bpfpack.spec.config import TARGET_PID, Value
from bpfpack.spec.errors import UsageError

if TYPE_CHECKING:
    from bpfpack.runner.target import Process

_PID_LIKE = ("pid", "tgid", "tid", "parent")


def find_target(
    package: str, request: RunRequest, options: Sequence[PackageOption], given: dict[str, Value]
) -> "Process":
    """Return the process that the options name, and say it in ``given``.

    A command is started and held.  Raises UsageError, NotFound, KernelError.
    """
    command, pid = request.value("command"), request.value("pid")
    if command is not None and pid is not None:
        raise UsageError("-c and -p each say what to trace: one of them")
    word = "-c" if command is not None else "-p"
    option = _selecting(package, word, options)
    if option.param.variable in given:
        raise UsageError(f"{word} and {option.long} each say what to trace: one of them")
    from bpfpack.runner.target import Process, require_host_numbers

    require_host_numbers()
    found = Process(count(pid, "-p")) if pid is not None else _command(command or "")
    given[option.param.variable] = found.pid
    return found


def _command(text: str) -> "Process":
    from bpfpack.registry.trust import passwords
    from bpfpack.runner.command import Command

    passwords.take(os.environ)  # it has our environment, and they are ours alone
    return Command(text)


def _selecting(package: str, word: str, options: Sequence[PackageOption]) -> PackageOption:
    for option in options:
        if option.param.role == TARGET_PID:
            return option
    alike = [o.long for o in options if {*o.param.option.split("-")} & {*_PID_LIKE}]
    raise UsageError(f"{word}: {package} has no option that chooses a process").with_hint(
        f"what it has, after the reference: {', '.join(alike)}"
        if alike
        else "role(target-pid) on a global of its source makes one"
    )
