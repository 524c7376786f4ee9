"""One request to a system. No exception of the HTTP library leaves this module: their texts hold URLs.

Redirects are not followed, cookies are not kept, and an answer's body is dropped, after at most
``READ_BYTES``. A proxy of the environment is used for what does not point inside.
"""

import asyncio
import ssl
import time
from dataclasses import replace
from functools import partial
from urllib.parse import quote

import aiohttp
from yarl import URL

from dingbridge.consumers.forward import signature
from dingbridge.consumers.forward.policy import Answer, read
from dingbridge.consumers.forward.settings import Credentials, System
from dingbridge.outgoing.proxy import failure, own_answer
from dingbridge.ssrf import AddressGuard, guarded_connector, proxy_past, refusal
from dingbridge.worker.delivery import REPLAY_HEADER

CONNECT_TIMEOUT_S = 10
"""How long a connection may take, at most; a system's own ``timeout_s`` if that is less."""

READ_BYTES = 4096
READ_TIMEOUT_S = 1
"""So much of an answer's body is read, for so long, to use its connection again; else that is closed."""


class Sender:
    """Sends to one system, over connections that it keeps, between ``open`` and ``close``."""

    def __init__(self, system: System, credentials: Credentials, guard: AddressGuard) -> None:
        self._system, self._credentials, self._guard = system, credentials, guard
        self._session: aiohttp.ClientSession | None = None
        self._proxy: URL | None = None

    async def open(self) -> None:
        """Call it once, in the running loop. Raises ``SettingsError`` for a proxy that cannot be used."""
        system = self._system
        context = ssl.create_default_context(cafile=system.ca_file) if system.ca_file else True
        self._proxy = await proxy_past(system.url)
        connector = partial(guarded_connector, self._guard) if self._proxy is None else aiohttp.TCPConnector
        self._session = aiohttp.ClientSession(
            connector=connector(limit=system.concurrency, ssl=context),
            cookie_jar=aiohttp.DummyCookieJar(),
            headers={"User-Agent": "dingbridge", **system.headers, **self._credentials.headers},
            auto_decompress=False,
            timeout=aiohttp.ClientTimeout(
                total=system.timeout_s, sock_connect=min(CONNECT_TIMEOUT_S, system.timeout_s)
            ),
        )

    async def close(self) -> None:
        if self._session is not None:
            await self._session.close()
            self._session = None

    async def post(
        self,
        message_id: str,
        content_type: str,
        body: bytes,
        *,
        replay_id: str = "",
    ) -> Answer:
        """Send ``body``, signed with the time of now. ``replay_id``: of the run in which an operator replays
        it. Raises nothing but ``CancelledError``."""
        if self._session is None:
            raise AssertionError("the sender is used before it is open")
        headers = self.headers(message_id, content_type, body)
        if replay_id:
            headers[REPLAY_HEADER] = quote(replay_id, safe="")  # the inbox's writers may send any text
        try:
            async with self._session.post(
                self._system.url,
                proxy=self._proxy,
                data=body,
                headers=headers,
                allow_redirects=False,
            ) as response:
                host = response.url.host or ""
                if refused := own_answer(response.status, self._proxy, host):
                    return Answer("unavailable", str(refused))
                answer = read(response.status, response.headers)
                await _drain(response)
                return replace(answer, status=response.status)
        except (aiohttp.ClientError, OSError, ValueError) as error:
            if by_proxy := failure(error, self._proxy):
                return Answer("unavailable", str(by_proxy))
            return _failure(error, self._system.timeout_s)

    def headers(self, message_id: str, content_type: str, body: bytes) -> dict[str, str]:
        """The headers of one request that are not the same for all."""
        found = {"Content-Type": content_type}
        found |= signature.headers(self._credentials.keys, message_id, int(time.time()), body)
        return found


async def _drain(response: aiohttp.ClientResponse) -> None:
    """Read a short rest, so that the connection can be used again. The answer's status is known, so nothing
    here can make it a failure."""
    left = READ_BYTES
    try:
        async with asyncio.timeout(READ_TIMEOUT_S):
            while left > 0 and (part := await response.content.read(left)):
                left -= len(part)
    except (aiohttp.ClientError, OSError, ValueError):
        left = 0
    if left <= 0 or not response.content.at_eof():
        response.close()


def _failure(error: Exception, timeout_s: float) -> Answer:
    """An exception of the library as an answer. Without a connection the system is at fault; once the request
    was sent, it may be this event that breaks it."""
    if isinstance(error, aiohttp.ClientConnectorError):  # its DNS and TLS errors too
        return Answer("unavailable", _no_connection(error))
    if isinstance(error, aiohttp.ConnectionTimeoutError):
        return Answer("unavailable", "no connection in time")
    if isinstance(error, aiohttp.InvalidURL):
        return Answer("unavailable", "its url cannot be used")
    if isinstance(error, TimeoutError):
        return Answer("failed", f"no answer within {timeout_s:g} s")
    return Answer("failed", f"the connection broke ({type(error).__name__})")


def _no_connection(error: aiohttp.ClientConnectorError) -> str:
    if (refused := refusal(error)) is not None:
        return (
            f"its address {refused.address} points inside; if that is meant, allow its network in "
            "FORWARD_ALLOW_NETWORKS"
        )
    if isinstance(error, aiohttp.ClientConnectorDNSError):
        return "its name cannot be resolved"
    if isinstance(error, aiohttp.ClientSSLError):
        return "TLS failed; its certificate may not be trusted here (ca_file)"
    return f"no connection to it ({error.os_error.strerror or type(error.os_error).__name__})"
