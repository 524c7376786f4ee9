"""One call over HTTP: sends it, counts it, waits out rate limits, makes every failure an ``ApiError``.

Access token and app secret travel in the query, as DingTalk wants it. So no exception of the HTTP library
leaves this module, not even as a cause: their texts and attributes hold URLs.
"""

import asyncio
import json
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator, Mapping
from typing import Any, Final

import aiohttp
import structlog
from aiohttp import ClientHandlerType, ClientRequest, ClientResponse, JsonPayload

from dingbridge.dingtalk import replies
from dingbridge.dingtalk.budget import Budget, Priority
from dingbridge.dingtalk.error_meanings import AUTHENTICATION, SYSTEM_BUSY
from dingbridge.dingtalk.errors import (
    ApiError,
    BudgetSpent,
    OutcomeUnknown,
    RateLimited,
    TokenInvalid,
    Unavailable,
)
from dingbridge.dingtalk.pace import OwnPace
from dingbridge.errors import CallsSpent
from dingbridge.outgoing.hosts import NEW_API, beside
from dingbridge.outgoing.proxy import failure, own_answer, proxy_of

log = structlog.get_logger(__name__)

RATE_DELAYS_S: Final = (1.0, 2.0, 4.0)
"""Waits before another try after a rate limit (call-frequency-limit)."""
BUSY_DELAYS_S: Final = (1.0, 2.0)
"""Waits after errcode -1, which may be tried three times (server-api-error-codes-1)."""
_WITH_TOKEN: Final = "x-acs-dingtalk-access-token"  # noqa: S105


