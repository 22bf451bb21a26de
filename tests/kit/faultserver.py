"""Runs command lines of ours in forks of one warm process, armed to fail at a given change.

``python -m tests.kit.faultserver`` under LD_PRELOAD of the library that `faults` compiles.
Reads a JSON request a line and answers with one: ``start`` forks and gives a pid, ``wait``
gives the status that waitpid(2) has for it, stops included.
"""

import atexit
import ctypes
import gc
import importlib
import json
import os
import pkgutil
import sys
import threading
from typing import Any

import bpfpack
from bpfpack.cli import entry


def main() -> int:
    """Serve until stdin ends."""
    for module in pkgutil.walk_packages(bpfpack.__path__, "bpfpack."):
        if not module.name.endswith("__main__"):
            importlib.import_module(module.name)
    importlib.import_module("tomlkit")
    gc.freeze()  # a collection in a fork would copy every page
    answers = os.fdopen(os.dup(1), "w", buffering=1)
    for line in sys.stdin.buffer:
        request: dict[str, Any] = json.loads(line)
        if "wait" in request:
            answers.write(json.dumps(os.waitpid(request["wait"], os.WUNTRACED)[1]) + "\n")
        elif pid := os.fork():
            answers.write(json.dumps(pid) + "\n")
        else:
            _leave(_command(request))
    return 0


def _command(request: dict[str, Any]) -> int:
    _reopen(0, request["stdin"], os.O_RDONLY)
    for number, name in ((1, "stdout"), (2, "stderr")):
        _reopen(number, request[name], os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    os.environ.clear()
    os.environ.update(request["environ"])
    os.chdir(request["directory"])
    log = os.open(request["log"], os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC)
    run = _function(request["argv"]) if ":" in request["argv"][0] else None
    _armed(request, log)
    return run() if run else entry(request["argv"])


def _function(argv: list[str]) -> Any:
    module, name = argv[0].split(":")
    return lambda: getattr(importlib.import_module(module), name)(*argv[1:])


def _armed(request: dict[str, Any], log: int) -> None:
    arm = ctypes.CDLL(None).faults_arm
    arm.argtypes = [ctypes.c_char_p, ctypes.c_int, ctypes.c_long, ctypes.c_int, ctypes.c_int]
    arm.restype = None
    arm(request["directory"].encode(), request["kind"], request["at"], request["error"], log)


def _leave(code: int) -> None:
    """End as an interpreter does, threads first, without taking the modules apart."""
    threading._shutdown()  # type: ignore[attr-defined]
    atexit._run_exitfuncs()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


def _reopen(number: int, path: str, flags: int) -> None:
    fd = os.open(path, flags, 0o600)
    os.dup2(fd, number)
    os.close(fd)


if __name__ == "__main__":
    sys.exit(main())
