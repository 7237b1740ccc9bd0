"""Connections that reach the public internet only, judged by the address they really lead to."""

from __future__ import annotations

import ipaddress
import socket
from typing import Any

from requests.adapters import HTTPAdapter
from urllib3 import PoolManager
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.connectionpool import HTTPConnectionPool, HTTPSConnectionPool

from reverse_etl.errors import Denied


def is_public(address: str) -> bool:
    """Whether an IP address is one of the public internet's."""
    ip = ipaddress.ip_address(address.partition("%")[0])
    mapped = getattr(ip, "ipv4_mapped", None)
    return (mapped or ip).is_global


class PublicOnlyAdapter(HTTPAdapter):
    """Looks at the peer after connecting and before the first byte: a name that resolves to
    something else a moment later gains nothing."""

    def init_poolmanager(self, *arguments: Any, **keywords: Any) -> None:
        """See HTTPAdapter."""
        super().init_poolmanager(*arguments, **keywords)
        manager: PoolManager = self.poolmanager
        manager.pool_classes_by_scheme = {"http": _HttpPool, "https": _HttpsPool}


class _Http(HTTPConnection):
    def _new_conn(self) -> socket.socket:
        return _checked(super()._new_conn())


class _Https(HTTPSConnection):
    def _new_conn(self) -> socket.socket:
        return _checked(super()._new_conn())


class _HttpPool(HTTPConnectionPool):
    ConnectionCls = _Http


class _HttpsPool(HTTPSConnectionPool):
    ConnectionCls = _Https


def _checked(connection: socket.socket) -> socket.socket:
    peer = str(connection.getpeername()[0])
    if is_public(peer):
        return connection
    connection.close()
    raise Denied(
        "The address leads into a private network, where nothing is sent. If that is meant, set "
        "options.allow_private_addresses: true for this destination.",
        code="private",
    )
