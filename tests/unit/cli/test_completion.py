"""Completion in the real shells: what Tab offers on a command line."""

import shutil
import subprocess
from pathlib import Path

import pytest

from tests.kit.cli import Host

SHELLS = ("bash", "zsh", "fish")

_BASH = r"""
. "$1"
COMP_LINE=$2 COMP_POINT=${#2} COMP_WORDBREAKS=${3-$' \t\n"'"'"'><=;|&(:'}
compopt() { :; }
_bpfpack
printf '%s\n' "${COMPREPLY[@]}"
"""
# The completion system's functions are replaced by ones that print what they are given.
_ZSH = r"""
compdef() { :; }
_describe() { print -rl -- ${${(P)2}%%:*}; }
_files() { print -r -- "<files $*>"; }
compadd() { print -rl -- ${(P)2}; }
. "$1"
words=(${(z)2}) CURRENT=${#words}
[[ $2 == *' ' ]] && words+=('') CURRENT=$((CURRENT + 1))
_bpfpack
"""


def complete(shell: str, line: str, host: Host, tmp_path: Path) -> set[str]:
    """What the shell offers for a line, without descriptions."""
    assert shutil.which(shell), f"{shell} is not installed"
    script = tmp_path / f"completion.{shell}"
    script.write_text(host.run("completion", shell).stdout)
    if shell == "fish":
        argv = ["fish", "-N", "-c", f"source {script}; complete -C '{line}'"]
    elif shell == "zsh":
        argv = ["zsh", "-f", "-c", _ZSH, "zsh", str(script), line]
    else:
        argv = ["bash", "--norc", "-c", _BASH, "bash", str(script), line]
    done = subprocess.run(
        argv, env=host.environment, cwd=tmp_path, capture_output=True, text=True, timeout=60,
        check=False,
    )  # fmt: skip
    assert done.stderr == ""
    wanted = line.rpartition(" ")[2]
    found = {offered.partition("\t")[0] for offered in done.stdout.splitlines()}
    return {offered for offered in found if shell == "bash" or offered.startswith((wanted, "<"))}


@pytest.mark.parametrize("shell", SHELLS)
@pytest.mark.parametrize(
    ("line", "among", "never"),
    [
        ("bpfpack ", {"build", "run", "trust"}, {"ls"}),
        ("bpfpack bu", {"build"}, {"run"}),
        ("bpfpack trust ", {"add", "ls", "test"}, {"build"}),
        ("bpfpack trust add --ke", {"--key"}, {"--level"}),
        ("bpfpack trust add --level ", {"enforce", "warn"}, {"--key"}),
        ("bpfpack list -o ", {"table", "wide", "json", "yaml"}, {"csv"}),
        ("bpfpack run --pu", {"--pull"}, {"--quiet"}),
        ("bpfpack run --pull ", {"missing", "always", "never"}, {"--pull"}),
        ("bpfpack run -o json --ti", {"--timeout"}, {"--tag"}),
        ("bpfpack run ", {"bell:1"}, set()),
        ("bpfpack inspect b", {"bell:1"}, set()),
        ("bpfpack run bell:1 --", set(), {"--pull", "--timeout"}),
        ("bpfpack -", {"--version", "--help"}, {"--tag"}),
    ],
)
def test_offers(
    shell: str, line: str, among: set[str], never: set[str], host: Host, tmp_path: Path
) -> None:
    offered = complete(shell, line, host, tmp_path)
    assert among <= offered
    assert not never & offered


@pytest.mark.parametrize("shell", ["bash", "fish"])
@pytest.mark.parametrize("line", ["bpfpack load -f ", "bpfpack build "])
def test_files(shell: str, line: str, host: Host, tmp_path: Path) -> None:
    (tmp_path / "package.tar").touch()
    assert "package.tar" in complete(shell, line, host, tmp_path)


def test_files_in_zsh(host: Host, tmp_path: Path) -> None:
    assert complete("zsh", "bpfpack load -f ", host, tmp_path) == {"<files >"}


def test_a_reference_with_colons_in_bash(host: Host, tmp_path: Path) -> None:
    """Bash completes the part after the last colon, which is all it may be given."""
    assert complete("bash", "bpfpack run bell:", host, tmp_path) == {"1"}


def test_of_no_other_shell(host: Host) -> None:
    assert "tcsh" in host.run("completion", "tcsh", code=2).stderr
