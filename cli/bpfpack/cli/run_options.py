"""The options of ``bpfpack run``, declared once.

The hot parser below, ``run --help``, the completion and the documentation read this tuple;
typer's ``run`` forwards its arguments and declares none.  Importing this costs nothing:
no typer, no argparse.
"""

from collections.abc import Sequence
from typing import Final

from bpfpack.spec.errors import UsageError
from bpfpack.spec.value import valuetype

OUTPUTS: Final = (
    *("table", "json", "json-array", "csv", "tsv", "yaml", "raw", "arrow", "parquet"),
    *("folded", "flamegraph.svg"),
)
#: How like an option another word must be to be taken for its misspelling.
_NEAR: Final = 0.8
ENGINES: Final = ("auto", "wasm", "reference")
ON_SLOW: Final = ("block", "drop")
PULL_MODES: Final = ("missing", "always", "never")


@valuetype
class Option:
    """One option; ``metavar`` None makes it a flag, ``value`` is what a flag stands for.

    ``choices`` may have a name and a colon before them where ``named`` says so.  Every value
    of an option that is ``repeatable`` counts, otherwise the last.
    """

    name: str
    long: str
    help: str
    short: str | None = None
    metavar: str | None = None
    choices: tuple[str, ...] = ()
    value: str = ""
    named: bool = False
    repeatable: bool = False


OPTIONS: Final[tuple[Option, ...]] = (
    Option(
        name="output",
        long="--output",
        short="-o",
        metavar="[NAME:]FORMAT",
        help="table (default), json, json-array, csv, tsv, yaml, raw, arrow, parquet; "
        "stacks: folded, flamegraph.svg; repeatable",
        choices=OUTPUTS,
        named=True,
        repeatable=True,
    ),
    Option(
        name="file", long="--file", short="-f", metavar="FILE", help="write what is shown to FILE"
    ),
    Option(
        name="filter",
        long="--filter",
        metavar="EXPR",
        help="show only events such as 'pid > 1 and comm ~ \"ssh*\"'",
    ),
    Option(
        name="fields",
        long="--fields",
        metavar="NAMES",
        help="show pid,comm in that order; -pid: all but that",
    ),
    Option(
        name="unique",
        long="--unique",
        metavar="NAMES",
        help="show the first event of each combination of pid,comm",
    ),
    Option(
        name="every",
        long="--every",
        metavar="DURATION",
        help="show no events, but how many there were in each 1s or 500ms",
    ),
    Option(
        name="by",
        long="--by",
        metavar="NAMES",
        help="with --every: of each combination of pid,comm",
    ),
    Option(
        name="show",
        long="--show",
        metavar="VALUES",
        help="with --every: count (default), sum(x), min(x), max(x), avg(x), p50(x), p99.9(x)",
    ),
    Option(
        name="sort",
        long="--sort",
        metavar="NAMES",
        help="rows of sampled tables and windows: by a, then from the largest b: a,-b",
    ),
    Option(
        name="limit",
        long="--limit",
        metavar="N",
        help="N rows of each sampled table or window; of events, end after N",
    ),
    Option(
        name="attach",
        long="--attach",
        metavar="[PROG=]TARGET",
        help="attach there: eth0, /bin/bash:readline, cpu-clock:99hz; repeatable",
        repeatable=True,
    ),
    Option(
        name="command",
        long="--command",
        short="-c",
        metavar="COMMAND",
        help="start and trace COMMAND, not what it starts; end as it ends",
    ),
    Option(
        name="pid",
        long="--pid",
        short="-p",
        metavar="PID",
        help="trace the process PID, as this host numbers it; end as it ends",
    ),
    Option(name="max_events", long="--max-events", metavar="N", help="end after N events"),
    Option(name="timeout", long="--timeout", metavar="DURATION", help="end after 10s, 2m or 500ms"),
    Option(
        name="buffer_size",
        long="--buffer-size",
        metavar="[NAME=]SIZE",
        help="room for events, such as 16M (perf buffers: per CPU); repeatable",
        repeatable=True,
    ),
    Option(
        name="map_size",
        long="--map-size",
        metavar="NAME=N",
        help="room for N entries in a map; repeatable",
        repeatable=True,
    ),
    Option(
        name="per_cpu",
        long="--per-cpu",
        help="show per-CPU maps as tables and histograms of each CPU, not added up",
    ),
    Option(
        name="trace_pipe",
        long="--trace-pipe",
        help="show what bpf_printk prints, too: of all programs of this host",
    ),
    Option(name="dry_run", long="--dry-run", help="show what would be loaded, and load nothing"),
    Option(name="quiet", long="--quiet", short="-q", help="print nothing but events and errors"),
    Option(
        name="verbose", long="--verbose", short="-v", help="show whole verifier and libbpf logs"
    ),
    Option(
        name="pull",
        long="--pull",
        metavar="WHEN",
        help="missing, always or never (default: missing)",
        choices=PULL_MODES,
    ),
    Option(name="pull", long="--no-pull", value="never", help="the same as --pull never"),
    Option(
        name="key",
        long="--key",
        metavar="FILE",
        help="trust this public key for this run, instead of the policy",
    ),
    Option(
        name="as_reference",
        long="--as",
        metavar="REF",
        help="judge a file, URL or stdin as if it were this reference",
    ),
    Option(
        name="allow_downgrade",
        long="--allow-downgrade",
        help="accept an older release than this host has seen",
    ),
    Option(
        name="skip_verify",
        long="--insecure-skip-verify",
        help="run it though nobody vouches for it; recorded",
    ),
    Option(
        name="engine",
        long="--engine",
        metavar="ENGINE",
        help="what formats events: wasm, reference (plain Python) or auto (default)",
        choices=ENGINES,
    ),
    Option(
        name="unordered",
        long="--unordered",
        help="show events of perf buffers as each CPU has them, not merged by time",
    ),
    Option(
        name="on_slow",
        long="--on-slow",
        metavar="WHAT",
        help="while the reader takes nothing: block (default), or drop events and count them",
        choices=ON_SLOW,
    ),
    Option(
        name="stats",
        long="--stats",
        help="end with a JSON record of what was shown, lost and dropped: with -o json"
        ' {"stats":...} as last line, otherwise on stderr',
    ),
    Option(name="force", long="--force", help="let raw output, or a picture, go to a terminal"),
    Option(name="sigint_ok", long="--sigint-ok", help="end with 0, not 130, on Ctrl-C"),
    Option(name="ca_file", long="--ca-file", metavar="FILE", help="trust this CA for registries"),
    Option(name="plain_http", long="--plain-http", help="speak HTTP to a registry beyond loopback"),
    Option(name="help", long="--help", short="-h", help="show this help"),
)

