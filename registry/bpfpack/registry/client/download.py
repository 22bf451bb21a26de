"""Files by https:// URL, for packages that are kept on a web server."""

from collections.abc import Iterator
from contextlib import closing, contextmanager

from bpfpack.registry.client.core import Call
from bpfpack.registry.client.remote import RegistryClient
from bpfpack.registry.client.settings import Settings
from bpfpack.registry.client.urls import origin
from bpfpack.registry.redact import redact_url
from bpfpack.spec.bounded import Readable
from bpfpack.spec.errors import TransportError, UsageError


@contextmanager
def download(url: str, settings: Settings) -> Iterator[Readable]:
    """Open what an https URL names; no credentials are sent, and the caller bounds the read.

    Raises UsageError for what is no https URL, NotFound, Denied, TransportError.
    """
    try:
        place = origin(url)
    except TransportError as e:
        raise UsageError(str(e)) from e
    if place.scheme != "https":
        raise UsageError(f"not an https URL: {redact_url(url)}")
    with RegistryClient(settings, lookup=lambda _registry, _repository: None) as client:
        call = Call(method="GET", url=url, what=redact_url(url), registry=place, name=place.host)
        _, stream = client.stream(call)
        with closing(stream):
            yield stream
