"""DingTalk's HTTP surface: the calls of the Open API (host oapi.dingtalk.com) that the simulator offers.

Thin: reads a request, asks the company, writes DingTalk's JSON. Every answer is HTTP 200 with ``errcode``,
as there. Parameters are read leniently (JSON or form, numbers also as text), as DingTalk's own SDKs differ.
"""

import uuid
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Final

import orjson
from aiohttp import web

from simulator.company import Department, User
from simulator.errors import PlatformError
from simulator.failed import FailedList
from simulator.platform import Platform
from simulator.registration import Callbacks
from simulator.tokens import AccessTokens

_PAGE_MOST: Final = 100

Body = Mapping[str, Any]
Answer = Mapping[str, Any]


def json_answer(body: Any, status: int = 200) -> web.Response:
    return web.Response(
        body=orjson.dumps(body), status=status, content_type="application/json", charset="utf-8"
    )


class OpenApi:
    """The routes. ``calls`` counts the requests by path, refused ones too."""

    def __init__(
        self, platform: Platform, tokens: AccessTokens, callbacks: Callbacks, failed: FailedList
    ) -> None:
        self._platform = platform
        self._company = platform.company
        self._tokens = tokens
        self._callbacks = callbacks
        self._failed = failed
        self.calls: Counter[str] = Counter()

    def routes(self) -> list[web.RouteDef]:
        call = self._call
        return [
            web.get("/gettoken", self._gettoken),
            web.post("/call_back/register_call_back", call(self._register)),
            web.post("/call_back/update_call_back", call(self._update)),
            web.get("/call_back/get_call_back", call(self._get_call_back)),
            web.get("/call_back/delete_call_back", call(self._delete)),
            web.get("/call_back/get_call_back_failed_result", call(self._failed_result)),
            web.post("/topapi/v2/user/get", call(self._user_get)),
            web.post("/topapi/v2/user/list", call(self._user_list)),
            web.post("/topapi/v2/department/get", call(self._department_get)),
            web.post("/topapi/v2/department/listsub", call(self._department_listsub)),
            web.post("/topapi/v2/department/listsubid", call(self._department_listsubid)),
            web.post("/topapi/processinstance/get", call(self._processinstance_get)),
        ]

    def _call(
        self, handler: Callable[[Body], Awaitable[Answer]]
    ) -> Callable[[web.Request], Awaitable[web.Response]]:
        """A handler of the request's body becomes a route: token checked, refusals answered."""

        async def route(request: web.Request) -> web.Response:
            self.calls[request.path] += 1
            try:
                self._tokens.check(request.query.get("access_token"))
                answer = {"errcode": 0, "errmsg": "ok", **await handler(await _body(request))}
            except PlatformError as error:
                answer = {"errcode": error.errcode, "errmsg": error.errmsg}
            if request.path.startswith("/topapi/"):
                answer["request_id"] = uuid.uuid4().hex[:12]
            return json_answer(answer)

        return route

    async def _gettoken(self, request: web.Request) -> web.Response:
        self.calls[request.path] += 1
        try:
            token = self._tokens.issue(request.query.get("appkey"), request.query.get("appsecret"))
        except PlatformError as error:
            return json_answer({"errcode": error.errcode, "errmsg": error.errmsg})
        return json_answer(
            {"errcode": 0, "errmsg": "ok", "access_token": token, "expires_in": self._tokens.valid_s}
        )

    # The callback

    async def _register(self, body: Body) -> Answer:
        await self._callbacks.register(body)
        return {}

    async def _update(self, body: Body) -> Answer:
        await self._callbacks.update(body)
        return {}

    async def _get_call_back(self, body: Body) -> Answer:
        registration = self._callbacks.get()
        target = registration.target
        return {
            "call_back_tag": registration.tags,
            "token": target.token,
            "aes_key": target.aes_key,
            "url": target.url,
        }

    async def _delete(self, body: Body) -> Answer:
        self._callbacks.delete()
        return {}

    async def _failed_result(self, body: Body) -> Answer:
        items, more = self._failed.read()
        return {"failed_list": items, "has_more": more}

    # People and departments

    async def _user_get(self, body: Body) -> Answer:
        userid = _text(body, "userid")
        user = self._company.users.get(userid)
        if user is None:
            raise PlatformError(60121, "找不到该用户")
        return {"result": self._user(user)}

    async def _user_list(self, body: Body) -> Answer:
        dept = self._department(body)
        cursor, size = _number(body, "cursor"), _number(body, "size")
        if cursor < 0 or not 1 <= size <= _PAGE_MOST:
            raise PlatformError(40035, "不合法的参数: size为1到100，cursor不小于0")
        members = self._company.members(dept.dept_id)
        page = members[cursor : cursor + size]
        result: dict[str, Any] = {
            "has_more": cursor + size < len(members),
            "list": [self._user(self._company.users[userid]) for userid in page],
        }
        if result["has_more"]:
            result["next_cursor"] = cursor + size
        return {"result": result}

    async def _department_get(self, body: Body) -> Answer:
        return {"result": self._company.department_result(self._department(body))}

    async def _department_listsub(self, body: Body) -> Answer:
        children = self._company.children(self._department(body, default=1).dept_id)
        shown = ("dept_id", "name", "parent_id", "create_dept_group", "auto_add_user")
        results = [self._company.department_result(child) for child in children]
        return {"result": [{key: result[key] for key in shown} for result in results]}

    async def _department_listsubid(self, body: Body) -> Answer:
        children = self._company.children(self._department(body).dept_id)
        return {"result": {"dept_id_list": [child.dept_id for child in children]}}

    def _user(self, user: User) -> dict[str, Any]:
        return self._company.user_result(user)

    def _department(self, body: Body, default: int | None = None) -> Department:
        dept_id = _number(body, "dept_id", default)
        dept = self._company.departments.get(dept_id)
        if dept is None:
            raise PlatformError(60003, "部门不存在")
        return dept

    # Approvals

    async def _processinstance_get(self, body: Body) -> Answer:
        approval = self._platform.approvals.get(_text(body, "process_instance_id"))
        if approval is None:
            raise PlatformError(400002, "无效的参数: process_instance_id对应的审批实例不存在")
        return {"process_instance": self._platform.approvals.result(approval)}


async def _body(request: web.Request) -> Body:
    if request.method == "GET":
        return {}
    if request.content_type in ("application/x-www-form-urlencoded", "multipart/form-data"):
        return {key: value for key, value in (await request.post()).items() if isinstance(value, str)}
    raw = await request.read()
    try:
        body = orjson.loads(raw) if raw else {}
    except orjson.JSONDecodeError:
        body = None
    if not isinstance(body, dict):
        raise PlatformError(43008, "参数需要是json类型")
    return body


def _text(body: Body, name: str) -> str:
    value = body.get(name)
    if not isinstance(value, str) or not value:
        raise PlatformError(400002, f"无效的参数: 缺少{name}")
    return value


def _number(body: Body, name: str, default: int | None = None) -> int:
    value = body.get(name, default)
    if isinstance(value, str) and value.removeprefix("-").isdecimal() and len(value) < 20:
        value = int(value)
    if not isinstance(value, int) or isinstance(value, bool):
        raise PlatformError(400002, f"无效的参数: {name}")
    return value
