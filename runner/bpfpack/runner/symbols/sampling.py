"""Outputs that are stacks: what reads them, and where the names of functions come from."""

from typing import TYPE_CHECKING

from bpfpack.runner.events.formatter import OutputFormat
from bpfpack.runner.events.stacks import StackSampler
from bpfpack.runner.events.tables import MapOutput
from bpfpack.runner.session import Session
from bpfpack.runner.symbols.demangle import Demangler
from bpfpack.runner.symbols.kernel import KernelSymbols
from bpfpack.runner.symbols.user import UserSymbols
from bpfpack.runner.target import sees_host_numbers
from bpfpack.spec.config import Output

if TYPE_CHECKING:
    from bpfpack.runner.events.terminal import Screen


def open_stacks(
    session: Session,
    shape: OutputFormat,
    said: Output,
    about: MapOutput,
    *,
    terminal: "Screen | None" = None,
) -> tuple[StackSampler, UserSymbols | None]:
    """Return what reads an output, and what names the functions of processes, if it does.

    To be called before anything is attached, while the process has its privileges: see
    `KernelSymbols`, `UserSymbols`.  What is opened is closed before the session is.
    """
    demangler = Demangler()
    session.closing.callback(demangler.close)
    kernel = KernelSymbols(demangler=demangler)
    session.closing.callback(kernel.close)
    users = None
    if said.user and sees_host_numbers():
        users = UserSymbols(follow=True, demangler=demangler)
        session.closing.callback(users.close)
    sampler = StackSampler(
        shape,
        said,
        about,
        session.map(said.map),
        session.map(said.traces or ""),
        kernel=kernel,
        users=users,
        terminal=terminal,
    )
    return sampler, users
