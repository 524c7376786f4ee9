"""What every family of calls needs: the token, the priority it spends at, and a look at each result."""

import asyncio
import copy
import time
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from typing import Any, Final, Self

import aiohttp
import orjson

from dingbridge.dingtalk.api.shapes import Fields, typed
from dingbridge.dingtalk.budget import Budget, Priority
from dingbridge.dingtalk.errors import Unavailable
from dingbridge.dingtalk.replies import boolean, integer
from dingbridge.dingtalk.token import AccessToken
from dingbridge.dingtalk.transport import Transport

TIMEOUT_S: Final = 10.0
_TOKEN_LIFE_S: Final = 7200
_REPEATED_PAGES: Final = 2
"""So many pages of a listing may be as one before them; more: the listing does not end."""


class Calls:
    """One app's connection to the Open API. Its subclasses are the families of calls."""

    def __init__(
        self,
        *,
        app_key: str,
        app_secret: str,
        base: str,
        new_base: str | None = None,
        session: aiohttp.ClientSession | None = None,
        timeout_s: float = TIMEOUT_S,
        budget: Budget | None = None,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._app = {"appkey": app_key, "appsecret": app_secret}
        self._transport = Transport(
            base,
            session,
            timeout_s=timeout_s,
            new_base=new_base,
            budget=budget,
            sleep=sleep,
            clock=clock,
        )
        self._token = AccessToken(self._fetch_token, clock=clock)
        self._priority = Priority.EVENT

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def close(self) -> None:
        """Close the connections, unless the session was given."""
        await self._transport.close()

    def at(self, priority: Priority) -> Self:
        """The same client (token, connections, counters), whose calls are budgeted as ``priority``.

        Nothing of its own needs closing.
        """
        client = copy.copy(self)
        client._priority = priority
        return client

    @property
    def calls(self) -> Counter[str]:
        """Requests sent so far, repeats included, by API name such as ``v2/user/get``."""
        return self._transport.calls

    async def access_token(self) -> str:
        """A valid access token (obtain-orgapp-token)."""
        return await self._token.get()

    async def _result(self, api: str, body: Mapping[str, Any], *, counts: bool = True) -> Any:
        return (await self._call(api, "POST", f"/topapi/{api}", body, counts=counts)).get("result")

    async def _call(
        self,
        api: str,
        method: str,
        path: str,
        body: Mapping[str, Any] | None = None,
        *,
        query: Mapping[str, str] | None = None,
        timeout_s: float | None = None,
        once: bool = False,
        counts: bool = True,
        new_api: bool = False,
    ) -> dict[str, Any]:
        """One call with the token; with a new one, if the platform refuses it, or a right.

        ``once``: the call is never sent again after anything but a refusal, because sending it does
        something. ``counts``: whether DingTalk's monthly quota counts it, as it does all but contacts, roles
        and tokens (basic-interfaces-such-as-log-off-and-address-book).
        """

        async def send(token: str) -> dict[str, Any]:
            return await self._transport.call(
                api,
                method,
                path,
                query=query or {},
                token=token,
                body=body,
                timeout_s=timeout_s,
                priority=self._priority,
                once=once,
                counts=counts,
                new_api=new_api,
            )

        return await self._token.call(send)

    async def _new_call(
        self,
        api: str,
        method: str,
        path: str,
        body: Mapping[str, Any] | None = None,
        *,
        query: Mapping[str, str] | None = None,
        once: bool = False,
    ) -> dict[str, Any]:
        """The same of the new API (``path`` begins with ``/v1.0/``). The monthly quota counts it."""
        return await self._call(f"v1.0/{api}", method, path, body, query=query, once=once, new_api=True)

    async def _fetch_token(self) -> tuple[str, float]:
        """The token, and how long it is valid, in s."""
        reply = await self._transport.call("gettoken", "GET", "/gettoken", query=self._app, counts=False)
        token = reply.get("access_token")
        if not isinstance(token, str) or not token:
            raise no_sense("gettoken", "answers without an access token")
        return token, integer(reply.get("expires_in")) or _TOKEN_LIFE_S

    async def _pages(
        self, api: str, body: Mapping[str, Any], *, size: int, start: str, counts: bool = True
    ) -> AsyncIterator[dict[str, Any]]:
        """Every page of a listing, whose place is called ``start`` (``cursor`` or ``offset``).

        Raises ``Unavailable`` for a page without its ``list``, and when a page says that there is more but
        does not lead on: a listing that ended there would look complete. The same when an empty page leads
        on, or pages come again and again: that need not ever end.
        """
        place: int | None = 0
        seen, repeated = set[int](), 0
        while place is not None:
            page = an_object(
                api, await self._result(api, {**body, start: place, "size": size}, counts=counts)
            )
            if not isinstance(page.get("list"), list):
                raise no_sense(api, "answers with a page without its list")
            yield page
            listed = hash(orjson.dumps(page["list"]))
            repeated += listed in seen
            seen.add(listed)
            more = boolean(either(page, "has_more", "hasMore"))
            following = integer(either(page, "next_cursor", "nextCursor"))
            if more and following is None and start == "offset":
                following = place + size if page.get("list") else None
            if more and (following is None or following <= place):
                raise no_sense(api, "says that there is more, but its cursor does not advance")
            if more and not page.get("list"):
                raise no_sense(api, "an empty page leads on to another")
            if more and repeated > _REPEATED_PAGES:
                raise no_sense(api, "shows the same pages again and again")
            place = following if more else None


def either(page: Mapping[str, Any], *names: str) -> Any:
    """The value under the first of ``names`` that is there: both spellings are in use."""
    return next((page[name] for name in names if name in page), None)


def an_object(api: str, value: Any) -> dict[str, Any]:
    """``value`` if it is a JSON object; raises ``Unavailable`` if not."""
    if not isinstance(value, dict):
        raise no_sense(api, "succeeds without the object it should hold")
    return value


def a_list(api: str, value: Any) -> list[Any]:
    """``value`` if it is a list; empty for ``None``, since lists that are empty are left out in places."""
    if value is None:
        return []
    if not isinstance(value, list):
        raise no_sense(api, "succeeds without the list it should hold")
    return value


def objects(api: str, value: Any, fields: Fields | None = None) -> list[dict[str, Any]]:
    """A list of JSON objects, with numbers and booleans where ``fields`` declares them."""
    return [an_object(api, typed(item, fields or {})) for item in a_list(api, value)]


def no_sense(api: str, words: str, error: type[Unavailable] = Unavailable) -> Unavailable:
    return error(f"DingTalk {api}: {words}. Try again later; if it stays, its API has changed.", api=api)
