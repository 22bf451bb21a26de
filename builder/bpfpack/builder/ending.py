"""Signals that end a build, as exceptions: what is temporary goes with it."""

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType, TracebackType
from typing import Any, Final, Self

_SIGNALS: Final = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
#: What Python does of itself; whoever set a handler of their own keeps it.
_DEFAULTS: Final = (signal.SIG_DFL, signal.default_int_handler)


class Ending:
    """SIGINT, SIGTERM and SIGHUP raise while the context lasts; in the main thread only.

    SIGINT raises KeyboardInterrupt, the others SystemExit with 128 and the signal's number,
    as a shell has it.  One that was ignored before (``nohup``) stays ignored.
    """

    def __init__(self) -> None:
        self._before: dict[int, Any] = {}
        self._noted: int | None = None
        self._is_held = False

    def __enter__(self) -> Self:
        if threading.current_thread() is threading.main_thread():
            for number in _SIGNALS:
                if signal.getsignal(number) in _DEFAULTS:
                    self._before[number] = signal.signal(number, self._on_signal)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, e: BaseException | None, tb: TracebackType | None
    ) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    @contextmanager
    def held(self) -> Iterator[None]:
        """Do the block whole: a signal that comes meanwhile raises at its end."""
        self._is_held = True
        try:
            yield
        finally:
            self._is_held = False
        if self._noted is not None:
            _raise(self._noted)

    def _on_signal(self, number: int, frame: FrameType | None) -> None:
        if self._is_held:
            self._noted = number
        else:
            _raise(number)


def _raise(number: int) -> None:
    if number == signal.SIGINT:
        raise KeyboardInterrupt
    raise SystemExit(128 + number)
