"""``bpfpack doctor``: what works on this host, what does not, why, and what to do about it."""

from collections.abc import Iterator
from typing import Final

from bpfpack.builder import health as building
from bpfpack.cli._exit import Exit
from bpfpack.cli.host import Host
from bpfpack.cli.options import DocumentFormat
from bpfpack.cli.printer import Printer
from bpfpack.cli.units import counted
from bpfpack.registry import health as keeping
from bpfpack.runner import health as running
from bpfpack.runner.kernel import LiveKernel
from bpfpack.spec.finding import Finding, State

EXAMPLES: Final = {
    "doctor": ("bpfpack doctor", "bpfpack doctor -o json", "sudo bpfpack doctor"),
}

_STYLES: Final[dict[State, str]] = {"ok": "good", "warning": "warning", "failed": "error"}


def doctor(output: DocumentFormat = "text") -> int:
    """Examine this host: what works, what does not, why, and what to do about it.

    Ends with 1 when something has failed; a warning is about some packages or commands only.
    Nothing is changed, and no registry is asked.
    """
    host = Host.here()
    groups = {
        "running": list(running.findings(LiveKernel())),
        "building": list(building.findings()),
        "keeping and trusting": list(keeping.findings(host.dirs, host.policy)),
    }
    found = [finding for group in groups.values() for finding in group]
    if output == "text":
        _show(host.printer, groups)
    else:
        host.printer.document([_row(area, f) for area, f in _pairs(groups)], output)
    return Exit.FAILED if any(f.state == "failed" for f in found) else Exit.OK


def _show(printer: Printer, groups: dict[str, list[Finding]]) -> None:
    for area, findings in groups.items():
        printer.result(area)
        for finding in findings:
            told = f"  {finding.state:<8} {finding.part:<16} {finding.told}"
            printer.result(told, _STYLES[finding.state])
            if finding.cure:
                printer.result(f"  {'':<8} {'':<16} -> {finding.cure}", "hint")
    states = [finding.state for findings in groups.values() for finding in findings]
    failed, warned = states.count("failed"), states.count("warning")
    printer.result(
        f"{counted(failed, 'failure')}, {counted(warned, 'warning')}",
        _STYLES["failed" if failed else "warning" if warned else "ok"],
    )


def _pairs(groups: dict[str, list[Finding]]) -> Iterator[tuple[str, Finding]]:
    for area, findings in groups.items():
        for finding in findings:
            yield area, finding


def _row(area: str, finding: Finding) -> dict[str, str | None]:
    return {
        "area": area,
        "part": finding.part,
        "state": finding.state,
        "found": finding.told,
        "cure": finding.cure,
    }
