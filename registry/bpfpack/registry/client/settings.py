"""How a client behaves; the defaults are those of the command line."""

from collections.abc import Mapping
from pathlib import Path

from bpfpack.spec.value import field, valuetype


@valuetype
class Settings:
    """Times are in seconds.

    ``plain_http`` allows HTTP without TLS to hosts that are not loopback; credentials are
    never sent there.  ``realms`` are, by registry as the user calls it, the host names that
    may be given credentials as token services although they belong to another domain.
    ``certificates`` are directories of docker's form, the first to be asked first.
    """

    plain_http: bool = False
    ca_file: Path | None = None
    realms: Mapping[str, frozenset[str]] = field(default_factory=dict)
    connect_timeout: float = 10.0
    read_timeout: float = 30.0
    # For one question with all its retries, redirects and tokens; not for a blob's body.
    deadline: float = 120.0
    attempts: int = 5
    # Bytes a second; a download that stays below it is given up, and asked for again.
    slowest: float = 1024.0
    # Of a chunked upload, when the registry refuses the blob in one piece.
    chunk: int = 16 * 1024 * 1024
    certificates: tuple[Path, ...] = (Path("/etc/docker/certs.d"),)
    user_agent: str = "bpfpack"
