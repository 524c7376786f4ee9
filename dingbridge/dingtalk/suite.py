"""A third-party suite's token for one company, by the ticket that DingTalk pushes about every 5 h.

Where the ticket is kept is not known here: ``Tickets`` are given. The call is get_corp_token
(obtain-the-access_token-of-the-authorized-enterprise).
"""

import hmac
import time
from base64 import b64encode
from collections.abc import Callable
from typing import Any, Final, Protocol

from dingbridge.dingtalk.errors import BadRequest, PermissionDenied, TokenInvalid
from dingbridge.dingtalk.transport import Transport

API: Final = "service/get_corp_token"


class Tickets(Protocol):
    """The suite's tickets: a new one makes the one before it worthless."""

    async def latest(self, *, refused: str | None = None) -> str:
        """The latest one. Raises ``ApiError`` when there is none or it cannot be looked up.

        ``refused`` is one that DingTalk did not take: what was remembered may be out of date.
        """
        ...


def signature(suite_secret: str, timestamp_ms: str, ticket: str) -> str:
    """Base64 of HMAC-SHA256 over timestamp and ticket; the caller escapes it for a URL."""
    digest = hmac.digest(suite_secret.encode(), f"{timestamp_ms}\n{ticket}".encode(), "sha256")
    return b64encode(digest).decode()


class CorpToken:
    """Asks for the token of ``corp_id``; ``fetch`` has a suite's key, secret and tickets to do it with."""

    def __init__(
        self,
        transport: Transport,
        *,
        key: str,
        secret: str,
        corp_id: str,
        tickets: Tickets,
        now_s: Callable[[], float] = time.time,
    ) -> None:
        self._transport, self._tickets = transport, tickets
        self._key, self._secret, self._corp_id = key, secret, corp_id
        self._now_s = now_s

    async def fetch(self) -> dict[str, Any]:
        """The reply with the token. A ticket that is refused is looked up again, once.

        DingTalk's code for an old ticket is known from reports alone (853005), so any refusal counts: if
        there is a newer ticket, that is tried.
        """
        ticket = await self._tickets.latest()
        try:
            return await self._ask(ticket)
        except (BadRequest, PermissionDenied, TokenInvalid):
            newer = await self._tickets.latest(refused=ticket)
            if newer == ticket:
                raise
        return await self._ask(newer)

    async def _ask(self, ticket: str) -> dict[str, Any]:
        timestamp = str(int(self._now_s() * 1000))
        query = {
            "accessKey": self._key,
            "timestamp": timestamp,
            "suiteTicket": ticket,
            "signature": signature(self._secret, timestamp, ticket),
        }
        body = {"auth_corpid": self._corp_id}
        return await self._transport.call(API, "POST", f"/{API}", query=query, body=body, counts=False)
