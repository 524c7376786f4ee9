"""Guards requests to URLs that others wrote: they reach no internal address, unless it is allowed.

``AddressGuard.open_socket`` judges each address in the moment of connecting, so neither a name nor an answer
of DNS that changes in between comes past it. Not here: where a redirect leads; the callers follow none.
"""

import asyncio
import socket
from collections.abc import Sequence
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address
from typing import Any, Final

from aiohttp import ClientConnectorError, TCPConnector
from yarl import URL

from dingbridge.outgoing.proxy import proxy_of

Network = IPv4Network | IPv6Network

_AZURES_METADATA: Final = IPv4Address("168.63.129.16")  # in the middle of a public range
_GLOBAL_6: Final = IPv6Network("2000::/3")
_NAT64: Final = IPv6Network("64:ff9b::/96")


class AddressRefused(OSError):
    """An address that points inside. Its text is the same for all: aiohttp makes one error of equal ones."""

    def __init__(self, address: str) -> None:
        super().__init__("an address that points inside")
        self.address = address


class AddressGuard:
    """Judges addresses; ``allowed`` are the networks that may be reached although they point inside.

    ``only_allowed``: nothing else may be reached, no public address either, as without TLS.
    """

    def __init__(self, allowed: Sequence[Network] = (), *, only_allowed: bool = False) -> None:
        self._allowed, self._only_allowed = tuple(allowed), only_allowed

    def refuses(self, address: str) -> bool:
        """Return whether ``address`` (as text, IPv4 or IPv6) may not be reached.

        Raises ``ValueError`` when it is no address.
        """
        parsed = _carried(ip_address(address))
        if any(parsed in network for network in self._allowed):
            return False
        return self._only_allowed or _points_inside(parsed)

    def open_socket(self, addr_info: tuple[Any, ...]) -> socket.socket:
        """A socket to connect to ``addr_info`` (as from ``getaddrinfo``) with. Raises ``AddressRefused``."""
        family, kind, protocol, _, address = addr_info
        if self.refuses(address[0]):
            raise AddressRefused(address[0])
        return socket.socket(family, kind, protocol)


def guarded_connector(guard: AddressGuard, **more: Any) -> TCPConnector:
    """A connector for ``ClientSession`` that reaches nothing which ``guard`` refuses; ``more`` goes to it.

    ``refusal`` recognises its errors. A request through a proxy needs another connector, since this one sees
    the proxy's address alone: see ``proxy_past``."""
    return TCPConnector(socket_factory=guard.open_socket, **more)


async def proxy_past(url: str) -> URL | None:
    """The proxy for ``url``, which others wrote; ``None`` for none, and where its host points inside.

    A guard then decides on a connection without it. Of a name that does not resolve here the proxy decides.
    Raises ``SettingsError``, and ``ValueError`` for what is no URL.
    """
    proxy = proxy_of(url)
    if proxy is None:
        return None
    host = URL(url).host or ""
    try:
        found = await asyncio.get_running_loop().getaddrinfo(host, None, type=socket.SOCK_STREAM)
    except OSError:
        return proxy
    return None if any(AddressGuard().refuses(str(address[0])) for *_, address in found) else proxy


def refusal(error: Exception) -> AddressRefused | None:
    """Why a request ended in ``error``, if it was the guard."""
    cause = error.os_error if isinstance(error, ClientConnectorError) else None
    return cause if isinstance(cause, AddressRefused) else None


def _carried(address: IPv4Address | IPv6Address) -> IPv4Address | IPv6Address:
    """The IPv4 address that an IPv6 one stands for, as ``::ffff:10.0.0.1``; others as they are."""
    if isinstance(address, IPv6Address):
        if address.ipv4_mapped is not None:
            return address.ipv4_mapped
        if address in _NAT64:
            return IPv4Address(int(address) & 0xFFFF_FFFF)
    return address


def _points_inside(address: IPv4Address | IPv6Address) -> bool:
    """By ``is_global``, and by what that lets pass: multicast, site-local, 6to4 (which holds IPv4)."""
    if isinstance(address, IPv6Address):
        return not (address.is_global and address in _GLOBAL_6 and address.sixtofour is None)
    return not address.is_global or address.is_multicast or address == _AZURES_METADATA
