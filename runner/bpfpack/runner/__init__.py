"""Touches the kernel: plan, load, attach, events, output.

What it exports is for programs that embed bpfpack; docs/embedding.md shows how.
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from bpfpack.runner.api.batches import RecordBatch
    from bpfpack.runner.api.columns import ColumnReader
    from bpfpack.runner.api.lines import LineReader
    from bpfpack.runner.api.maps import TypedMap
    from bpfpack.runner.api.outputs import EventReader
    from bpfpack.runner.api.package import Package, open
    from bpfpack.runner.api.session import PackageSession
    from bpfpack.runner.api.trusting import InsecureWarning, insecure
    from bpfpack.runner.api.variables import Globals

__all__ = [
    "ColumnReader",
    "EventReader",
    "Globals",
    "InsecureWarning",
    "LineReader",
    "Package",
    "PackageSession",
    "RecordBatch",
    "TypedMap",
    "insecure",
    "open",
]

_MODULES = {
    "ColumnReader": "columns",
    "EventReader": "outputs",
    "Globals": "variables",
    "InsecureWarning": "trusting",
    "LineReader": "lines",
    "Package": "package",
    "PackageSession": "session",
    "RecordBatch": "batches",
    "TypedMap": "maps",
    "insecure": "trusting",
    "open": "package",
}


def __getattr__(name: str) -> Any:
    """Import what is exported when it is first used (PEP 562): `bpfpack run` uses none of it."""
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    found = getattr(import_module(f"{__name__}.api.{_MODULES[name]}"), name)
    globals()[name] = found
    return found