DETAILS: Final = (
    "Everything after REF belongs to the package; `bpfpack run REF --help` shows its options.",
    "REF is a reference (ghcr.io/x/opensnoop:1.0), a path that begins with /, ./, ../ or ~"
    " (OCI archive, directory, .bpf.c or .o), an https:// URL of an archive, or - for stdin.",
    "-c and -p set the package's option with the role target-pid. A process in a container has"
    " another number there than here; where the one given is free here, -p names the right one."
    " COMMAND is run without a shell, has the terminal, and ends when the run does: it is killed"
    " even if bpfpack is, unless it gained privileges (sudo). What it started in other processes"
    " is not ended.",
    "EXPR compares fields, by their names in JSON: == != < <= > >=, in (A, B), in 10.0.0.0/8,"
    " ~ 'glob*', startswith, endswith, contains, has FLAG, exists(FIELD); and, or, not. Values are"
    " written as they are shown: ENOENT, SIGKILL, openat, 1.5ms, 4KiB, fe80::1. Of a field that an"
    " event has not every comparison is false. --max-events and --limit count what is shown.",
    "--trace-pipe reads a trace instance of its own, and cannot tell one program's lines from"
    " another's. It is all there is to see of a package without outputs.",
)

EXAMPLES: Final = (
    "bpfpack run ghcr.io/x/opensnoop",
    "bpfpack run -o json --timeout 10s ghcr.io/x/opensnoop --failed",
    "bpfpack run --filter 'ret == ENOENT and comm ~ \"ssh*\"' --fields comm,path REF",
    "bpfpack run -c 'make -j4' -f opened.txt ghcr.io/x/opensnoop",
    "bpfpack run --every 1s --by comm,path --limit 10 ghcr.io/x/opensnoop",
    "bpfpack run --dry-run ./opensnoop.bpf.c",
    "bpfpack run ghcr.io/x/opensnoop --help",
)


