"""The first step of Stream mode: asks for the address of a WebSocket and a ticket that opens it once.

What is said over the WebSocket is not known here. Source: protocol.md (open-dingtalk/developerpedia,
docs/learn/stream/protocol.md).
"""

from dataclasses import dataclass, field
from importlib.metadata import version
from typing import Final

from dingbridge.dingtalk.budget import Priority
from dingbridge.dingtalk.errors import Unavailable
from dingbridge.dingtalk.transport import Transport

API: Final = "gateway/connections/open"
_SUBSCRIPTIONS: Final = ({"type": "EVENT", "topic": "*"},)
"""All events; which types come is chosen in the console alone (protocol.md)."""


@dataclass(frozen=True, slots=True)
class Opening:
    """Where to connect, and the ticket: 90 s old at most, and good for one connection (protocol.md)."""

    endpoint: str
    ticket: str = field(repr=False)


async def open_connection(transport: Transport, app_key: str, app_secret: str) -> Opening:
    """Ask for a new connection. Nothing is opened by it, and no event is taken. Raises ``ApiError``.

    The call is not on the list of those that DingTalk's monthly quota exempts, so it is counted.
    """
    body = {
        "clientId": app_key,
        "clientSecret": app_secret,
        "subscriptions": _SUBSCRIPTIONS,
        "ua": f"dingbridge/{version('dingbridge')}",
    }
    reply = await transport.call(
        API, "POST", f"/v1.0/{API}", query={}, body=body, priority=Priority.ALWAYS, new_api=True
    )
    endpoint, ticket = reply.get("endpoint"), reply.get("ticket")
    if not isinstance(endpoint, str) or not isinstance(ticket, str):
        raise Unavailable(
            f"DingTalk {API}: an answer without endpoint and ticket. Check DINGTALK_API_BASE, and that no "
            "proxy answers in its place.",
            api=API,
        )
    return Opening(endpoint, ticket)
