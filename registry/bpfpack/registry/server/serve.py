"""Runs the registry: listening socket, data directory, signals, orderly end."""

import asyncio
import errno
import ipaddress
import logging
import signal
import socket
import ssl
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Final

from aiohttp import web
from aiohttp.http_exceptions import HttpProcessingError

from bpfpack.registry.server.app import make_app
from bpfpack.registry.server.disk import DiskStorage
from bpfpack.registry.server.drain import Drain
from bpfpack.spec.errors import StoreError, TransportError, UsageError
from bpfpack.spec.value import valuetype

_LOG: Final = logging.getLogger(__name__)
# What is under way when the server is told to stop has so long to end.
_GRACE_SECONDS: Final = 5
# What did not is cancelled, and has so long to clean up.
_CANCEL_SECONDS: Final = 1
_KEEPALIVE_SECONDS: Final = 75
# How long the rest of a refused body is read, so that the client sees the answer.
_LINGER_SECONDS: Final = 2
_READ_BUFFER: Final = 256 * 1024
_SWEEP_SECONDS: Final = 600


@valuetype
class Tls:
    """Where the server's certificate chain and its key are, both PEM."""

    certificate: Path
    key: Path


@valuetype
class ServerConfig:
    """What to serve, and where.

    ``listen`` is ``HOST:PORT`` (``[::1]:0`` takes any free port).  ``hosts`` are the names,
    beside IP addresses and localhost, by which clients may call the server.
    ``upload_idle`` is in seconds.
    """

    data: Path
    listen: str = "127.0.0.1:5000"
    tls: Tls | None = None
    allow_remote: bool = False
    hosts: frozenset[str] = frozenset()
    upload_idle: float = 24 * 3600


def run_server(
    listen: str = "127.0.0.1:5000",
    *,
    data: Path,
    tls: Tls | None = None,
    ready: Callable[[str], None] = lambda url: None,
    allow_remote: bool = False,
    hosts: frozenset[str] = frozenset(),
) -> None:
    """Serve until SIGINT or SIGTERM; ``ready`` is called with the base URL once it listens.

    Raises UsageError for an address that makes no sense or is open to others without
    ``allow_remote``, TransportError when it cannot listen there, StoreError when the data
    directory cannot be used or another server has it.
    """
    config = ServerConfig(data=data, listen=listen, tls=tls, allow_remote=allow_remote, hosts=hosts)
    asyncio.run(_until_signalled(config, ready))


@asynccontextmanager
async def serving(config: ServerConfig) -> AsyncIterator[str]:
    """Serve within the block, which is given the base URL; raises as `run_server` does."""
    context = _tls_context(config.tls) if config.tls else None
    async with AsyncExitStack() as stack:
        listener = _listen(config)
        stack.callback(listener.close)
        storage = DiskStorage(config.data)
        stack.callback(storage.close)
        drain, names = Drain(), frozenset(name.lower() for name in config.hosts)
        runner = web.AppRunner(
            make_app(storage, names, drain),
            access_log=None,
            auto_decompress=False,
            keepalive_timeout=_KEEPALIVE_SECONDS,
            lingering_time=_LINGER_SECONDS,
            logger=_quiet_logger(),
            read_bufsize=_READ_BUFFER,
            shutdown_timeout=_CANCEL_SECONDS,
        )
        await runner.setup()
        stack.push_async_callback(runner.cleanup)
        site = web.SockSite(runner, listener, ssl_context=context)
        await site.start()
        # Unwound from the last to the first: no new connections, then none at all.
        stack.push_async_callback(drain.wait, _GRACE_SECONDS)
        stack.push_async_callback(site.stop)
        sweeper = asyncio.create_task(_sweep(storage, config.upload_idle))
        stack.callback(sweeper.cancel)
        scheme = "https" if config.tls else "http"
        yield f"{scheme}://{_authority(listener)}"


async def _until_signalled(config: ServerConfig, ready: Callable[[str], None]) -> None:
    stop, loop = asyncio.Event(), asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stop.set)
    try:
        async with serving(config) as url:
            ready(url)
            await stop.wait()
    finally:
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.remove_signal_handler(number)


async def _sweep(storage: DiskStorage, idle: float) -> None:
    while True:
        try:
            await storage.expire_uploads(idle)
        except StoreError:
            _LOG.exception("cannot remove uploads that timed out")
        await asyncio.sleep(_SWEEP_SECONDS)


def _listen(config: ServerConfig) -> socket.socket:
    host, port = _parse_address(config.listen)
    if not _is_loopback(host) and not config.allow_remote:
        raise UsageError(
            f"{config.listen} is reachable from other machines, and this registry has no"
            " authentication: whoever reaches it can push and delete"
            + ("" if config.tls else ", and without TLS can change what others pull")
        ).with_hint("listen on 127.0.0.1, or allow it explicitly")
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        return socket.create_server((host, port), family=family)
    except OSError as e:
        if e.errno == errno.EADDRINUSE:
            raise TransportError(f"{config.listen} is already in use").with_hint(
                "stop what listens there, or choose another port with --listen"
            ) from e
        raise TransportError(f"cannot listen on {config.listen}: {e.strerror or e}") from e


def _parse_address(text: str) -> tuple[str, int]:
    host, _, port = text.rpartition(":")
    host = host.removeprefix("[").removesuffix("]")
    if not host or not (port.isascii() and port.isdigit() and len(port) <= 5) or int(port) > 65535:
        raise UsageError(f"not HOST:PORT to listen on: {text[:80]!r}")
    return host, int(port)


def _is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _authority(listener: socket.socket) -> str:
    host, port = listener.getsockname()[:2]
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def _tls_context(tls: Tls) -> ssl.SSLContext:
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    try:
        context.load_cert_chain(tls.certificate, tls.key)
    except (OSError, ssl.SSLError) as e:
        raise UsageError(f"cannot use {tls.certificate} with {tls.key}: {e}") from e
    return context


def _quiet_logger() -> logging.Logger:
    """Return aiohttp's logger, with one line for a malformed request instead of a traceback."""
    logger = logging.getLogger(f"{__name__}.http")
    if not any(found is _shorten for found in logger.filters):
        logger.addFilter(_shorten)
    return logger


def _shorten(record: logging.LogRecord) -> bool:
    error = record.exc_info[1] if record.exc_info else None
    if isinstance(error, HttpProcessingError):
        record.exc_info = None
        record.msg, record.args = "malformed request: %.200r", (error.message,)
    return True
