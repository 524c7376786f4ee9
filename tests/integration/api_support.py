"""oapi.dingtalk.com in small, and a client of it: what the tests of the Open API client share."""

import asyncio
import traceback
from collections import deque
from collections.abc import AsyncIterator, Mapping
from typing import Any

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from dingbridge.dingtalk.api import DingTalkClient

APP_KEY, APP_SECRET = "dingappkeyexample01", "appSecretForTests01"
TOKEN, AES_KEY = "tokenForTests01", "abcdefghijklmnopqrstuvwxyz0123456789ABCDEFA"
URL = "https://bridge.example.com/callback"
OK = {"errcode": 0, "errmsg": "ok"}
BUSY = {"errcode": -1, "errmsg": "系统繁忙"}
QPS = {"errcode": 90018, "errmsg": "您的服务器调用钉钉开放平台当前接口的所有请求都被暂时禁用了"}


class Platform:
    """oapi.dingtalk.com in small. ``scripted[path]`` holds answers that come before the ordinary ones;
    ``raw`` the last body of each path as it came, ``headers`` those of the last request.
    ``granted[path]`` is which token, from 0, is the first that has the right to call it."""

    def __init__(self) -> None:
        self.seen: list[tuple[str, str, dict[str, Any]]] = []
        self.queries: list[dict[str, str]] = []
        self.raw: dict[str, bytes] = {}
        self.headers: Mapping[str, str] = {}
        self.scripted: dict[str, deque[Any]] = {}
        self.tokens: list[str] = []
        self.valid: set[str] = set()
        self.granted: dict[str, int] = {}
        self.callback: dict[str, Any] | None = None
        self.members = [{"userid": f"u{n:03}", "dept_id_list": ["7"], "active": "true"} for n in range(250)]
        self.release = asyncio.Event()
        self.app = web.Application()
        self.app.router.add_route("*", "/{path:.*}", self.handle)

    def script(self, path: str, *answers: Any) -> None:
        self.scripted.setdefault(path, deque()).extend(answers)

    def requests(self, path: str) -> list[dict[str, Any]]:
        return [body for _, seen, body in self.seen if seen == path]

    async def handle(self, request: web.Request) -> web.StreamResponse:
        body = await request.json() if request.can_read_body else {}
        self.seen.append((request.method, request.path, body))
        self.queries.append(dict(request.query))
        self.raw[request.path], self.headers = await request.read(), request.headers
        if (refusal := self.refused(request)) is not None:
            return refusal
        if self.scripted.get(request.path):
            answer = self.scripted[request.path].popleft()
            if answer == "hang":
                await self.release.wait()
                answer = OK
            if answer == "cut":
                assert request.transport is not None
                request.transport.abort()
            return answer if isinstance(answer, web.StreamResponse) else web.json_response(answer)
        if request.path == "/gettoken":
            return web.json_response(self.give_token(request))
        if request.path.startswith("/v1.0/"):
            token = request.headers.get("x-acs-dingtalk-access-token")
            if request.headers.get("Content-Type") != "application/json" or request.query.get("access_token"):
                return web.json_response({"code": "invalidParameter", "message": "header"}, status=400)
        else:
            token = request.query.get("access_token")
        if token not in self.valid:
            return web.json_response({"errcode": 40014, "errmsg": "不合法的access_token"})
        method, answer = self.answer(request.path, body)
        assert request.method == method
        return web.json_response(answer)

    def refused(self, request: web.Request) -> web.Response | None:
        """The answer to a call whose right came later than its token, as either host gives it."""
        token = request.query.get("access_token") or request.headers.get("x-acs-dingtalk-access-token")
        if token not in self.tokens or self.tokens.index(token) >= self.granted.get(request.path, 0):
            return None
        words = "应用尚未开通所需的权限：[Some.Right.Read]"
        if request.path.startswith("/v1.0/"):
            name = "Forbidden.AccessDenied.AccessTokenPermissionDenied"
            return web.json_response({"requestid": "019F", "code": name, "message": words}, status=403)
        return web.json_response({"errcode": 88, "errmsg": "auth", "sub_code": "60011", "sub_msg": words})

    def give_token(self, request: web.Request) -> dict[str, Any]:
        if (request.query.get("appkey"), request.query.get("appsecret")) != (APP_KEY, APP_SECRET):
            return {"errcode": 40089, "errmsg": "不合法的appKey或appSecret"}
        self.tokens.append(f"accessToken{len(self.tokens)}")
        self.valid = {self.tokens[-1]}
        return {**OK, "access_token": self.tokens[-1], "expires_in": 7200}

    def answer(self, path: str, body: dict[str, Any]) -> tuple[str, dict[str, Any]]:
        match path:
            case "/call_back/register_call_back" if self.callback is not None:
                return "POST", {"errcode": 71006, "errmsg": "回调地址已经存在"}
            case "/call_back/register_call_back":
                self.callback = body
                return "POST", OK
            case "/call_back/update_call_back" if self.callback is None:
                return "POST", {"errcode": 71007, "errmsg": "回调不存在"}
            case "/call_back/update_call_back":
                self.callback = body
                return "POST", OK
            case "/call_back/get_call_back" | "/call_back/delete_call_back" if self.callback is None:
                return "GET", {"errcode": 71007, "errmsg": "回调不存在"}
            case "/call_back/get_call_back":
                return "GET", {**OK, **(self.callback or {})}
            case "/call_back/delete_call_back":
                self.callback = None
                return "GET", OK
            case "/topapi/v2/user/get" if body["userid"] == "u001":
                return "POST", {
                    **OK,
                    "result": {
                        "userid": "u001",
                        "unionid": "union001",
                        "name": "王芳",
                        "dept_id_list": ["1", "7"],
                    },
                }
            case "/topapi/v2/user/get":
                return "POST", {"errcode": 60121, "errmsg": "找不到该用户"}
            case "/topapi/v2/department/get":
                return "POST", {**OK, "result": {"dept_id": "7", "name": "研发部", "parent_id": 1}}
            case "/topapi/v2/department/listsub" if body["dept_id"] == 1:
                return "POST", {**OK, "result": [{"dept_id": 7, "parent_id": "1"}]}
            case "/topapi/v2/department/listsub":
                return "POST", OK
            case "/topapi/v2/user/list":
                end = body["cursor"] + body["size"]
                more = (
                    {"has_more": "true", "next_cursor": str(end)}
                    if end < len(self.members)
                    else {"has_more": False}
                )
                return "POST", {**OK, "result": {**more, "list": self.members[body["cursor"] : end]}}
            case "/v1.0/workflow/processInstances":
                instance = {"title": "请假", "status": "COMPLETED", "result": "agree", "businessId": "2024"}
                return "GET", {"result": instance, "success": True}
        raise AssertionError(path)


