"""Connections whose servers have only so long: a time limit for each read is not enough.

A server that sends one byte before every time limit would be waited for without end, so
the whole head of a response has a limit too.  Bodies are watched where they are read.
"""

import http.client
import socket
import threading
from collections.abc import Callable
from typing import Any, Final

from requests.adapters import HTTPAdapter
from urllib3 import HTTPConnectionPool, HTTPResponse, HTTPSConnectionPool, ProxyManager
from urllib3.connection import HTTPConnection, HTTPSConnection

# Seconds for the rest of a head whose first byte came just in time.
_GRACE: Final = 5.0


def _in_time(connection: HTTPConnection, respond: Callable[[], HTTPResponse]) -> HTTPResponse:
    """Return what ``respond`` reads, or cut the connection; raises TimeoutError then."""
    limit, late, sock = connection.timeout, threading.Event(), connection.sock
    if not isinstance(limit, int | float) or not isinstance(sock, socket.socket):
        return respond()

    def cut() -> None:
        late.set()
        try:
            # Not SSLSocket's own, which would pull its state from under the reader.
            socket.socket.shutdown(sock, socket.SHUT_RDWR)
        except OSError:
            return  # it ended by itself meanwhile

    timer = threading.Timer(limit + min(limit, _GRACE), cut)
    timer.daemon = True
    timer.start()
    try:
        response = respond()
    except (OSError, http.client.HTTPException) as e:
        if late.is_set():
            raise TimeoutError(_TRICKLES) from e
        raise
    finally:
        timer.cancel()
    if late.is_set():  # a head that was cut can look like a short one
        response.close()
        raise TimeoutError(_TRICKLES)
    return response


_TRICKLES: Final = "the head of the response trickles"


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
