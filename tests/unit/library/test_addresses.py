"""No address that points inside may be reached, however it is written, unless it is allowed."""

import asyncio
import socket
from ipaddress import IPv4Address, IPv6Address, ip_network

import pytest
from aiohttp.abc import AbstractResolver, ResolveResult
from hypothesis import given
from hypothesis import strategies as st

from dingbridge.ssrf import AddressGuard, AddressRefused, GuardedResolver

INSIDE = {
    "127.0.0.1": "loopback",
    "127.255.255.254": "loopback",
    "0.0.0.0": "this host",
    "10.1.2.3": "private",
    "172.16.0.1": "private",
    "172.31.255.255": "private",
    "192.168.1.1": "private",
    "100.64.0.1": "carrier-grade NAT",
    "100.100.100.200": "carrier-grade NAT",
    "169.254.169.254": "link-local",
    "168.63.129.16": "metadata service",
    "192.88.99.1": "6to4 relay",
    "198.18.0.1": "benchmarking",
    "203.0.113.9": "documentation",
    "224.0.0.1": "multicast",
    "255.255.255.255": "reserved",
    "::1": "loopback",
    "::": "this host",
    "fe80::1": "link-local",
    "fe80::1%eth0": "link-local",
    "fd00:ec2::254": "unique-local",
    "fec0::1": "site-local",
    "ff02::1": "multicast",
    "2001:db8::1": "documentation",
    "2002:a00:1::": "6to4",
    "2002:a9fe:a9fe::1": "6to4",
    "2001:0:a00:1::": "special purpose",
    "::10.0.0.1": "special purpose",
    "64:ff9b:1::1": "special purpose",
    "::ffff:127.0.0.1": "loopback",
    "::ffff:169.254.169.254": "link-local",
    "::ffff:a00:1": "private",
    "64:ff9b::10.0.0.1": "private",
    "64:ff9b::a9fe:a9fe": "link-local",
}


@pytest.mark.parametrize("address", INSIDE)
def test_what_points_inside_is_refused(address: str) -> None:
    assert AddressGuard().why_not(address) == INSIDE[address]


@pytest.mark.parametrize(
    "address",
    ["93.184.216.34", "100.63.255.255", "172.32.0.1", "2606:4700::1111", "::ffff:93.184.216.34"],
)
def test_public_addresses_are_free(address: str) -> None:
    assert AddressGuard().why_not(address) is None


@given(st.ip_addresses(v=4))
def test_what_python_calls_not_global_is_refused_and_its_ipv6_spellings_too(address: IPv4Address) -> None:
    guard = AddressGuard()
    refused = guard.why_not(str(address)) is not None
    if not address.is_global or address.is_multicast:
        assert refused
    for spelled in (f"::ffff:{address}", f"64:ff9b::{address}"):
        assert (guard.why_not(spelled) is not None) == refused


@given(st.ip_addresses(v=6))
def test_what_python_calls_not_global_is_refused_in_ipv6(address: IPv6Address) -> None:
    if not address.is_global and address.ipv4_mapped is None and address not in ip_network("64:ff9b::/96"):
        assert AddressGuard().why_not(str(address)) is not None


def test_an_allowed_network_is_free_and_only_that() -> None:
    guard = AddressGuard([ip_network("10.20.0.0/16"), ip_network("fd00::/8")])
    assert guard.why_not("10.20.1.1") is None
    assert guard.why_not("::ffff:10.20.1.1") is None
    assert guard.why_not("fd12::1") is None
    assert guard.why_not("10.21.1.1") == "private"
    assert guard.why_not("127.0.0.1") == "loopback"


def test_a_socket_is_opened_only_to_what_may_be_reached() -> None:
    family, kind = socket.AF_INET, socket.SOCK_STREAM
    with pytest.raises(AddressRefused) as refused:
        AddressGuard().open_socket((family, kind, 0, "", ("127.0.0.1", 80)))
    assert (refused.value.address, refused.value.kind) == ("127.0.0.1", "loopback")
    AddressGuard([ip_network("127.0.0.0/8")]).open_socket((family, kind, 0, "", ("127.0.0.1", 80))).close()


class Names(AbstractResolver):
    """DNS that answers with ``addresses``."""

    def __init__(self, *addresses: str) -> None:
        self.addresses = addresses

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_UNSPEC
    ) -> list[ResolveResult]:
        return [
            ResolveResult(hostname=host, host=a, port=port, family=socket.AF_INET, proto=0, flags=0)
            for a in self.addresses
        ]

    async def close(self) -> None:
        pass


def resolved(*addresses: str) -> list[str]:
    resolver = GuardedResolver(AddressGuard(), Names(*addresses))
    return [result["host"] for result in asyncio.run(resolver.resolve("a.example.com", 443))]


def test_of_a_names_addresses_those_that_point_inside_are_dropped() -> None:
    assert resolved("10.0.0.1", "93.184.216.34") == ["93.184.216.34"]


def test_a_name_with_no_other_address_is_refused() -> None:
    with pytest.raises(AddressRefused):
        resolved("10.0.0.1", "::1")
