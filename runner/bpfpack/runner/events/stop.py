"""Signals that end a run, as a descriptor to poll and a reason to read.

The first signal is noted and makes ``fd`` readable; a second one ends the process at once,
because whoever sends it has seen the first do nothing.
"""

import os
import signal
from collections.abc import Callable
from types import FrameType, TracebackType
from typing import Any, Final, Literal, Self

StopReason = Literal["sigint", "sigterm", "sighup"]

_REASONS: Final[dict[int, StopReason]] = {
    signal.SIGINT: "sigint",
    signal.SIGTERM: "sigterm",
    signal.SIGHUP: "sighup",
}


class StopSignals:
    """SIGINT, SIGTERM and SIGHUP while the context lasts; main thread only.

    A signal that was ignored before (``nohup``, a background job) stays ignored.
    """

    def __init__(self) -> None:
        self.reason: StopReason | None = None
        #: Called before a second signal ends the process: to undo what outlives it.
        self.at_exit: list[Callable[[], None]] = []
        self._before: dict[int, Any] = {}
        self._wakeup_before = -1

    def __enter__(self) -> Self:
        # Bytes written by the C-level handler end a poll even when the Python one runs late.
        self._ours, self._theirs = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        self._wakeup_before = signal.set_wakeup_fd(self._theirs, warn_on_full_buffer=False)
        for number in _REASONS:
            if signal.getsignal(number) is not signal.SIG_IGN:
                self._before[number] = signal.signal(number, self._on_signal)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        at: TracebackType | None,
    ) -> None:
        for number, handler in self._before.items():
            # A handler that was not set from Python is None and cannot be set again.
            signal.signal(number, signal.SIG_DFL if handler is None else handler)
        self._before.clear()
        signal.set_wakeup_fd(self._wakeup_before)
        os.close(self._ours)
        os.close(self._theirs)

    @property
    def fd(self) -> int:
        """Readable from the first signal on."""
        return self._ours

    def _on_signal(self, number: int, frame: FrameType | None) -> None:
        if self.reason is None:
            self.reason = _REASONS[number]
            return
        for undo in self.at_exit:
            undo()
        os._exit(128 + number)
