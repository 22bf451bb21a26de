"""What `init` makes builds as it is."""

from pathlib import Path

import pytest

from bpfpack.builder.build import build
from bpfpack.builder.init import init, templates
from bpfpack.spec import mediatypes
from bpfpack.spec.errors import BuildError, UsageError


@pytest.mark.parametrize("template", templates())
def test_a_template_builds_at_once(template: str, tmp_path: Path) -> None:
    made = init("my-tool", template=template, directory=tmp_path)
    assert sorted(p.name for p in made.iterdir()) == ["README.md", "bpfpack.toml", "my-tool.bpf.c"]
    result = build(made)
    assert result.warnings == ()
    assert (result.config.name, result.config.version) == ("my-tool", "0.1.0")
    assert "pid" in {p.option for p in result.config.params}
    assert len(result.config.outputs) == 1
    kinds = [layer.media_type for layer in result.package.manifest.layers]
    assert kinds == [mediatypes.OBJECT, mediatypes.README]
    assert not [p for p in made.iterdir() if b"@NAME@" in p.read_bytes()]


def test_what_is_there_stays(tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    with pytest.raises(UsageError, match="exists already"):
        init("mine", directory=tmp_path)
    assert not list((tmp_path / "mine").iterdir())


@pytest.mark.parametrize(
    ("name", "hint"),
    [
        ("", "`bpfpack init NAME` makes a new directory NAME"),
        (".", "`bpfpack init NAME` makes a new directory NAME"),
        ("..", "`bpfpack init NAME` makes a new directory NAME"),
        (".hidden", "`bpfpack init hidden` makes a new directory hidden"),
        ("Bad Name", "`bpfpack init bad-name` makes a new directory bad-name"),
        ("a b/c", "`cd 'a b'` first: `bpfpack init c` makes a new directory c"),
        ("../x", "`cd ..` first: `bpfpack init x` makes a new directory x"),
        ("/x", "`cd /` first: `bpfpack init x` makes a new directory x"),
        ("x" * 200, f"`bpfpack init {'x' * 128}` makes a new directory {'x' * 128}"),
    ],
)
def test_a_name_that_no_package_has(name: str, hint: str, tmp_path: Path) -> None:
    with pytest.raises(UsageError) as caught:
        init(name, directory=tmp_path)
    assert str(caught.value) == f"{name!r} is not a package name: a-z, 0-9, '.', '_' and '-'"
    assert caught.value.hint == hint
    assert not list(tmp_path.iterdir())


def test_an_unknown_template_names_the_known(tmp_path: Path) -> None:
    with pytest.raises(UsageError) as caught:
        init("x", template="../tracepoint", directory=tmp_path)
    assert caught.value.hint == "one of histogram, tracepoint"


def test_a_place_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(BuildError):
        init("x", directory=tmp_path / "file")
