"""A command as a manual page: man(7) macros, section 1."""

from collections.abc import Iterator

from bpfpack.cli.reference.pages import Page


def man(page: Page, version: str) -> str:
    """One page in roff."""
    return "\n".join(_lines(page, version)) + "\n"


def _lines(page: Page, version: str) -> Iterator[str]:
    yield f'.TH "{page.slug.upper()}" "1" "" "bpfpack {version}" "bpfpack manual"'
    yield from (".SH NAME", f"{_safe(page.slug)} \\- {_safe(page.summary.rstrip('.'))}")
    yield from (".SH SYNOPSIS", f".B {_safe(page.name)}", _safe(page.usage[len(page.name) + 1 :]))
    yield from (".SH DESCRIPTION", _safe(page.summary))
    for paragraph in page.details:
        yield from (".PP", _safe(paragraph))
    for operand in page.operands:
        yield from (".TP", f".I {_safe(str(operand))}", _safe(operand.help))
    yield ".SH OPTIONS"
    for switch in page.switches:
        yield from (".TP", f".B {_safe(str(switch))}", _safe(switch.help))
    if page.children:
        yield ".SH COMMANDS"
        for child, line in page.children:
            yield from (".TP", f".BR {_safe(page.slug)}\\-{_safe(child)} (1)", _safe(line))
    if page.examples:
        yield from (".SH EXAMPLES", ".nf", *map(_safe, page.examples), ".fi")
    yield from (".SH SEE ALSO", ".BR bpfpack (1)")


def _safe(text: str) -> str:
    r"""Text as roff takes it: hyphens are minus signs to copy, no line begins a request.

    >>> _safe(".SH --all\\")
    '\\&.SH \\-\\-all\\e'
    """
    escaped = text.replace("\\", "\\e").replace("-", "\\-")
    return f"\\&{escaped}" if escaped[:1] in (".", "'") else escaped
