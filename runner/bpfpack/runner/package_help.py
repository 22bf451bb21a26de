"""``run REF --help``: the package's own help, which nothing in a package can disturb."""

import textwrap
from collections.abc import Iterator, Sequence

from bpfpack.runner.package_options import PackageOption, TargetOption, target_options
from bpfpack.spec.config import Config
from bpfpack.spec.safetext import printable
from bpfpack.spec.sections import parse_section
from bpfpack.spec.targets import shape

_WIDTH = 80
_LEFT = 30
_LINES = 64


def help_text(config: Config, options: Sequence[PackageOption], reference: str = "REF") -> str:
    """Return the help of a package, without a final newline."""
    version = f" {printable(config.version)}" if config.version else ""
    lines = [f"{printable(config.name)}{version}", *_description(config.description), ""]
    lines.append(f"Usage: bpfpack run [bpfpack's options] {printable(reference)} [OPTIONS]")
    lines += ["", "Options:"]
    rows = [(_left(o), _right(o)) for o in options]
    rows += [(f"    {o.long} TARGET", _target(o)) for o in target_options(config)]
    rows.append(("-h, --help", "show this help"))
    lines += _table(rows)
    if chosen := list(_chosen(config)):
        lines += ["", "Targets, told before the reference with --attach:", *_table(chosen)]
    return "\n".join(lines)


def _table(rows: list[tuple[str, str]]) -> Iterator[str]:
    left = min(max(len(spelled) for spelled, _ in rows), _LEFT)
    for spelled, said in rows:
        yield from _row(spelled, said, left)


def _target(option: TargetOption) -> str:
    default = f" (default: {printable(', '.join(option.default), 256)})" if option.default else ""
    programs = printable(", ".join(option.programs), 256)
    return f"attach {programs} to {option.takes}; repeatable{default}"


def _chosen(config: Config) -> Iterator[tuple[str, str]]:
    """Programs whose target no option of the package tells, and how it is told."""
    for program in config.programs:
        kind = parse_section(program.section)
        form = shape(kind)
        if form and program.option is None:
            said = program.attach or ((kind.target,) if kind.target else ())
            default = f"(default: {printable(', '.join(said), 256)})" if said else "needed"
            yield f"{printable(program.name)}={form}", default


def _description(text: str | None) -> Iterator[str]:
    for line in (text or "").splitlines()[:_LINES]:
        yield from textwrap.wrap(printable(line), _WIDTH) or [""]


def _row(spelled: str, said: str, left: int) -> Iterator[str]:
    wrapped = textwrap.wrap(said, _WIDTH - left - 4) or [""]
    if len(spelled) > left:
        yield f"  {spelled}"
    else:
        yield f"  {spelled.ljust(left)}  {wrapped.pop(0)}".rstrip()
    for line in wrapped:
        yield " " * (left + 4) + line


def _left(option: PackageOption) -> str:
    short = f"-{option.param.short}, " if option.param.short else "    "
    if option.type.kind == "bool":
        return f"{short}--[no-]{option.param.option}"
    return f"{short}{option.long} {_metavar(option)}"


def _metavar(option: PackageOption) -> str:
    if option.param.choices:
        return "NAME"
    if option.type.kind == "text":
        return "TEXT"
    if option.takes.startswith("a duration"):
        return "DURATION"
    return "SIZE" if option.takes.startswith("a size") else "N"


def _right(option: PackageOption) -> str:
    param = option.param
    said = [printable(param.help, 1024)] if param.help else []
    if param.choices:
        said.append(option.takes)
    elif param.unit:
        said.append(f"in {printable(param.unit)}")
    default = _default(option)
    shown = [", ".join(said)] if said else []
    return " ".join(shown if default is None else [*shown, f"(default: {default})"])


def _default(option: PackageOption) -> str | None:
    default = option.param.default
    if default is None or default is False or default == "":
        return None
    if default is True:
        return "on"
    names = {value: name for name, value in option.param.choices.items()}
    if isinstance(default, int) and default in names:
        default = names[default]
    return printable(str(default), 64)
