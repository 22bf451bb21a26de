"""The house: where things are, and who may import whom."""

import ast
from collections.abc import Iterator
from pathlib import Path

REPO = Path(__file__).resolve().parents[2]
ROOTS = ("spec", "builder", "registry", "runner", "cli")
#: The only modules that print and exit.
PRINTERS = {
    "cli/bpfpack/cli/printer.py",
    "cli/bpfpack/cli/__init__.py",
    # A program of its own, which becomes the compiler.
    "builder/bpfpack/builder/confine.py",
}


def modules(root: str) -> Iterator[tuple[Path, ast.Module]]:
    for path in sorted((REPO / root / "bpfpack").rglob("*.py")):
        yield path, ast.parse(path.read_text())


def imports(tree: ast.Module) -> Iterator[tuple[int, str]]:
    for node in ast.walk(tree):
        match node:
            case ast.Import(names=names):
                yield from ((node.lineno, n.name) for n in names)
            case ast.ImportFrom(module=str(name)):
                yield node.lineno, name


def test_namespace_portions_have_no_init() -> None:
    """One stray file would hide the other four portions (PEP 420)."""
    assert not list(REPO.glob("*/bpfpack/__init__.py"))


def test_every_leaf_package_has_init_and_marker() -> None:
    for root in ROOTS:
        assert (REPO / root / "bpfpack" / root / "py.typed").is_file()
        for directory in {p.parent for p in (REPO / root / "bpfpack" / root).rglob("*.py")}:
            assert (directory / "__init__.py").is_file(), directory


def test_spec_imports_only_the_standard_library() -> None:
    """An allow-list: a new dependency fails before anyone names it."""
    import sys

    allowed = sys.stdlib_module_names | {"bpfpack"}
    for path, tree in modules("spec"):
        foreign = [(line, n) for line, n in imports(tree) if n.split(".")[0] not in allowed]
        assert not foreign, f"{path.name} imports {foreign}"


def test_values_are_ours() -> None:
    """docs/adr/0008-values.md: one import of dataclasses costs every start 10 ms."""
    for root in ROOTS:
        for path, tree in modules(root):
            assert "dataclasses" not in {name for _, name in imports(tree)}, path


def test_only_the_printer_prints_and_only_main_exits() -> None:
    for root in ROOTS:
        for path, tree in modules(root):
            if str(path.relative_to(REPO)) in PRINTERS:
                continue
            calls = [ast.unparse(n.func) for n in ast.walk(tree) if isinstance(n, ast.Call)]
            assert not {"print", "sys.exit", "exit"} & set(calls), path


def test_no_path_of_a_development_machine() -> None:
    for root in (*ROOTS, "tests", "scripts", "docs", "examples"):
        for path in (REPO / root).rglob("*"):
            if path.is_file() and path.suffix in {
                ".py",
                ".md",
                ".sh",
                ".c",
                ".h",
                ".toml",
                ".json",
                "",
            }:
                text = path.read_text(errors="replace")
                assert "/work" + "/main" not in text, path
                assert "/work" + "/shared" not in text, path


def test_every_test_module_is_in_a_named_place() -> None:
    known = {
        "unit",
        "arch",
        "attacks",
        "contract",
        "fuzz",
        "property",
        "conformance",
        "image",
        "kernel",
        "kit",
        "peers",
        "acceptance",
        "testdata",
    }
    found = {p.relative_to(REPO / "tests").parts[0] for p in (REPO / "tests").rglob("*.py")}
    assert found <= known
