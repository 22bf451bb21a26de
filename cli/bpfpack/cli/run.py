"""``bpfpack run``: obtain, admit, plan, load, show, clean up.

On the hot way (the package is in the store and trusted) nothing here imports typer, rich,
requests or oras; a test holds that.
"""

import signal
from collections.abc import Sequence
from contextlib import ExitStack
from typing import TYPE_CHECKING

from bpfpack.cli._exit import Exit
from bpfpack.cli.host import Host
from bpfpack.cli.run_options import RunRequest, help_text, is_ours, parse_run
from bpfpack.spec.config import Config
from bpfpack.spec.errors import UsageError
from bpfpack.spec.objectspec import ObjectSpec
from bpfpack.spec.reference import Reference

if TYPE_CHECKING:
    from bpfpack.runner.api.package import Package
    from bpfpack.runner.package_options import Given, PackageOption
    from bpfpack.runner.plan import Plan
    from bpfpack.runner.target import Process


def run_main(argv: Sequence[str]) -> int:
    """Run one ``bpfpack run`` and return its exit code; raises BpfpackError."""
    request = parse_run(argv)
    host = _host(request)
    if request.flag("help"):
        host.printer.text(help_text())
        return Exit.OK
    if request.reference is None:
        raise UsageError("run what?").with_hint("bpfpack run REF; see `bpfpack run --help`")
    return _run(host, request, request.reference)


def _host(request: RunRequest) -> Host:
    from pathlib import Path

    ca_file = request.value("ca_file")
    return Host.here(
        quiet=request.flag("quiet"),
        verbose=request.flag("verbose"),
        plain_http=request.flag("plain_http"),
        ca_file=Path(ca_file) if ca_file else None,
    )


def _run(host: Host, request: RunRequest, text: str) -> int:
    from bpfpack.cli.admission import admit_package
    from bpfpack.cli.obtaining import obtain

    judged_as = request.value("as_reference")
    artifact = obtain(
        host,
        text,
        pull=request.value("pull") or "missing",
        judged_as=Reference.parse(judged_as) if judged_as is not None else None,
        allow_downgrade=request.flag("allow_downgrade"),
    )
    if {"--help", "-h"} & set(request.arguments):
        config, spec = Config.from_bytes(artifact.config), ObjectSpec.from_bytes(artifact.object)
        if _given(spec, config, request)[1] is None:
            return _package_help(host, text, config, spec)
    verified = admit_package(
        host,
        artifact,
        key=request.value("key"),
        allow_downgrade=request.flag("allow_downgrade"),
        skip_verify=request.flag("skip_verify"),
    )
    from bpfpack.runner.api.package import open as open_package

    package = open_package(verified)
    _die_at_once()
    with ExitStack() as held:
        plan, target = _plan(package, request, held)
        from bpfpack.cli.execution import execute, narrowed, settings, windowed

        if request.flag("dry_run"):
            chosen = settings(package.spec, plan, request)
            narrowed(package.spec, package.config, chosen, request)
            windowed(package.spec, package.config, chosen, request)
            return _show_plan(host, plan, request)
        return execute(host, package, plan, request, target)


def _die_at_once() -> None:
    """Let Ctrl-C end the process as the kernel does, until it has something to clean up.

    libbpf calls back into Python from here on, where a KeyboardInterrupt would be lost.
    """
    if signal.getsignal(signal.SIGINT) is not signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.SIG_DFL)


def _plan(
    package: "Package", request: RunRequest, held: ExitStack
) -> "tuple[Plan, Process | None]":
    """Return the plan, and the process that it is about, which ``held`` lets go of."""
    from bpfpack.runner.package_options import Given

    options, found = _given(package.spec, package.config, request)
    given = found or Given()
    target = None
    if request.flag("command") or request.flag("pid"):
        from bpfpack.cli.targeting import find_target

        target = held.enter_context(
            find_target(package.config.name, request, options, given.values)
        )
    asked = None
    if request.flag("buffer_size") or request.flag("map_size"):
        from bpfpack.cli.sizing import sizes_of

        asked = sizes_of(package.spec, package.config, package.kernel.page_size, request)
    values = given.values
    return package.plan(
        {o.param.option: values[o.param.variable] for o in options if o.param.variable in values},
        map_sizes=asked.maps if asked else None,
        perf_pages=asked.pages if asked else None,
        attach=request.values("attach"),
        targets=given.targets,
        trace_pipe=request.flag("trace_pipe"),
    ), target


def _given(
    spec: ObjectSpec, config: Config, request: RunRequest
) -> "tuple[tuple[PackageOption, ...], Given | None]":
    """Return the package's options and what is given of them; None when help is asked for."""
    from bpfpack.runner.package_options import (
        package_options,
        parse_package_options,
        target_options,
    )

    options, targets = package_options(spec, config), target_options(config)
    try:
        return options, parse_package_options(options, request.arguments, targets)
    except UsageError as e:
        its = {s for o in options for s in (o.long, f"-{o.param.short}")}
        its |= {o.long for o in targets}
        its |= {"-h", "--help"}
        words = {word.partition("=")[0] for word in request.arguments}
        if any(is_ours(word) for word in words - its):
            raise e.with_hint("bpfpack's own options go before the reference") from e.__cause__
        raise


def _package_help(host: Host, text: str, config: Config, spec: ObjectSpec) -> int:
    from bpfpack.runner.package_help import help_text as package_help
    from bpfpack.runner.package_options import package_options

    host.printer.text(package_help(config, package_options(spec, config), text))
    return Exit.OK


def _show_plan(host: Host, plan: "Plan", request: RunRequest) -> int:
    if (request.value("output") or "").rpartition(":")[2] == "json":
        host.printer.document(plan.to_dict(), "json")
    else:
        for line in plan.lines():
            host.printer.result(line)
    return Exit.OK