class Sleeps:
    """Stands in for ``asyncio.sleep`` and remembers what it was asked for; ``now`` goes on by it."""

    def __init__(self) -> None:
        self.seconds: list[float] = []
        self.now = 0.0

    async def __call__(self, seconds: float) -> None:
        self.seconds.append(seconds)
        self.now += seconds

    def clock(self) -> float:
        return self.now


@pytest.fixture
async def platform() -> Platform:
    return Platform()


@pytest.fixture
async def server(platform: Platform) -> AsyncIterator[TestServer]:
    server = TestServer(platform.app)
    await server.start_server()
    yield server
    platform.release.set()
    await server.close()


@pytest.fixture
def sleeps() -> Sleeps:
    return Sleeps()


@pytest.fixture
def base(server: TestServer) -> str:
    return str(server.make_url("")).rstrip("/")


@pytest.fixture
async def client(base: str, sleeps: Sleeps) -> AsyncIterator[DingTalkClient]:
    async with DingTalkClient(
        app_key=APP_KEY, app_secret=APP_SECRET, base=base, sleep=sleeps, clock=sleeps.clock
    ) as client:
        yield client


def everything_said(error: BaseException) -> str:
    """All that a log could show of an error: its text, its causes and contexts, its traceback."""
    assert error.__cause__ is None
    return "".join(traceback.format_exception(error)) + repr(error) + repr(vars(error))
