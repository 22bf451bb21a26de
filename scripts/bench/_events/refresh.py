"""Prints the median ms of CPU that reading a histogram map of 10,000 keys takes, drawing aside.

refresh.py REPO DRIVER DIRECTORY
"""

import os
import statistics
import subprocess
import sys
import time
from pathlib import Path

_ROUNDS = 9
_KEYS = 10_000


def main(repo: str, driver: str, directory: str) -> None:
    """Load the package in this process, let the driver fill its map, and read that."""
    sys.path.insert(0, repo)
    from bpfpack.builder.build import BuildOptions, build
    from bpfpack.runner.events.histogram import HistogramSampler
    from bpfpack.runner.events.tables import MapOutput
    from bpfpack.runner.kernel import LiveKernel
    from bpfpack.runner.plan import plan
    from bpfpack.runner.session import Session
    from bpfpack.spec.agreement import key_value_layouts
    from bpfpack.spec.objectspec import ObjectSpec
    from tests.kit.kernelobjects import admitted
    from tests.kit.sources import object_of

    result = build(Path(directory), BuildOptions())
    spec, config = ObjectSpec.from_bytes(object_of(result)), result.config
    (output,) = config.outputs
    key, value = key_value_layouts(spec, config, next(m for m in spec.maps if m.name == output.map))
    about = MapOutput(name=output.name, key=key, value=value, alone=True)
    planned = plan(spec, config, LiveKernel())
    with Session.open(admitted(object_of(result), config), planned) as session:
        session.attach()
        sampler = HistogramSampler("json", output, about, session.map(output.map))
        pid, times = str(os.getpid()), []
        for _ in range(_ROUNDS):
            subprocess.run([driver, pid, "count", "400000"], check=True, capture_output=True)
            began = time.process_time()
            found = sampler.refresh()
            times.append((time.process_time() - began) * 1000)
            if found.keys != _KEYS:
                sys.exit(f"{found.keys} keys read, not {_KEYS}")
    print(statistics.median(times[1:]))


if __name__ == "__main__":
    main(*sys.argv[1:])
