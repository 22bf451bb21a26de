"""Feeds a target: with what is covered as a guide where atheris is installed, else blindly."""

import importlib
import os
import signal
import sys
import time
import traceback
from pathlib import Path
from typing import Any, Final

from bpfpack.spec.errors import BpfpackError
from tests.fuzz.mutation import Mutator
from tests.fuzz.targets import Target

#: What one input may take.
SECONDS: Final = 10
MEMORY_MIB: Final = 2048
_LONGEST: Final = 1 << 16


class Fed:
    """How many inputs a target had, and each kind of fault once, with its input."""

    def __init__(self, target: Target, found: Path | None = None) -> None:
        """``found`` is where inputs that are faults are kept, when they are."""
        self._target, self._found = target, found
        self.count, self.faults = 0, dict[str, bytes]()

    def feed(self, data: bytes) -> None:
        """Give one input to the target."""
        self.count += 1
        try:
            self._target.run(data)
        except BpfpackError:
            return
        except Exception as e:  # noqa: BLE001 - any of them is what is looked for
            last = traceback.extract_tb(e.__traceback__)[-1]
            self._fault(f"{type(e).__name__} at {last.filename}:{last.lineno}: {e}"[:300], data)

    def _fault(self, what: str, data: bytes) -> None:
        where = what.partition(": ")[0]
        if where in self.faults:
            return
        self.faults[where] = data
        print(what, file=sys.stderr, flush=True)
        if self._found:
            (self._found / f"fault-{len(self.faults)}").write_bytes(data)


def blindly(target: Target, seed: str, *, count: int | None = None, seconds: float = 0) -> Fed:
    """Damage the good inputs, so many times or for so long; a hang ends the process."""
    fed, seeds = Fed(target), list(target.seeds())
    end = time.monotonic() + seconds
    for data in seeds:
        fed.feed(data)
    before = signal.signal(signal.SIGALRM, signal.SIG_DFL)
    try:
        while fed.count < count if count is not None else time.monotonic() < end:
            mutator = Mutator(f"{seed}:{fed.count}")
            signal.alarm(SECONDS)
            fed.feed(target.change(mutator, mutator.choose(seeds))[:_LONGEST])
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)
    return fed


def guided(name: str, seconds: int, directory: Path) -> int:
    """Fuzz in a fork, since libFuzzer ends its process; returns how that ended."""
    if pid := os.fork():
        return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    try:
        _guided(name, seconds, directory)
    except BaseException:  # noqa: BLE001 - it must not go on with what its parent does
        traceback.print_exc()
    finally:
        os._exit(1)


def _guided(name: str, seconds: int, directory: Path) -> None:
    import atheris  # type: ignore[import-untyped]

    with atheris.instrument_imports(include=["bpfpack.spec", "bpfpack.registry"]):
        for module in [m for m in sys.modules if m.startswith(("bpfpack", "tests."))]:
            if module != __name__:
                del sys.modules[module]
        targets: Any = importlib.import_module("tests.fuzz.targets")
    target = targets.TARGETS[name]
    # The module that the instrumented parsers raise from, not the one imported above.
    globals()["BpfpackError"] = importlib.import_module("bpfpack.spec.errors").BpfpackError
    fed = Fed(target, directory)
    corpus = directory / "corpus"
    corpus.mkdir()
    for i, data in enumerate(target.seeds()):
        (corpus / str(i)).write_bytes(data)

    def change(data: bytes, most: int, seed: int) -> bytes:
        mutator = Mutator(seed)
        if mutator.chance() < 0.5 or not data:
            return bytes(atheris.Mutate(data, most))
        return bytes(target.change(mutator, data)[:most])

    options = (
        f"-max_total_time={seconds}",
        f"-timeout={SECONDS}",
        f"-rss_limit_mb={MEMORY_MIB}",
        f"-max_len={_LONGEST}",
        f"-artifact_prefix={directory}/",
        "-print_final_stats=1",
        "-verbosity=0",
    )
    atheris.Setup([sys.argv[0], *options, str(corpus)], fed.feed, custom_mutator=change)
    atheris.Fuzz()
