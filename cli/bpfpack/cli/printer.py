"""The one printer: everything bpfpack says to a person goes through it.

What comes from packages, registries, logs and events is made safe by `spec.safetext`
before a style is put around it, so no text from outside carries one of its own.
Colours and bars only on a terminal; ``NO_COLOR`` and ``TERM=dumb`` are honoured.
"""

import os
import select
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import cache
from typing import Any, Final, TextIO

from bpfpack.spec.errors import BpfpackError, BuildError, ProgramRejected, TrustError
from bpfpack.spec.safetext import fit, printable, width

_STYLES: Final = {"error": "31;1", "warning": "33;1", "hint": "36", "good": "32", "dim": "2"}
#: Lines of a compiler's or verifier's log that are shown unless asked for all.
_LOG_LINES: Final = 20
#: How long a message waits for room where nothing may be held up.
_PATIENCE_MS: Final = 50

FORMATS: Final = ("table", "wide", "json", "yaml")


class Printer:
    """Results to ``out``, everything about them to ``err``."""

    def __init__(self, out: TextIO, err: TextIO, environ: Mapping[str, str]) -> None:
        self._out, self._err = out, err
        dumb = bool(environ.get("NO_COLOR")) or environ.get("TERM") == "dumb"
        self._colour = {stream: stream.isatty() and not dumb for stream in (out, err)}
        self.quiet = False
        self.verbose = False
        #: Messages that find no reader are dropped: nothing may wait while programs are attached.
        self.waits = True

    @classmethod
    @cache
    def standard(cls) -> "Printer":
        """The one printer of this process: what is said of it holds for errors as well."""
        return cls(sys.stdout, sys.stderr, os.environ)

    @property
    def on_terminal(self) -> bool:
        """Whether results go to a terminal."""
        return self._out.isatty()

    @property
    def progress_on_terminal(self) -> bool:
        """Whether bars make sense."""
        return self._err.isatty() and not self.quiet

    @property
    def columns(self) -> int:
        """The width results are fitted to; 0 for no terminal, where nothing is cut."""
        if not self.on_terminal:
            return 0
        try:
            return os.get_terminal_size(self._out.fileno()).columns
        except OSError:
            return 80

    def result(self, text: str, style: str | None = None) -> None:
        """One line of the result; not silenced by ``-q``."""
        self._line(self._out, text, style)

    def text(self, text: str) -> None:
        """Several lines of our own or made safe line by line."""
        for line in text.splitlines():
            self._line(self._out, line)

    def info(self, text: str, style: str | None = None) -> None:
        """One line about what happens; silenced by ``-q``."""
        if not self.quiet:
            self._line(self._err, text, style)

    def warn(self, text: str) -> None:
        """One line that matters even with ``-q``."""
        self._line(self._err, text, label="warning")

    def record(self, text: str) -> None:
        """One line for a program to read, beside the result; not silenced by ``-q``."""
        self._line(self._err, text)

    def warn_lines(self, text: str) -> None:
        """What a tool of ours warns of, line by line as it wrote it."""
        first, *more = text.splitlines() or [""]
        self.warn(first)
        for line in more:
            self._line(self._err, f"  {line}")

    def error(self, error: BpfpackError) -> None:
        """What failed and why, one line first; then reasons and log; then what to do."""
        self._line(self._err, str(error), label="error")
        if isinstance(error, TrustError):
            for reason in error.reasons:
                self._line(self._err, f"  - {reason}")
        # A compiler's first error explains the others, a verifier's last line those before.
        if isinstance(error, BuildError):
            self._log(error.log, keep_first=True)
        elif isinstance(error, ProgramRejected):
            self._log(error.log, keep_first=False)
        if error.hint:
            for line in error.hint.splitlines():
                self._line(self._err, f"  {line}", "hint")

    def listing(
        self,
        rows: Sequence[Mapping[str, Any]],
        columns: Mapping[str, Callable[[Mapping[str, Any]], object]],
        format_: str,
    ) -> None:
        """Print rows in one of `FORMATS`; ``columns`` are the titles of the table."""
        if format_ in ("json", "yaml"):
            self.document(list(rows), format_)
            return
        table = [
            list(columns),
            *([printable(str(get(row))) for get in columns.values()] for row in rows),
        ]
        sizes = [max(width(line[i]) for line in table) for i in range(len(columns))]
        for line in table:
            cells = [c + " " * (size - width(c)) for c, size in zip(line, sizes, strict=True)]
            shown = "  ".join(cells).rstrip()
            self.result(fit(shown, self.columns) if self.columns and format_ == "table" else shown)

    def document(self, value: object, format_: str) -> None:
        """Print one JSON or YAML document."""
        if format_ == "yaml":
            import yaml

            dumped = yaml.safe_dump(value, sort_keys=False, allow_unicode=False)
            with self.writing():
                self._out.write(dumped)
            return
        import json

        indent = 2 if self.on_terminal else None
        with self.writing():
            self._out.write(json.dumps(value, indent=indent, ensure_ascii=True) + "\n")

    @contextmanager
    def writing(self) -> Iterator[TextIO]:
        """Give the place of results to a block; a full disk there is an error of ours.

        A closed pipe stays what it is: no error, and `guard` ends quietly.
        """
        try:
            yield self._out
        except (BrokenPipeError, BpfpackError):  # KernelError is an OSError too
            raise
        except OSError as e:
            abandon(self._out)
            raise BpfpackError(f"cannot write the output: {e.strerror}") from e

    def _log(self, log: str, *, keep_first: bool) -> None:
        lines = log.splitlines()
        hidden = 0 if self.verbose else max(len(lines) - _LOG_LINES, 0)
        shown = lines[: len(lines) - hidden] if keep_first else lines[hidden:]
        cut = f"  ... {hidden} lines {'more' if keep_first else 'before'}; --verbose shows all"
        if hidden and not keep_first:
            self._line(self._err, cut, "dim")
        for line in shown:
            self._line(self._err, f"  {line}")
        if hidden and keep_first:
            self._line(self._err, cut, "dim")

    def _line(
        self, stream: TextIO, text: str, style: str | None = None, *, label: str | None = None
    ) -> None:
        """Write one safe line; ``label`` is a word of ours before it, in its own style."""
        before = f"{self._styled(stream, f'{label}:', label)} " if label else ""
        safe = before + self._styled(stream, printable(text), style)
        encoding = stream.encoding or "ascii"
        # A locale that cannot spell it gets escapes, not a traceback.
        line = safe.encode(encoding, "backslashreplace").decode(encoding) + "\n"
        if stream is self._err:
            self._tell(line)
        else:
            with self.writing():
                stream.write(line)

    def _tell(self, line: str) -> None:
        """Write a message; that nobody can read it changes nothing of how a command ends."""
        try:
            if self.waits or _takes(self._err.fileno()):
                self._err.write(line)
                self._err.flush()
        except OSError:
            abandon(self._err)

    def _styled(self, stream: TextIO, text: str, style: str | None) -> str:
        if style is None or not self._colour[stream]:
            return text
        return f"\x1b[{_STYLES[style]}m{text}\x1b[0m"


def _takes(fd: int) -> bool:
    """Whether a line can be written at once: a pipe that polls writable has room for PIPE_BUF."""
    poll = select.poll()
    poll.register(fd, select.POLLOUT)
    return bool(poll.poll(_PATIENCE_MS))


def settle(stream: TextIO) -> None:
    """Write what is buffered, or give it up: Python would try again at exit, and fail."""
    try:
        stream.flush()
    except OSError:
        abandon(stream)


def abandon(stream: TextIO) -> None:
    """What is buffered would fail again when Python ends; it goes nowhere.

    The descriptor is given back first: there may be no other left to open.
    """
    number = stream.fileno()
    os.close(number)
    nowhere = os.open(os.devnull, os.O_WRONLY)
    if nowhere != number:
        os.dup2(nowhere, number)
        os.close(nowhere)