@valuetype
class RunRequest:
    """A parsed command line: bpfpack's options, REF, and the package's own arguments."""

    options: dict[str, tuple[str, ...]]
    reference: str | None
    arguments: tuple[str, ...]

    def flag(self, name: str) -> bool:
        """Whether a flag was given."""
        return name in self.options

    def value(self, name: str, default: str | None = None) -> str | None:
        """The value of an option, the last of several, or ``default``."""
        return self.options[name][-1] if name in self.options else default

    def values(self, name: str) -> tuple[str, ...]:
        """All values of an option, in the order in which they were given."""
        return self.options.get(name, ())


_BY_SPELLING: Final = {
    spelling: option for option in OPTIONS for spelling in (option.long, option.short) if spelling
}


def parse_run(argv: Sequence[str]) -> RunRequest:
    """Parse ``run``'s arguments: options before REF are ours, all after it the package's.

    Raises UsageError.

    >>> parse_run(["-qo", "json", "ghcr.io/x/opensnoop", "--pid", "7"]).arguments
    ('--pid', '7')
    """
    found: dict[str, tuple[str, ...]] = {}
    rest = list(argv)
    while rest:
        word = rest.pop(0)
        if word == "--":
            break
        if word == "-" or not word.startswith("-"):
            rest.insert(0, word)
            break
        if word.startswith("--"):
            spelling, has_value, value = word.partition("=")
            _take(found, spelling, value if has_value else None, rest)
        else:
            _take_short(found, word, rest)
    reference = rest.pop(0) if rest else None
    return RunRequest(options=found, reference=reference, arguments=tuple(rest))


def is_ours(word: str) -> bool:
    """Say whether ``word`` is an option of bpfpack's.

    >>> is_ours("--timeout=10s"), is_ours("--uid"), is_ours("10s")
    (True, False, False)
    """
    return word.partition("=")[0] in _BY_SPELLING


def _take_short(found: dict[str, tuple[str, ...]], word: str, rest: list[str]) -> None:
    """Take ``-q``, ``-qv``, ``-ojson`` and ``-o json``."""
    letters = word[1:]
    while letters:
        letter, letters = letters[0], letters[1:]
        option = _BY_SPELLING.get(f"-{letter}")
        if option is not None and option.metavar is not None:
            _take(found, f"-{letter}", letters or None, rest)
            return
        _take(found, f"-{letter}", None, rest)


def _take(
    found: dict[str, tuple[str, ...]], spelling: str, value: str | None, rest: list[str]
) -> None:
    option = _BY_SPELLING.get(spelling)
    if option is None:
        raise _unknown(spelling)
    if option.metavar is None:
        if value is not None:
            raise UsageError(f"{spelling} takes no value")
        found[option.name] = (option.value,)
        return
    if value is None:
        if not rest:
            raise UsageError(f"{spelling} needs a value: {option.metavar}")
        value = rest.pop(0)
    if not value and option.metavar == "FILE":
        raise UsageError(f"{spelling} needs the name of a file")
    plain = value.rpartition(":")[2] if option.named else value
    if option.choices and plain not in option.choices:
        raise UsageError(f"{spelling}: {plain!r} is not one of {', '.join(option.choices)}")
    before = found.get(option.name, ()) if option.repeatable else ()
    found[option.name] = (*before, value)


def _unknown(spelling: str) -> UsageError:
    error = UsageError(f"no such option of run: {spelling}")
    from difflib import get_close_matches

    near = get_close_matches(spelling, list(_BY_SPELLING), n=1, cutoff=_NEAR)
    meant = f"did you mean {near[0]}? " if near else ""
    return error.with_hint(
        f"{meant}the package's own options come after REF; `bpfpack run --help` lists ours"
    )


def help_text() -> str:
    """``bpfpack run --help``."""
    from textwrap import wrap

    left = [_left(option) for option in OPTIONS]
    size = max(map(len, left))
    lines = [
        "Usage: bpfpack run [OPTIONS] REF [PACKAGE OPTIONS]",
        "",
        "Fetch, verify, load and show a package.",
        "",
        *(line for paragraph in DETAILS for line in (*wrap(paragraph, 88), "")),
        "Options:",
        *(f"  {name.ljust(size)}  {o.help}" for name, o in zip(left, OPTIONS, strict=True)),
        "",
        "Examples:",
        *(f"  {example}" for example in EXAMPLES),
    ]
    return "\n".join(lines)


def _left(option: Option) -> str:
    short = f"{option.short}, " if option.short else "    "
    return f"{short}{option.long}" + (f" {option.metavar}" if option.metavar else "")
