"""DingTalk's HTTP surface: the calls of the Open API (hosts oapi.dingtalk.com and api.dingtalk.com) that the
simulator offers.

Thin: reads a request, asks the company, writes DingTalk's JSON. Every answer is HTTP 200 with ``errcode``,
as there; on the newer host (paths ``/v1.0/…``) the token is a header, and a refusal has a status and a
``code``. ``contacts``, ``approvals``, ``callbacks``, ``writes`` and ``workflow`` are the families of calls;
here is what each call passes first: faults that somebody asked for, the plan's limits, the token.
"""

import asyncio
import contextlib
import uuid
from collections import Counter
from collections.abc import Awaitable, Callable
from typing import Any, Final, Protocol

from aiohttp import web

from dingbridge.simulator.api.approvals import DOWNLOAD_PATH, ApprovalCalls
from dingbridge.simulator.api.callbacks import CallbackCalls
from dingbridge.simulator.api.calls import Handler, Routes, is_v1, json_answer, name_of, parameters, read_call
from dingbridge.simulator.api.contacts import ContactCalls
from dingbridge.simulator.api.login import ME, PAGE, TOKEN, PersonalLogin
from dingbridge.simulator.api.top import PATH as TOP_PATH
from dingbridge.simulator.api.top import method_names, read_top, unknown_method, wrapped
from dingbridge.simulator.api.workflow import WorkflowCalls
from dingbridge.simulator.api.writes import WriteCalls
from dingbridge.simulator.errors import NewerError, PlatformError, denied, newer
from dingbridge.simulator.faults import Fault, Faults, changed
from dingbridge.simulator.limits import Limits
from dingbridge.simulator.pushes.gateway import OPEN, Gateway
from dingbridge.simulator.rights import Rights, permission_of
from dingbridge.simulator.tokens import AccessTokens

__all__ = [
    "ApprovalCalls",
    "CallbackCalls",
    "ContactCalls",
    "OpenApi",
    "WorkflowCalls",
    "WriteCalls",
    "json_answer",
]

GETTOKEN: Final = "/gettoken"
DOWNLOAD: Final = "approval-files"
"""The name of the download of attachments, where a fault names a call."""
_LOOK_S: Final = 0.05
_BAN_PAGE: Final = (
    "<!DOCTYPE html><html><head><title>405</title></head><body>"
    "很抱歉，由于您访问的URL有可能对网站造成安全威胁，您的访问被阻断。</body></html>"
)

Route = Callable[[web.Request], Awaitable[web.StreamResponse]]


class Family(Protocol):
    def routes(self) -> Routes: ...


