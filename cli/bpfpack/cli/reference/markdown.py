"""A command as a page of the documentation."""

from collections.abc import Iterator

from bpfpack.cli.reference.pages import Page


def markdown(page: Page) -> str:
    """One page; what it links to lies beside it."""
    return "\n".join(_lines(page)) + "\n"


def index(pages: tuple[Page, ...]) -> str:
    """The page that lists all commands."""
    rows = [f"| [{_cell(p.name)}]({p.slug}.md) | {_cell(p.summary)} |" for p in pages]
    return "\n".join(("# Commands", "", "| command | what it does |", "|---|---|", *rows, ""))


def _lines(page: Page) -> Iterator[str]:
    yield f"# {page.name}"
    yield from ("", page.summary)
    for paragraph in page.details:
        yield from ("", paragraph)
    yield from ("", "```", page.usage, "```")
    if page.operands:
        yield from ("", "| argument | |", "|---|---|")
        yield from (f"| `{_cell(str(o))}` | {_cell(o.help)} |" for o in page.operands)
    yield from ("", "| option | |", "|---|---|")
    yield from (f"| `{_cell(str(s))}` | {_cell(s.help)} |" for s in page.switches)
    if page.examples:
        yield from ("", "## Examples", "", "```", *page.examples, "```")
    if page.children:
        yield from ("", "## Commands", "")
        for child, line in page.children:
            yield f"* [{page.name} {child}]({page.slug}-{child}.md): {line}"


def _cell(text: str) -> str:
    """A vertical bar would end the cell, in code too."""
    return text.replace("|", "\\|")
