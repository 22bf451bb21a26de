"""Connections whose servers have only so long: a time limit for each read is not enough.

A server that sends one byte before every time limit would be waited for without end, so
the whole head of a response has a limit too, and so has what http.client reads of a body at
once: the lines between its chunks, and those after the last (RFC 9112, 7.1.2).
"""

import contextlib
import http.client
import socket
import threading
from collections.abc import Callable, Iterator
from typing import Any, Final
from weakref import WeakKeyDictionary

from requests.adapters import HTTPAdapter
from urllib3 import HTTPConnectionPool, HTTPResponse, HTTPSConnectionPool, ProxyManager
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.exceptions import HTTPError

# Seconds for the rest of a head whose first byte came just in time.
_GRACE: Final = 5.0


def grace(limit: float) -> float:
    """Return the seconds for all that is read in lines, where each read has ``limit``."""
    return limit + min(limit, _GRACE)


@contextlib.contextmanager
def within(response: HTTPResponse, seconds: float) -> Iterator[None]:
    """Cut the connection of a response when the block takes longer; raises TimeoutError then."""
    sock = _SOCKETS.get(response)
    if sock is None:
        yield
        return
    with _limited(sock, seconds, "the body of the response trickles"):
        yield


#: What a response is read from; http.client lets go of the connection's when it is the last.
_SOCKETS: Final[WeakKeyDictionary[HTTPResponse, socket.socket]] = WeakKeyDictionary()


@contextlib.contextmanager
def _limited(sock: socket.socket, seconds: float, what: str) -> Iterator[None]:
    late = threading.Event()

    def cut() -> None:
        late.set()
        try:
            # Not SSLSocket's own, which would pull its state from under the reader.
            socket.socket.shutdown(sock, socket.SHUT_RDWR)
        except OSError:
            return  # it ended by itself meanwhile

    timer = threading.Timer(seconds, cut)
    timer.daemon = True
    timer.start()
    try:
        yield
    except (OSError, http.client.HTTPException, HTTPError) as e:
        if late.is_set():
            raise TimeoutError(what) from e
        raise
    finally:
        timer.cancel()
    if late.is_set():  # what was cut can look like what is short
        raise TimeoutError(what)


def _in_time(connection: HTTPConnection, respond: Callable[[], HTTPResponse]) -> HTTPResponse:
    """Return what ``respond`` reads, or cut the connection; raises TimeoutError then."""
    limit, sock = connection.timeout, connection.sock
    if not isinstance(limit, int | float) or not isinstance(sock, socket.socket):
        return respond()
    response = None
    try:
        with _limited(sock, grace(limit), "the head of the response trickles"):
            response = respond()
    except TimeoutError:
        if response is not None:
            response.close()
        raise
    _SOCKETS[response] = sock
    return response


class _Http(HTTPConnection):
    def getresponse(self) -> HTTPResponse:  # type: ignore[override]
        return _in_time(self, super().getresponse)


class _Https(HTTPSConnection):
    def getresponse(self) -> HTTPResponse:  # type: ignore[override]
        return _in_time(self, super().getresponse)


class _HttpPool(HTTPConnectionPool):
    ConnectionCls = _Http


class _HttpsPool(HTTPSConnectionPool):
    ConnectionCls = _Https


_POOLS: Final = {"http": _HttpPool, "https": _HttpsPool}


class ImpatientAdapter(HTTPAdapter):
    """requests' adapter over such connections, directly and through a proxy."""

    def init_poolmanager(self, *args: Any, **kwargs: Any) -> None:
        super().init_poolmanager(*args, **kwargs)
        self.poolmanager.pool_classes_by_scheme = _POOLS

    def proxy_manager_for(self, proxy: str, **kwargs: Any) -> ProxyManager:
        manager: ProxyManager = super().proxy_manager_for(proxy, **kwargs)
        manager.pool_classes_by_scheme = _POOLS
        return manager
