"""``bpfpack run``: the hot entry and typer's read any command line alike."""

from collections.abc import Callable, Sequence

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from bpfpack.cli import run
from bpfpack.cli.app import app_main
from bpfpack.cli.run_options import OPTIONS, RunRequest, parse_run
from bpfpack.spec.errors import UsageError

_SPELLINGS = [s for o in OPTIONS for s in (o.long, o.short) if s]
_WORDS = st.one_of(
    st.sampled_from([*_SPELLINGS, "json", "never", "10s", "3", "ghcr.io/x/tool", "./x", "-", "--"]),
    st.sampled_from(["events:json", "a:b:csv", ":raw", "events:", "events=16M", "make -j4"]),
    st.sampled_from(_SPELLINGS).map(lambda s: f"{s}=json"),
    st.sampled_from(["-qv", "-ojson", "-qo", "-qx", "--no-such", "--pid", "-p7", "run", "", "--="]),
    st.text(max_size=6),
)


def outcome(entry: Callable[[Sequence[str]], int], argv: list[str]) -> object:
    """What an entry makes of a command line: a request, or the words of its refusal."""
    seen: list[RunRequest] = []

    def instead(given: Sequence[str]) -> int:
        seen.append(parse_run(given))
        return 0

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(run, "run_main", instead)
        try:
            entry(argv)
        except UsageError as e:
            return str(e), e.hint
    return seen


def hot(argv: Sequence[str]) -> int:
    """As `bpfpack.cli.entry` does for ``run``."""
    return run.run_main(argv[1:])


def typers(argv: Sequence[str]) -> int:
    """As for every other command."""
    return app_main(list(argv))


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.lists(_WORDS, max_size=6))
@example(["--help"])
@example(["-h", "ref"])
@example(["ref", "--", "--help"])
@example(["--", "ref", "-q"])
def test_both_entries_read_alike(words: list[str]) -> None:
    assert outcome(hot, ["run", *words]) == outcome(typers, ["run", *words])


@given(st.lists(_WORDS, max_size=8))
def test_a_request_or_a_usage_error(words: list[str]) -> None:
    """Nothing else, and what follows REF is the package's, untouched."""
    try:
        request = parse_run(words)
    except UsageError:
        return
    taken = len(words) - len(request.arguments)
    assert list(request.arguments) == words[taken:]
    if request.reference is not None:
        assert words[taken - 1] == request.reference


@given(st.lists(_WORDS, max_size=8))
def test_what_is_repeatable_keeps_all_and_the_rest_the_last(words: list[str]) -> None:
    try:
        request = parse_run(words)
    except UsageError:
        return
    repeatable = {o.name for o in OPTIONS if o.repeatable}
    assert all(request.values(o.name) == () for o in OPTIONS if not request.flag(o.name))
    for name, values in request.options.items():
        assert len(values) == 1 or name in repeatable
        assert request.value(name) == values[-1]
