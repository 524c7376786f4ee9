"""Guards requests to URLs that others wrote: they reach no internal address, unless it is allowed.

On a connection of ``guarded_connector`` a name is judged after DNS (``GuardedResolver``), and every address
once more in the moment of connecting (``AddressGuard.open_socket``): an answer of DNS that changes in
between, and an address written out in a URL, come past neither. Not here: where a redirect leads; whoever
calls follows none.

Ranges: IANA's special-purpose registries for IPv4 and IPv6 (RFC 6890), and the metadata services of clouds.
"""

import asyncio
import socket
from collections.abc import Sequence
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network
from typing import Any

from aiohttp import ClientConnectorError, TCPConnector, ThreadedResolver
from aiohttp.abc import AbstractResolver, ResolveResult
from yarl import URL

from dingbridge.outgoing.proxy import proxy_of

Network = IPv4Network | IPv6Network

_INSIDE_4 = {
    ip_network(network): kind
    for network, kind in {
        "0.0.0.0/8": "this host",
        "10.0.0.0/8": "private",
        "100.64.0.0/10": "carrier-grade NAT",  # holds Alibaba Cloud's metadata service, 100.100.100.200
        "127.0.0.0/8": "loopback",
        "168.63.129.16/32": "metadata service",  # Azure's, in the middle of a public range
        "169.254.0.0/16": "link-local",  # holds the metadata service of most clouds, 169.254.169.254
        "172.16.0.0/12": "private",
        "192.0.0.0/24": "special purpose",
        "192.0.2.0/24": "documentation",
        "192.88.99.0/24": "6to4 relay",
        "192.168.0.0/16": "private",
        "198.18.0.0/15": "benchmarking",
        "198.51.100.0/24": "documentation",
        "203.0.113.0/24": "documentation",
        "224.0.0.0/4": "multicast",
        "240.0.0.0/4": "reserved",
    }.items()
}

_INSIDE_6 = {
    ip_network(network): kind
    for network, kind in {
        "::/128": "this host",
        "::1/128": "loopback",
        "fc00::/7": "unique-local",
        "fe80::/10": "link-local",
        "fec0::/10": "site-local",
        "ff00::/8": "multicast",
        "2001::/23": "special purpose",  # holds Teredo, which carries an IPv4 address inside
        "2001:db8::/32": "documentation",
        "2002::/16": "6to4",  # carries an IPv4 address inside
        "3fff::/20": "documentation",
    }.items()
}

_GLOBAL_6 = IPv6Network("2000::/3")
_NAT64 = IPv6Network("64:ff9b::/96")


class AddressRefused(OSError):
    """An address that points inside. Its text is the same for all: aiohttp makes one error of equal ones."""

    def __init__(self, address: str, kind: str) -> None:
        super().__init__("an address that points inside")
        self.address, self.kind = address, kind


class AddressGuard:
    """Judges addresses; ``allowed`` are the networks that may be reached although they point inside.

    ``only_allowed``: nothing else may be reached, no public address either, as without TLS.
    """

    def __init__(self, allowed: Sequence[Network] = (), *, only_allowed: bool = False) -> None:
        self._allowed, self._only_allowed = tuple(allowed), only_allowed

    def why_not(self, address: str) -> str | None:
        """What kind of inside ``address`` (as text, IPv4 or IPv6) points to; None if it may be reached.

        Raises ``ValueError`` when it is no address.
        """
        parsed = _carried(ip_address(address))
        if any(parsed.version == network.version and parsed in network for network in self._allowed):
            return None
        if self._only_allowed:
            return "not allowed"
        inside = _INSIDE_4 if parsed.version == 4 else _INSIDE_6
        for network, kind in inside.items():
            if parsed in network:
                return kind
        return None if parsed.version == 4 or parsed in _GLOBAL_6 else "special purpose"

    def open_socket(self, addr_info: tuple[Any, ...]) -> socket.socket:
        """A socket to connect to ``addr_info`` (as from ``getaddrinfo``) with. Raises ``AddressRefused``."""
        family, kind, protocol, _, address = addr_info
        inside = self.why_not(address[0])
        if inside is not None:
            raise AddressRefused(address[0], inside)
        return socket.socket(family, kind, protocol)


class GuardedResolver(AbstractResolver):
    """DNS as the system does it, without the addresses that ``guard`` refuses."""

    def __init__(self, guard: AddressGuard, resolver: AbstractResolver | None = None) -> None:
        self._guard, self._resolver = guard, resolver or ThreadedResolver()

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_UNSPEC
    ) -> list[ResolveResult]:
        """The addresses of ``host`` that may be reached. Raises ``OSError``, and ``AddressRefused`` (which
        is one) when there are addresses and none of them may be."""
        found = await self._resolver.resolve(host, port, family)
        refused = [(r["host"], kind) for r in found if (kind := self._guard.why_not(r["host"])) is not None]
        if found and len(refused) == len(found):
            raise AddressRefused(*refused[0])
        taboo = {address for address, _ in refused}
        return [result for result in found if result["host"] not in taboo]

    async def close(self) -> None:
        await self._resolver.close()


def guarded_connector(guard: AddressGuard, **more: Any) -> TCPConnector:
    """A connector for ``ClientSession`` that reaches nothing which ``guard`` refuses; ``more`` goes to it.

    ``refusal`` recognises its errors. A request through a proxy needs another connector, since this one sees
    the proxy's address alone: see ``proxy_past``."""
    return TCPConnector(resolver=GuardedResolver(guard), socket_factory=guard.open_socket, **more)


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
    inside = any(AddressGuard().why_not(str(address[0])) for *_, address in found)
    return None if inside else proxy


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
