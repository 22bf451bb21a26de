"""What the documents promise is what the code does."""

import re
from pathlib import Path

from bpfpack.cli._exit import Exit
from bpfpack.cli.app import COMMANDS

REPO = Path(__file__).resolve().parents[2]


def test_readme_lists_every_exit_code() -> None:
    table = re.findall(r"^\| (\d+) \| ", (REPO / "README.md").read_text(), re.MULTILINE)
    assert [int(code) for code in table] == sorted(int(code) for code in Exit)


def test_links_lead_somewhere() -> None:
    for document in [*REPO.glob("*.md"), *REPO.glob("docs/**/*.md"), *REPO.glob("examples/*/*.md")]:
        for target in re.findall(r"\]\(([^)#]+)\)", document.read_text()):
            if not target.startswith("http"):
                assert (document.parent / target).exists(), f"{document.name}: {target}"


def test_readme_commands_exist() -> None:
    used = set(
        re.findall(r"^\$ (?:sudo )?bpfpack ([a-z]+)", (REPO / "README.md").read_text(), re.M)
    )
    assert used and used <= set(COMMANDS)


def test_decisions_are_numbered_without_gaps() -> None:
    numbers = sorted(int(path.name[:4]) for path in (REPO / "docs/adr").glob("[0-9]*.md"))
    assert numbers == list(range(1, len(numbers) + 1))


def test_every_dependency_has_its_reason() -> None:
    import tomllib

    declared = tomllib.loads((REPO / "pyproject.toml").read_text())["project"]["dependencies"]
    reasons = (REPO / "docs/adr/0004-dependencies.md").read_text().lower()
    for requirement in declared:
        name = re.split(r"[<>=\[]", requirement)[0]
        assert f"| {name} |" in reasons, name


def test_every_example_has_what_a_reader_needs() -> None:
    for example in (REPO / "examples").iterdir():
        if example.is_dir() and example.name != "__pycache__":
            test = f"test_{example.name.replace('-', '_')}.py"
            for name in (f"{example.name}.bpf.c", "README.md", test):
                assert (example / name).is_file(), f"{example.name}/{name}"


def test_the_chinese_readme_says_the_same() -> None:
    """Block by block, heading by heading, link by link, row by row: only the prose differs."""
    english, chinese = ((REPO / n).read_text() for n in ("README.md", "README.zh.md"))
    blocks = re.compile(r"^```.*?^```$|^<!-- .*?-->$", re.M | re.S)
    assert blocks.findall(english) == blocks.findall(chinese)
    for pattern in (r"^#+ ", r"^\| [^ |]+ \|", r"^\* ", r"`[^`\n]+`"):
        prose = [blocks.sub("", text) for text in (english, chinese)]
        counts = [len(re.findall(pattern, text, re.M)) for text in prose]
        assert counts[0] == counts[1], pattern
    links = [set(re.findall(r"\]\((?!README)([^)]+)\)", text)) for text in (english, chinese)]
    assert links[0] == links[1]
