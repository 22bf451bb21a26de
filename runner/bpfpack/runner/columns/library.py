"""pyarrow, imported when columns are asked for, and not before."""

import os
from typing import Final

from bpfpack.spec.errors import UsageError

_VARIABLE: Final = "JE_ARROW_MALLOC_CONF"


def load(what: str) -> None:
    """Import pyarrow; raises UsageError, naming ``what`` takes it, where it cannot be.

    Its jemalloc would start a thread at once, which keeps the privileges that a run gives up:
    capset(2) is about one thread.
    """
    before = os.environ.get(_VARIABLE)
    os.environ[_VARIABLE] = "background_thread:false"
    try:
        import pyarrow  # noqa: F401 - for what imports it later
    except ImportError as e:
        raise UsageError(f"{what} takes pyarrow, which cannot be imported: {e}").with_hint(
            "pip install 'bpfpack[arrow]'"
        ) from e
    finally:
        if before is None:
            del os.environ[_VARIABLE]
        else:
            os.environ[_VARIABLE] = before
