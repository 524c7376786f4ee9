"""Which address a request came from, when proxies stand before us. For logs only; decides nothing."""

from collections.abc import Sequence
from ipaddress import ip_address, ip_network

from ingress.exchange import Request


def client_address(request: Request, trusted: Sequence[str]) -> str | None:
    """The peer's address; behind ``trusted`` proxies (addresses or networks), the last address in
    ``X-Forwarded-For`` that is not one of them (MDN, X-Forwarded-For: "selecting an IP address")."""
    peer = request.remote
    if not trusted or peer is None:
        return peer
    networks = [ip_network(item) for item in trusted]
    chain = [part.strip() for part in ",".join(request.headers.getall("X-Forwarded-For", [])).split(",")]
    for address in [peer, *reversed(chain)]:
        try:
            parsed = ip_address(address)
        except ValueError:
            break
        peer = address
        if not any(parsed in network for network in networks):
            break
    return peer
