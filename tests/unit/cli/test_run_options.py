"""Command lines of ``bpfpack run`` that cannot be meant."""

import pytest

from bpfpack.cli.run_options import parse_run
from bpfpack.spec.errors import UsageError

AFTER = "the package's own options come after REF; `bpfpack run --help` lists ours"


@pytest.mark.parametrize(
    ("word", "hint"),
    [
        ("--interface", AFTER),
        ("--name", AFTER),
        ("--timeot", f"did you mean --timeout? {AFTER}"),
        ("--atach=eth0", f"did you mean --attach? {AFTER}"),
        ("-z", AFTER),
    ],
)
def test_only_near_matches_are_suggested(word: str, hint: str) -> None:
    with pytest.raises(UsageError, match="no such option of run") as caught:
        parse_run([word, "lo", "xdp-count"])
    assert caught.value.hint == hint


@pytest.mark.parametrize("words", [("-f", ""), ("--file=",), ("--key", ""), ("--ca-file=",)])
def test_a_file_without_a_name(words: tuple[str, ...]) -> None:
    with pytest.raises(UsageError, match=rf"^{words[0].rstrip('=')} needs the name of a file$"):
        parse_run([*words, "xdp-count"])
