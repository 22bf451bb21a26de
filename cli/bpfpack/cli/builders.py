"""Users whose builds count as built on this host when root runs them through sudo."""

import os
from collections.abc import Iterator
from typing import Any

from bpfpack.cli.host import Host
from bpfpack.registry.home import Home, HomeBuilds
from bpfpack.registry.trust import policyfile
from bpfpack.spec.errors import SpecError, UsageError
from bpfpack.spec.policy import LOCAL_BUILDS, LocalBuilder


def add(host: Host, name: str) -> None:
    """Record a user's public host key, as it is now, in root's policy."""
    _only_root()
    home = Home.of_user(name)
    pem = HomeBuilds(home).public_pem()
    if pem is None:
        raise UsageError(f"{home.user.name} has built nothing on this host yet").with_hint(
            f"{home.user.name} runs `bpfpack build` first: that makes the key to record"
        )
    try:
        builder = LocalBuilder(uid=home.user.uid, name=home.user.name, pem=pem)
    except SpecError as e:
        raise UsageError(f"the host key of {home.user.name} cannot be used: {e}") from e
    policyfile.add_builder(host.dirs.config, builder)
    host.printer.result(
        f"what {builder} builds counts as built here: key SHA256:{builder.fingerprint[:16]}"
    )


def remove(host: Host, name: str) -> None:
    """Forget a user, by name or number."""
    _only_root()
    removed = policyfile.remove_builder(host.dirs.config, name)
    host.printer.result(f"what {removed} builds counts no more")


def rows(host: Host) -> Iterator[dict[str, Any]]:
    """The lines of `trust ls` about them."""
    for builder in host.policy.local_builders.values():
        yield {
            "scope": LOCAL_BUILDS,
            "key": str(builder),
            "fingerprint": f"SHA256:{builder.fingerprint}",
            "level": "enforce",
            "signedAs": None,
            "unnamed": False,
            "maxAge": None,
            "host": False,
            "source": str(host.dirs.config / policyfile.NAME),
        }


def _only_root() -> None:
    if os.geteuid() != 0:
        raise UsageError("--local-builds is a rule of root's: nobody else runs others' builds")