class Transport:
    """Speaks to the old API at ``base`` and to the new one at ``new_base``; without one, to the new API that
    belongs to ``base``. ``calls`` counts requests sent, by API name."""

    def __init__(
        self,
        base: str,
        session: aiohttp.ClientSession | None,
        *,
        timeout_s: float,
        new_base: str | None = None,
        budget: Budget | None = None,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.calls: Counter[str] = Counter()
        self._pace = budget or OwnPace(clock=clock)
        self._budget = budget
        self._base = base.rstrip("/")
        self._new_base = (new_base or beside(self._base, NEW_API)).rstrip("/")
        self._session = session
        self._owns_session = session is None
        self._timeout_s = timeout_s
        self._sleep = sleep

    async def close(self) -> None:
        """Close the session if it is ours."""
        if self._owns_session and self._session is not None:
            await self._session.close()
            self._session = None

    async def call(
        self,
        api: str,
        method: str,
        path: str,
        *,
        query: Mapping[str, str],
        token: str | None = None,
        body: Mapping[str, Any] | None = None,
        timeout_s: float | None = None,
        priority: Priority = Priority.EVENT,
        once: bool = False,
        counts: bool = True,
        new_api: bool = False,
    ) -> dict[str, Any]:
        """The reply's JSON object. ``query`` holds secrets; its values never show up anywhere. With
        ``new_api`` it is a call of the new API, which wants the ``token`` in a header.

        Repeats by itself after a rate limit (1, 2, 4 s, which hold back other calls too) and, unless
        ``once``, after "busy" (three tries in all). Raises ``ApiError``; ``retry_after_s`` of a
        ``RateLimited`` then goes on where the repeats ended. With ``once``, whatever leaves open whether the
        call was carried out is ``OutcomeUnknown``. ``counts``: DingTalk's monthly quota counts the
        call, so the budget is asked, and ``BudgetSpent`` raised before anything is sent.
        """
        rate_delays, busy_delays = iter(RATE_DELAYS_S), iter(() if once else BUSY_DELAYS_S)
        while True:
            if (wait_s := await self._pace.turn(api)) > 0:
                await self._sleep(wait_s)
            if counts:
                await self._spend(api, priority)
            try:
                return await self._send(
                    api, method, path, query, token, body, timeout_s or self._timeout_s, once, new_api
                )
            except RateLimited as error:
                delay_s = next(rate_delays, None)
                if delay_s is None:
                    error.retry_after_s = 2 * RATE_DELAYS_S[-1]
                    raise
                await self._pace.hold(api, delay_s)
                log.warning("api.rate_limited", api=api, code=error.code, retry_in_s=delay_s)
                continue
            except (Unavailable, TokenInvalid) as error:
                delay_s = next(busy_delays, None) if error.errcode == SYSTEM_BUSY else None
                if delay_s is None and once and _leaves_open(error):
                    raise _unknown(error) from None
                if delay_s is None:
                    raise
                log.warning("api.busy", api=api, retry_in_s=delay_s)
            await self._sleep(delay_s)

    async def _spend(self, api: str, priority: Priority) -> None:
        if self._budget is None:
            return
        try:
            await self._budget.spend(api, priority)
        except CallsSpent as spent:
            words, wait_s = str(spent), spent.retry_after_s
        else:
            return
        raise BudgetSpent(f"DingTalk {api}: not called. {words}", api=api, retry_after_s=wait_s)

    async def _send(
        self,
        api: str,
        method: str,
        path: str,
        query: Mapping[str, str],
        token: str | None,
        body: Mapping[str, Any] | None,
        timeout_s: float,
        once: bool,
        new_api: bool,
    ) -> dict[str, Any]:
        if self._session is None:
            self._session = aiohttp.ClientSession(headers={"User-Agent": "dingbridge"})
        self.calls[api] += 1
        headers = {}
        if token is not None and new_api:
            # a content type with a GET too: clients report that the gateway refuses it without,
            # though the vendor's own SDK sends none
            headers = {_WITH_TOKEN: token, "Content-Type": "application/json"}
        elif token is not None:
            query = {**query, "access_token": token}
        url = (self._new_base if new_api else self._base) + path
        try:
            proxy = proxy_of(url)
        except ValueError:  # the base is no URL, which aiohttp says below
            proxy = None
        try:
            async with self._session.request(
                method,
                url,
                proxy=proxy,
                params=query,
                headers=headers,
                # as it is: DingTalk refuses escapes such as \u5f20 (40033)
                data=None if body is None else JsonPayload(body, dumps=_as_it_is),
                timeout=aiohttp.ClientTimeout(total=timeout_s),
                raise_for_status=False,
                allow_redirects=False,  # it would carry the token to wherever the answer says
                middlewares=(_never_again,) if once else (),
            ) as response:
                status, content = response.status, await response.read()
        except (aiohttp.ClientError, OSError) as error:
            unsent = isinstance(error, aiohttp.ClientConnectorError | aiohttp.ClientHttpProxyError)
            words = failure(error, proxy) or (
                f"{_words(error, timeout_s)}. Check DINGTALK_API_BASE, and that this machine can reach it"
            )
        else:
            if refused := own_answer(status, proxy, response.url.host or ""):
                raise Unavailable(f"DingTalk {api}: {refused}.", api=api)
            # of a read of the new API, the query holds ids and numbers of pages
            secret_query = {} if new_api and not once else query
            secrets = _secrets(secret_query, token, body, once)
            return replies.read(api, status, content, new_api=new_api, secrets=secrets)
        # raised here, where no exception is being handled: else the library's would hang on to it as context
        unavailable = Unavailable(f"DingTalk {api}: {words}.", api=api)
        unavailable.unsent = unsent
        raise unavailable


class _Broken(aiohttp.ClientError):
    """A connection that broke under a request that must not be sent again."""


async def _never_again(request: ClientRequest, handler: ClientHandlerType) -> ClientResponse:
    """aiohttp sends a GET again by itself when the kept connection turns out to be closed; not this one."""
    try:
        return await handler(request)
    except aiohttp.ClientConnectorError:
        raise  # nothing was sent
    except (aiohttp.ClientOSError, aiohttp.ServerDisconnectedError):
        broken = _Broken()
    raise broken


def _leaves_open(error: ApiError) -> bool:
    """Whether the call may have been carried out, for all that ``error`` says. Errcode 88 without a sub_code
    is a time-out inside the platform (developerpedia: best-practices/retry.md)."""
    if isinstance(error, Unavailable):
        return not error.unsent
    return error.errcode == AUTHENTICATION and error.sub_code is None


def _unknown(error: ApiError) -> OutcomeUnknown:
    return OutcomeUnknown(
        f"{error} Whether the call was carried out is not known: read before it is repeated.",
        api=error.api,
        errcode=error.errcode,
        errmsg=error.errmsg,
        sub_code=error.sub_code,
        code=error.code,
        retry_after_s=error.retry_after_s,
        name=error.name,
        about=error.about,
    )


def _as_it_is(body: Any) -> str:
    return json.dumps(body, ensure_ascii=False, separators=(",", ":"))


def _secrets(
    query: Mapping[str, str], token: str | None, body: Mapping[str, Any] | None, once: bool
) -> tuple[str, ...]:
    """What DingTalk's own words must not repeat: tokens, and whatever a write says of somebody."""
    secrets = [*query.values(), token or ""]
    if body:
        secrets += [str(body[name]) for name in ("token", "aes_key", "clientSecret") if name in body]
    if once:
        secrets += sorted((text for text in _texts(body) if len(text) > 1), key=len, reverse=True)
    return tuple(secrets)


def _texts(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, Mapping):
        for item in value.values():
            yield from _texts(item)
    elif isinstance(value, list | tuple):
        for item in value:
            yield from _texts(item)


def _words(error: Exception, timeout_s: float) -> str:
    if isinstance(error, TimeoutError):
        return f"no answer within {timeout_s:g} s"
    if isinstance(error, aiohttp.ClientConnectorDNSError):
        return "the host name cannot be resolved"
    if isinstance(error, aiohttp.ClientSSLError):
        return "the TLS connection failed; the certificate may not be trusted here"
    if isinstance(error, aiohttp.ClientConnectorError):
        return f"no connection ({error.os_error.strerror or type(error.os_error).__name__})"
    if isinstance(error, aiohttp.InvalidURL):
        return "the base address is no URL"
    return f"the connection broke ({type(error).__name__.strip('_')})"
