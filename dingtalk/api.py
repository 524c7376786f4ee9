"""The Open API, as far as the bridge and its consumers need it: callback registration, contacts, approvals.

Each method is one API (the page's slug on open.dingtalk.com stands with it) and raises ``ApiError``, whose
subclasses say what to do. Token, repeats and counting happen underneath (``token``, ``transport``). Results
are DingTalk's own objects: what DingTalk leaves out is absent here too.
"""

import asyncio
import time
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, Self

import aiohttp

from dingtalk.errors import TokenInvalid, Unavailable
from dingtalk.replies import boolean, integer, typed
from dingtalk.token import AccessToken
from dingtalk.transport import Transport

TIMEOUT_S: Final = 10.0
REGISTER_TIMEOUT_S: Final = 30.0
"""register and update wait for DingTalk's own check of the URL."""
PAGE_SIZE: Final = 100
_TOKEN_LIFE_S: Final = 7200


@dataclass(frozen=True, slots=True)
class CallbackRegistration:
    """What is registered at DingTalk: EventTypes, token, EncodingAESKey and URL."""

    tags: tuple[str, ...]
    token: str = field(repr=False)
    aes_key: str = field(repr=False)
    url: str


class DingTalkClient:
    """One app's client. Use it as an async context manager, or call ``close`` when done.

    ``base`` is the address of oapi (https://oapi.dingtalk.com, or a simulator). A ``session`` given stays its
    owner's to close. ``timeout_s`` is for one request. ``sleep`` and ``clock`` (s) are for tests.
    """

    def __init__(
        self,
        *,
        app_key: str,
        app_secret: str,
        base: str,
        session: aiohttp.ClientSession | None = None,
        timeout_s: float = TIMEOUT_S,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._app = {"appkey": app_key, "appsecret": app_secret}
        self._transport = Transport(base, session, timeout_s=timeout_s, sleep=sleep)
        self._token = AccessToken(self._fetch_token, clock=clock)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def close(self) -> None:
        """Close the connections, unless the session was given."""
        await self._transport.close()

    @property
    def calls(self) -> Counter[str]:
        """Requests sent so far, repeats included, by API name such as ``v2/user/get``."""
        return self._transport.calls

    async def access_token(self) -> str:
        """A valid access token (obtain-orgapp-token)."""
        return await self._token.get()

    # -- callback registration ---------------------------------------------------------------------------

    async def register_call_back(self, *, tags: Sequence[str], token: str, aes_key: str, url: str) -> None:
        """Register the callback URL for EventTypes ``tags`` (register-callback-events).

        DingTalk checks the URL before it answers, so the receiver must be up. Raises ``CallbackExists``,
        ``CallbackRefused``.
        """
        await self._set_call_back("register_call_back", tags, token, aes_key, url)

    async def update_call_back(self, *, tags: Sequence[str], token: str, aes_key: str, url: str) -> None:
        """Replace the registration, checked likewise (update-event-interface). Raises ``CallbackMissing``."""
        await self._set_call_back("update_call_back", tags, token, aes_key, url)

    async def _set_call_back(self, api: str, tags: Sequence[str], token: str, aes_key: str, url: str) -> None:
        body = {"call_back_tag": list(tags), "token": token, "aes_key": aes_key, "url": url}
        await self._call(api, "POST", f"/call_back/{api}", body, timeout_s=REGISTER_TIMEOUT_S)

    async def get_call_back(self) -> CallbackRegistration:
        """What is registered (query-subscribed-events). Raises ``CallbackMissing``."""
        reply = await self._call("get_call_back", "GET", "/call_back/get_call_back")
        tags = reply.get("call_back_tag")
        return CallbackRegistration(
            tags=tuple(str(tag) for tag in tags) if isinstance(tags, list) else (),
            token=str(reply.get("token") or ""),
            aes_key=str(reply.get("aes_key") or ""),
            url=str(reply.get("url") or ""),
        )

    async def delete_call_back(self) -> None:
        """Remove what is registered (delete-an-event-callback-interface). Raises ``CallbackMissing``."""
        await self._call("delete_call_back", "GET", "/call_back/delete_call_back")

    # -- contacts ----------------------------------------------------------------------------------------

    async def user(self, userid: str) -> dict[str, Any]:
        """A user's details (query-user-details). Raises ``NotFound``."""
        result = await self._result("v2/user/get", {"userid": userid, "language": "zh_CN"})
        return _object("v2/user/get", typed(result))

    async def department(self, dept_id: int) -> dict[str, Any]:
        """A department's details; the root's id is 1 (query-department-details0-v2). Raises ``NotFound``."""
        result = await self._result("v2/department/get", {"dept_id": dept_id, "language": "zh_CN"})
        return _object("v2/department/get", typed(result))

    async def sub_departments(self, dept_id: int) -> list[dict[str, Any]]:
        """The departments one level below (user-management-acquires-the-list-departments)."""
        result = await self._result("v2/department/listsub", {"dept_id": dept_id, "language": "zh_CN"})
        return _objects("v2/department/listsub", typed(result))

    async def department_users(self, dept_id: int) -> AsyncIterator[dict[str, Any]]:
        """Every direct member, page by page (queries-the-complete-information-of-a-department-user)."""
        api = "v2/user/list"
        cursor: int | None = 0
        while cursor is not None:
            page = _object(
                api, await self._result(api, {"dept_id": dept_id, "cursor": cursor, "size": PAGE_SIZE})
            )
            for user in _objects(api, typed(page.get("list"))):
                yield user
            following = integer(page.get("next_cursor")) if boolean(page.get("has_more")) else None
            if boolean(page.get("has_more")) and (following is None or following <= cursor):
                raise _no_sense(api, "says that there is more, but its cursor does not advance")
            cursor = following

    # -- approvals ---------------------------------------------------------------------------------------

    async def approval(self, process_instance_id: str) -> dict[str, Any]:
        """An approval instance: form values, operation records, tasks (get-details-single-approval-instance).

        Its times have no zone: they are DingTalk's local ones.
        """
        api = "processinstance/get"
        reply = await self._call(api, "POST", f"/topapi/{api}", {"process_instance_id": process_instance_id})
        return _object(api, reply.get("process_instance"))

    # -- underneath --------------------------------------------------------------------------------------

    async def _result(self, api: str, body: Mapping[str, Any]) -> Any:
        return (await self._call(api, "POST", f"/topapi/{api}", body)).get("result")

    async def _call(
        self,
        api: str,
        method: str,
        path: str,
        body: Mapping[str, Any] | None = None,
        *,
        timeout_s: float | None = None,
    ) -> dict[str, Any]:
        """One call with the token; with a new one, once, if the platform refuses it."""
        token = await self._token.get()
        try:
            return await self._send(api, method, path, token, body, timeout_s)
        except TokenInvalid:
            self._token.discard(token)
        return await self._send(api, method, path, await self._token.get(), body, timeout_s)

    async def _send(
        self,
        api: str,
        method: str,
        path: str,
        token: str,
        body: Mapping[str, Any] | None,
        timeout_s: float | None,
    ) -> dict[str, Any]:
        return await self._transport.call(
            api, method, path, query={"access_token": token}, body=body, timeout_s=timeout_s
        )

    async def _fetch_token(self) -> tuple[str, float]:
        reply = await self._transport.call("gettoken", "GET", "/gettoken", query=self._app)
        token = reply.get("access_token")
        if not isinstance(token, str) or not token:
            raise _no_sense("gettoken", "answers without an access token")
        return token, integer(reply.get("expires_in")) or _TOKEN_LIFE_S


def _object(api: str, value: Any) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise _no_sense(api, "succeeds without the object it should hold")
    return value


def _objects(api: str, value: Any) -> list[dict[str, Any]]:
    if value is None:
        return []  # lists that are empty are left out in places
    if not isinstance(value, list):
        raise _no_sense(api, "succeeds without the list it should hold")
    return [_object(api, item) for item in value]


def _no_sense(api: str, words: str) -> Unavailable:
    return Unavailable(
        f"DingTalk {api}: {words}. Try again later; if it stays, its API has changed.", api=api
    )