class OpenApi:
    """The routes of ``families``. ``calls`` counts the requests by path, refused ones too; ``act`` makes
    something happen for a fault that wants it."""

    def __init__(
        self,
        tokens: AccessTokens,
        approvals: ApprovalCalls,
        *families: Family,
        gateway: Gateway,
        faults: Faults,
        limits: Limits,
        rights: Rights,
        login: PersonalLogin,
        act: Callable[[str, dict[str, Any]], object],
    ) -> None:
        self._tokens = tokens
        self._approvals = approvals
        self._gateway = gateway
        self._calls: Routes = [call for family in (approvals, *families) for call in family.routes()]
        self._faults = faults
        self._limits = limits
        self._rights = rights
        self._login = login
        self._act = act
        self.calls: Counter[str] = Counter()
        self._handlers = {name_of(path, method): handler for method, path, handler in self._calls}
        self._methods = method_names({name_of(path) for _, path, _ in self._calls if not is_v1(path)})
        others = {name_of(GETTOKEN), name_of(OPEN), name_of(TOKEN), name_of(ME, "GET")}
        faults.apis = {*self._handlers, *others, DOWNLOAD}

    def routes(self) -> list[web.RouteDef]:
        calls = [
            web.route(m, path, self._gated(name, self._call(name, h)))
            for m, path, h in self._calls
            for name in (name_of(path, m),)
        ]
        return [
            web.get(GETTOKEN, self._gated(name_of(GETTOKEN), self._gettoken)),
            web.post(OPEN, self._gated(name_of(OPEN), self._open_connection)),
            web.get(DOWNLOAD_PATH, self._gated(DOWNLOAD, self._download)),
            web.post(TOP_PATH, self._top),
            web.get(PAGE, self._login_page),
            web.post(TOKEN, self._gated(name_of(TOKEN), self._personal_token)),
            web.get(ME, self._gated(name_of(ME, "GET"), self._me)),
            *calls,
        ]

    def _gated(self, api: str, route: Route) -> Route:
        """What each request passes first."""
        # paths that hold an id are counted together
        shown = f"/{DOWNLOAD}" if api == DOWNLOAD else api if "/v1.0/" in api else None

        async def gated(request: web.Request) -> web.StreamResponse:
            self.calls[shown or request.path] += 1
            try:
                given = await parameters(request) if self._faults.ask_parameters(api) else {}
                hit = self._faults.hit(api, given)
                for fault in hit:
                    if fault.done:
                        with contextlib.suppress(PlatformError):
                            await limited(request)
                    if (suffered := await self._suffer(fault, api, request)) is not None:
                        return suffered
                return _as_shown(await limited(request), hit, given)
            except PlatformError as error:
                return _refusal(request, error)

        async def limited(request: web.Request) -> web.StreamResponse:
            if self._limits.banned():
                return _ban()
            if api != DOWNLOAD:
                self._limits.call(api)
            return await route(request)

        return gated

    def _call(self, api: str, handler: Handler) -> Route:
        """A handler of a call's parameters becomes a route."""

        async def route(request: web.Request) -> web.Response:
            if is_v1(request.path):
                self._admit(api, _token_header(request))
                return json_answer(await handler(await read_call(request)))
            self._admit(api, request.query.get("access_token"))
            answer = {"errcode": 0, "errmsg": "ok", **await handler(await read_call(request))}
            if request.path.startswith("/topapi/"):
                answer["request_id"] = uuid.uuid4().hex[:12]
            return json_answer(answer)

        return route

    def _admit(self, api: str, token: str | None) -> None:
        self._tokens.check(token)
        self._rights.check(api, token)

    async def _top(self, request: web.Request) -> web.StreamResponse:
        """A call by the older gateway; faults, limits and token are the same."""
        try:
            method, token, call = await read_top(request)
        except PlatformError as error:
            return _refusal(request, error)
        api = self._methods.get(method)
        if api is None:
            return json_answer(unknown_method(method))
        handler = self._handlers[api]

        async def route(request: web.Request) -> web.Response:
            try:
                self._admit(api, token)
                answer = {"errcode": 0, "errmsg": "ok", **await handler(call)}
            except PlatformError as error:
                answer = error.answer()
            return json_answer(wrapped(method, answer | {"request_id": uuid.uuid4().hex[:12]}))

        return await self._gated(api, route)(request)

    async def _suffer(self, fault: Fault, api: str, request: web.Request) -> web.Response | None:
        """The answer that the fault makes; ``None`` when the call goes on."""
        match fault.kind:
            case "errcode" if fault.code is not None:
                raise NewerError(fault.code, "请求失败", fault.status or 400)
            case "errcode":
                sub = {} if fault.sub_code is None else {"sub_code": fault.sub_code, "sub_msg": "请求被拒绝"}
                raise PlatformError(fault.errcode or 0, None, **sub)
            case "deny" if fault.errcode is not None:
                raise denied(fault.errcode, permission_of(api), self._rights.app_key)
            case "deny":
                raise PlatformError(60020, f"访问ip不在白名单之中,request ip={request.remote}")
            case "http":
                return web.Response(status=fault.status or 500)
            case "ban" if fault.status is not None:
                return web.Response(status=fault.status, text=_BAN_PAGE, content_type="text/html")
            case "ban":
                return _ban()
            case "act":
                self._act(fault.action or "", fault.arguments)
                return None
            case "expire":
                self._tokens.expire()
                return None
            case "edit" | "repeat" | "half" | "late":
                return None
            case "cut":
                _cut(request)
                return web.Response(status=504)
            case "hang":
                while not fault.cleared.is_set() and fault in [*self._faults] and _connected(request):
                    try:
                        async with asyncio.timeout(_LOOK_S):
                            await fault.cleared.wait()
                    except TimeoutError:
                        continue
                _cut(request)
                return web.Response(status=504)

    async def _gettoken(self, request: web.Request) -> web.Response:
        return self._token(self._tokens.issue(request.query.get("appkey"), request.query.get("appsecret")))

    async def _open_connection(self, request: web.Request) -> web.Response:
        return json_answer(self._gateway.open(await read_call(request)))

    async def _login_page(self, request: web.Request) -> web.Response:
        try:
            address, page = self._login.page(request.query)
        except PlatformError as error:
            return _refusal(request, error)
        if address:
            raise web.HTTPFound(address)
        return web.Response(text=page, content_type="text/html")

    async def _personal_token(self, request: web.Request) -> web.Response:
        return json_answer(self._login.exchange(await read_call(request)))

    async def _me(self, request: web.Request) -> web.Response:
        """By the person's token, not the app's."""
        if (permission := permission_of(name_of(ME, "GET"))) in self._rights.lacking:
            raise denied(60011, permission, self._rights.app_key)
        return json_answer(self._login.me(_token_header(request)))

    def _token(self, token: str) -> web.Response:
        return json_answer(
            {"errcode": 0, "errmsg": "ok", "access_token": token, "expires_in": self._tokens.valid_s}
        )

    async def _download(self, request: web.Request) -> web.Response:
        return self._approvals.download(request.match_info["ticket"])


def _as_shown(response: web.StreamResponse, faults: list[Fault], given: dict[str, Any]) -> web.StreamResponse:
    if isinstance(response, web.Response) and isinstance(response.body, bytes) and faults:
        response.body = changed(response.body, faults, given)
    return response


def _refusal(request: web.Request, error: PlatformError) -> web.Response:
    if is_v1(request.path):
        newer_answer, status = newer(error)
        return json_answer(newer_answer | {"requestid": str(uuid.uuid4()).upper()}, status)
    answer = error.answer()
    if request.path.startswith("/topapi/"):
        answer["request_id"] = uuid.uuid4().hex[:12]
    return json_answer(answer)


def _token_header(request: web.Request) -> str:
    """The token of a call of the newer host. Raises ``NewerError`` where the gateway refuses the call."""
    token = request.headers.get("x-acs-dingtalk-access-token")
    if not token or "access_token" in request.query:
        words = "x-acs-dingtalk-access-token is mandatory for this action."
        raise NewerError("AuthenticationFailed.MissingParameter", words)
    if request.content_type != "application/json" and (
        # the vendor's own SDK sends none with a GET; a client's author reports that it is needed
        request.method != "GET" or "Content-Type" in request.headers
    ):
        raise NewerError("UnsupportedContentType", "Content-Type must be application/json")
    return token


def _ban() -> web.Response:
    """The firewall's answer (call-frequency-limit), which has no errcode."""
    ban = {"status": 1111, "wait": 5, "source": "x5", "punish": "deny", "uuid": uuid.uuid4().hex}
    return json_answer(ban)


def _cut(request: web.Request) -> None:
    if request.transport is not None:
        request.transport.abort()


def _connected(request: web.Request) -> bool:
    return request.transport is not None and not request.transport.is_closing()
