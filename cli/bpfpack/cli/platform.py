"""The platform of this host, as OCI spells it."""

import os
from typing import Final

from bpfpack.spec.descriptor import Platform

_OCI: Final = {"x86_64": "amd64", "aarch64": "arm64", "armv7l": "arm", "i686": "386"}


def host_platform() -> Platform:
    """Return ``linux/amd64`` and the like."""
    machine = os.uname().machine
    return Platform(os="linux", architecture=_OCI.get(machine, machine))
