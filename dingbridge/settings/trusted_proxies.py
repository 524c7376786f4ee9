"""Whom a request comes from, where proxies of ours stand between."""

from collections.abc import Sequence
from ipaddress import ip_address, ip_network


def is_trusted(peer: str | None, trusted: Sequence[str]) -> bool:
    """Whether ``peer`` is one of these addresses or networks."""
    try:
        address = ip_address(peer or "")
    except ValueError:
        return False
    return any(address in ip_network(item) for item in trusted)


def client_address(peer: str | None, forwarded_for: Sequence[str], trusted: Sequence[str]) -> str | None:
    """For logs and limits, and never a right: the ``peer``; behind ``trusted`` proxies (addresses or
    networks), the last address in ``X-Forwarded-For`` that is not one of them (MDN, X-Forwarded-For:
    "selecting an IP address")."""
    if not trusted or peer is None:
        return peer
    networks = [ip_network(item) for item in trusted]
    chain = [part.strip() for part in ",".join(forwarded_for).split(",")]
    for address in [peer, *reversed(chain)]:
        try:
            parsed = ip_address(address)
        except ValueError:
            break
        peer = address
        if not any(parsed in network for network in networks):
            break
    return peer
