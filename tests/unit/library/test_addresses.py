"""No address that points inside may be reached, however it is written, unless it is allowed."""

import socket
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network

import pytest
from aiohttp import ClientConnectorError, ClientSession, web
from aiohttp.abc import AbstractResolver, ResolveResult
from aiohttp.test_utils import TestServer
from hypothesis import given
from hypothesis import strategies as st

from dingbridge.ssrf import AddressGuard, AddressRefused, guarded_connector, refusal

INSIDE = [
    "127.0.0.1",
    "127.255.255.254",
    "0.0.0.0",
    "10.1.2.3",
    "172.16.0.1",
    "172.31.255.255",
    "192.168.1.1",
    "100.64.0.1",
    "100.100.100.200",
    "169.254.169.254",
    "168.63.129.16",
    "198.18.0.1",
    "203.0.113.9",
    "224.0.0.1",
    "255.255.255.255",
    "::1",
    "::",
    "fe80::1",
    "fe80::1%eth0",
    "fd00:ec2::254",
    "fec0::1",
    "ff02::1",
    "2001:db8::1",
    "2002:a00:1::",
    "2002:a9fe:a9fe::1",
    "2001:0:a00:1::",
    "::10.0.0.1",
    "64:ff9b:1::1",
    "::ffff:127.0.0.1",
    "::ffff:169.254.169.254",
    "::ffff:a00:1",
    "64:ff9b::10.0.0.1",
    "64:ff9b::a9fe:a9fe",
]


@pytest.mark.parametrize("address", INSIDE)
def test_what_points_inside_is_refused(address: str) -> None:
    assert AddressGuard().refuses(address)


@pytest.mark.parametrize(
    "address",
    ["93.184.216.34", "100.63.255.255", "172.32.0.1", "2606:4700::1111", "::ffff:93.184.216.34"],
)
def test_public_addresses_are_free(address: str) -> None:
    assert not AddressGuard().refuses(address)


@given(st.ip_addresses(v=4))
def test_what_python_calls_not_global_is_refused_and_its_ipv6_spellings_too(address: IPv4Address) -> None:
    guard = AddressGuard()
    refused = guard.refuses(str(address))
    if not address.is_global or address.is_multicast:
        assert refused
    for spelled in (f"::ffff:{address}", f"64:ff9b::{address}"):
        assert guard.refuses(spelled) == refused


@given(st.ip_addresses(v=6))
def test_what_python_calls_not_global_is_refused_in_ipv6(address: IPv6Address) -> None:
    if not address.is_global and address.ipv4_mapped is None and address not in ip_network("64:ff9b::/96"):
        assert AddressGuard().refuses(str(address))


def test_an_allowed_network_is_free_and_only_that() -> None:
    guard = AddressGuard([ip_network("10.20.0.0/16"), ip_network("fd00::/8")])
    assert not guard.refuses("10.20.1.1")
    assert not guard.refuses("::ffff:10.20.1.1")
    assert not guard.refuses("fd12::1")
    assert guard.refuses("10.21.1.1")
    assert guard.refuses("127.0.0.1")


def test_a_socket_is_opened_only_to_what_may_be_reached() -> None:
    family, kind = socket.AF_INET, socket.SOCK_STREAM
    with pytest.raises(AddressRefused) as refused:
        AddressGuard().open_socket((family, kind, 0, "", ("127.0.0.1", 80)))
    assert refused.value.address == "127.0.0.1"
    AddressGuard([ip_network("127.0.0.0/8")]).open_socket((family, kind, 0, "", ("127.0.0.1", 80))).close()


class Names(AbstractResolver):
    """DNS that answers with ``addresses``."""

    def __init__(self, *addresses: str) -> None:
        self.addresses = addresses

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_UNSPEC
    ) -> list[ResolveResult]:
        found = map(ip_address, self.addresses)
        return [
            ResolveResult(
                hostname=host,
                host=str(address),
                port=port,
                family=socket.AF_INET if address.version == 4 else socket.AF_INET6,
                proto=0,
                flags=0,
            )
            for address in found
        ]

    async def close(self) -> None:
        pass


async def fetch(url: str, *addresses: str, guard: AddressGuard) -> int:
    connector = guarded_connector(guard, resolver=Names(*addresses))
    async with ClientSession(connector=connector) as http, http.get(url) as answer:
        return answer.status


async def test_of_a_names_addresses_only_those_are_reached_that_may_be() -> None:
    async with TestServer(web.Application()) as server:
        guard = AddressGuard([ip_network("127.0.0.1/32")])
        url = f"http://a.example.com:{server.port}/"
        assert await fetch(url, "127.0.0.2", "::1", "127.0.0.1", guard=guard) == 404


async def test_a_name_with_no_other_address_is_refused() -> None:
    with pytest.raises(ClientConnectorError) as refused:
        await fetch("http://a.example.com/", "10.0.0.1", "::1", guard=AddressGuard())
    assert refusal(refused.value) is not None
