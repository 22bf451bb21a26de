"""``--buffer-size [NAME=]SIZE`` and ``--map-size NAME=N``."""

from bpfpack.cli.run_options import RunRequest
from bpfpack.cli.units import byte_count, count
from bpfpack.runner.sizes import Sizes, sizes
from bpfpack.spec.config import Config
from bpfpack.spec.errors import UsageError
from bpfpack.spec.objectspec import ObjectSpec


def sizes_of(spec: ObjectSpec, config: Config, page: int, request: RunRequest) -> Sizes:
    """Return what the options ask for; raises UsageError."""
    buffers: dict[str | None, int] = {}
    for word in request.values("buffer_size"):
        name, equals, text = word.rpartition("=")
        if equals and not name:
            raise UsageError(f"--buffer-size: {word[:80]!r} has no NAME before the '='")
        buffers[name or None] = byte_count(text, "--buffer-size")
    maps: dict[str, int] = {}
    for word in request.values("map_size"):
        name, equals, text = word.rpartition("=")
        if not name or not equals:
            raise UsageError(f"--map-size: {word[:80]!r} is not of the form NAME=N")
        maps[name] = count(text, "--map-size")
    return sizes(spec, config, page, buffers=buffers, maps=maps)
