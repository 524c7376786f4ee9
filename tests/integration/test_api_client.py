"""The Open API client and ``dingbridge callback`` against a server that behaves by DingTalk's documents."""

import asyncio
import logging
import os
import sys
import traceback
from collections import deque
from collections.abc import AsyncIterator
from typing import Any

import aiohttp
import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer, unused_port
from structlog.testing import capture_logs

from dingtalk.api import DingTalkClient
from dingtalk.errors import (
    ApiError,
    CallbackExists,
    CallbackMissing,
    NotFound,
    QuotaSpent,
    RateLimited,
    TokenInvalid,
    Unavailable,
)
from dingtalk.pace import PER_S

APP_KEY, APP_SECRET = "dingappkeyexample01", "appSecretForTests01"
TOKEN, AES_KEY = "tokenForTests01", "abcdefghijklmnopqrstuvwxyz0123456789ABCDEFA"
URL = "https://bridge.example.com/callback"
OK = {"errcode": 0, "errmsg": "ok"}
BUSY = {"errcode": -1, "errmsg": "系统繁忙"}
QPS = {"errcode": 90018, "errmsg": "您的服务器调用钉钉开放平台当前接口的所有请求都被暂时禁用了"}


class Platform:
    """oapi.dingtalk.com in small. ``scripted[path]`` holds answers that come before the ordinary ones."""

    def __init__(self) -> None:
        self.seen: list[tuple[str, str, dict[str, Any]]] = []
        self.scripted: dict[str, deque[Any]] = {}
        self.tokens: list[str] = []
        self.valid: set[str] = set()
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
        if request.query.get("access_token") not in self.valid:
            return web.json_response({"errcode": 40014, "errmsg": "不合法的access_token"})
        method, answer = self.answer(request.path, body)
        assert request.method == method
        return web.json_response(answer)

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
                    "result": {"userid": "u001", "name": "王芳", "dept_id_list": ["1", "7"]},
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
            case "/topapi/processinstance/get":
                instance = {"title": "请假", "status": "COMPLETED", "result": "agree", "business_id": "2024"}
                return "POST", {**OK, "process_instance": instance}
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


class TestCalls:
    async def test_contacts(self, client: DingTalkClient, platform: Platform) -> None:
        assert (await client.user("u001"))["dept_id_list"] == [1, 7]
        assert await client.department(7) == {"dept_id": 7, "name": "研发部", "parent_id": 1}
        assert await client.sub_departments(1) == [{"dept_id": 7, "parent_id": 1}]
        assert await client.sub_departments(7) == []
        assert platform.requests("/topapi/v2/user/get") == [{"userid": "u001", "language": "zh_CN"}]

    async def test_a_user_who_does_not_exist(self, client: DingTalkClient) -> None:
        with pytest.raises(NotFound) as caught:
            await client.user("u999")
        assert (caught.value.api, caught.value.errcode) == ("v2/user/get", 60121)
        assert not caught.value.world_down

    async def test_users_of_a_department_page_by_page(
        self, client: DingTalkClient, platform: Platform
    ) -> None:
        users = [user async for user in client.department_users(7)]
        assert [user["userid"] for user in users] == [f"u{n:03}" for n in range(250)]
        assert users[0] == {"userid": "u000", "dept_id_list": [7], "active": True}
        assert [body["cursor"] for body in platform.requests("/topapi/v2/user/list")] == [0, 100, 200]

    @pytest.mark.parametrize("page", [{"has_more": True}, {"has_more": True, "next_cursor": 0}])
    async def test_paging_that_does_not_advance_ends(
        self, client: DingTalkClient, platform: Platform, page: dict[str, Any]
    ) -> None:
        platform.script("/topapi/v2/user/list", {**OK, "result": {**page, "list": []}})
        with pytest.raises(Unavailable, match="does not advance"):
            [user async for user in client.department_users(7)]

    async def test_approval(self, client: DingTalkClient, platform: Platform) -> None:
        assert (await client.approval("pi-1"))["result"] == "agree"
        assert platform.requests("/topapi/processinstance/get") == [{"process_instance_id": "pi-1"}]

    async def test_a_success_without_its_object(self, client: DingTalkClient, platform: Platform) -> None:
        platform.script("/topapi/v2/user/get", OK)
        with pytest.raises(Unavailable, match="without the object"):
            await client.user("u001")

    async def test_callback_registration(self, client: DingTalkClient, platform: Platform) -> None:
        wanted: dict[str, Any] = {"tags": ["user_add_org"], "token": TOKEN, "aes_key": AES_KEY, "url": URL}
        with pytest.raises(CallbackMissing):
            await client.get_call_back()
        with pytest.raises(CallbackMissing):
            await client.update_call_back(**wanted)
        await client.register_call_back(**wanted)
        assert platform.callback == {
            "call_back_tag": ["user_add_org"],
            "token": TOKEN,
            "aes_key": AES_KEY,
            "url": URL,
        }
        with pytest.raises(CallbackExists, match="--replace"):
            await client.register_call_back(**wanted)
        await client.update_call_back(**{**wanted, "tags": ("user_add_org", "user_leave_org")})
        registered = await client.get_call_back()
        assert registered.tags == ("user_add_org", "user_leave_org")
        assert (registered.token, registered.aes_key, registered.url) == (TOKEN, AES_KEY, URL)
        assert TOKEN not in repr(registered)
        assert AES_KEY not in repr(registered)
        await client.delete_call_back()
        assert platform.callback is None

    async def test_every_request_is_counted_by_name(self, client: DingTalkClient, platform: Platform) -> None:
        platform.script("/topapi/v2/user/get", BUSY)
        await client.user("u001")
        await client.approval("pi-1")
        assert client.calls == {"gettoken": 1, "v2/user/get": 2, "processinstance/get": 1}

    async def test_a_session_that_is_given_is_not_closed(self, base: str) -> None:
        async with aiohttp.ClientSession(raise_for_status=True) as session:
            async with DingTalkClient(
                app_key=APP_KEY, app_secret=APP_SECRET, base=base, session=session
            ) as client:
                await client.user("u001")
            assert not session.closed


class TestToken:
    async def test_is_fetched_once_for_many_callers(self, client: DingTalkClient, platform: Platform) -> None:
        await asyncio.gather(*(client.user("u001") for _ in range(20)))
        assert len(platform.tokens) == 1

    async def test_is_renewed_before_it_expires(self, base: str, platform: Platform) -> None:
        now = 0.0
        async with DingTalkClient(
            app_key=APP_KEY, app_secret=APP_SECRET, base=base, clock=lambda: now
        ) as client:
            await client.user("u001")
            now = 7000.0
            await client.user("u001")
        assert len(platform.tokens) == 2

    @pytest.mark.parametrize(
        "refusal",
        [
            {"errcode": 40014, "errmsg": "不合法的access_token"},
            {"errcode": 42001, "errmsg": "access_token已过期"},
            {"errcode": "88", "errmsg": "auth", "sub_code": "40014", "sub_msg": "不合法的access_token"},
        ],
    )
    async def test_is_fetched_anew_when_refused(
        self, client: DingTalkClient, platform: Platform, refusal: dict[str, Any]
    ) -> None:
        platform.script("/topapi/v2/user/get", refusal)
        assert (await client.user("u001"))["userid"] == "u001"
        assert len(platform.tokens) == 2

    async def test_twenty_refused_at_once_fetch_one(self, client: DingTalkClient, platform: Platform) -> None:
        await client.access_token()
        platform.valid.clear()
        await asyncio.gather(*(client.user("u001") for _ in range(20)))
        assert len(platform.tokens) == 2

    async def test_is_fetched_anew_only_once(self, client: DingTalkClient, platform: Platform) -> None:
        refusal = {"errcode": 40014, "errmsg": "不合法的access_token"}
        platform.script("/topapi/v2/user/get", refusal, refusal, refusal)
        with pytest.raises(TokenInvalid) as caught:
            await client.user("u001")
        assert caught.value.world_down
        assert client.calls == {"gettoken": 2, "v2/user/get": 2}

    async def test_a_wrong_app_secret_says_so(self, base: str) -> None:
        async with DingTalkClient(app_key=APP_KEY, app_secret="wrongSecret99", base=base) as client:
            with pytest.raises(TokenInvalid, match="DINGTALK_APP_SECRET") as caught:
                await client.user("u001")
        assert "wrongSecret99" not in everything_said(caught.value)
        assert client.calls == {"gettoken": 1}

    @pytest.mark.parametrize("expires_in", ["7200", None])
    async def test_life_as_text_or_absent(
        self, client: DingTalkClient, platform: Platform, expires_in: str | None
    ) -> None:
        platform.valid = {"mine"}
        platform.script("/gettoken", {**OK, "access_token": "mine", "expires_in": expires_in})
        await client.user("u001")
        await client.user("u001")
        assert client.calls["gettoken"] == 1

    async def test_none_in_the_answer(self, client: DingTalkClient, platform: Platform) -> None:
        platform.script("/gettoken", OK)
        with pytest.raises(Unavailable, match="without an access token"):
            await client.user("u001")


class TestPatience:
    @pytest.mark.parametrize("errcode", [90018, 90002, 90006, "90018"])
    async def test_rate_limits_are_waited_out(
        self, client: DingTalkClient, platform: Platform, sleeps: Sleeps, errcode: int | str
    ) -> None:
        limited = {"errcode": errcode, "errmsg": "限流"}
        platform.script("/topapi/v2/user/get", limited, limited, limited)
        with capture_logs() as logs:
            await client.user("u001")
        assert sleeps.seconds == [1, 2, 4]
        assert [log["retry_in_s"] for log in logs if log["event"] == "api.rate_limited"] == [1, 2, 4]

    async def test_a_limit_that_stays_is_raised(
        self, client: DingTalkClient, platform: Platform, sleeps: Sleeps
    ) -> None:
        platform.script("/topapi/v2/user/get", *[QPS] * 4)
        with pytest.raises(RateLimited) as caught:
            await client.user("u001")
        assert (sleeps.seconds, caught.value.retry_after_s, caught.value.world_down) == ([1, 2, 4], 8, True)

    async def test_the_token_call_is_as_patient(
        self, client: DingTalkClient, platform: Platform, sleeps: Sleeps
    ) -> None:
        platform.script("/gettoken", QPS, BUSY)
        await client.user("u001")
        # and what follows keeps to the pace
        assert sleeps.seconds == [1, 1, pytest.approx(1 / PER_S)]

    async def test_busy_is_tried_three_times(
        self, client: DingTalkClient, platform: Platform, sleeps: Sleeps
    ) -> None:
        platform.script("/topapi/v2/user/get", BUSY, BUSY)
        await client.user("u001")
        assert sleeps.seconds == [1, 2]
        platform.script("/topapi/v2/user/get", BUSY, BUSY, BUSY)
        with pytest.raises(Unavailable) as caught:
            await client.user("u001")
        assert caught.value.errcode == -1
        assert client.calls["v2/user/get"] == 6

    async def test_a_spent_quota_is_not_tried_again(
        self, client: DingTalkClient, platform: Platform, sleeps: Sleeps
    ) -> None:
        platform.script("/topapi/processinstance/get", {"errcode": 90020, "errmsg": "API调用量已用完"})
        with pytest.raises(QuotaSpent) as caught:
            await client.approval("pi-1")
        assert caught.value.world_down
        assert sleeps.seconds == []

    @pytest.mark.parametrize(
        ("ban", "wait_s"),
        [
            ({"status": 1111, "wait": 5, "source": "x5", "punish": "deny", "uuid": "abc"}, 5),
            ("<html><script>deny()</script></html>", 300),
        ],
    )
    async def test_a_ban_is_raised_with_its_wait(
        self, client: DingTalkClient, platform: Platform, sleeps: Sleeps, ban: Any, wait_s: float
    ) -> None:
        html = isinstance(ban, str)
        platform.script(
            "/topapi/v2/user/get", web.Response(text=ban, content_type="text/html") if html else ban
        )
        with pytest.raises(Unavailable, match="firewall") as caught:
            await client.user("u001")
        assert (caught.value.retry_after_s, sleeps.seconds) == (wait_s, [])
        assert (await client.user("u001"))["userid"] == "u001"


class TestTrouble:
    """Network trouble has words, is ``Unavailable``, and never shows a URL that holds a token."""

    async def fails(self, client: DingTalkClient, words: str) -> None:
        with pytest.raises(ApiError, match=words) as caught:
            await client.user("u001")
        assert isinstance(caught.value, Unavailable)
        assert caught.value.__context__ is None
        said = everything_said(caught.value)
        for secret in ("accessToken", APP_SECRET, APP_KEY):
            assert secret not in said

    async def test_no_answer(self, base: str, platform: Platform) -> None:
        # at the first call: any answer that must come in time would make the test depend on the machine
        platform.script("/gettoken", "hang")
        async with DingTalkClient(app_key=APP_KEY, app_secret=APP_SECRET, base=base, timeout_s=0.1) as client:
            await self.fails(client, "no answer within 0.1 s")

    @pytest.mark.parametrize("path", ["/gettoken", "/topapi/v2/user/get"])
    async def test_a_cut_connection(self, client: DingTalkClient, platform: Platform, path: str) -> None:
        # twice: aiohttp sends a request that is safe to repeat once more on a new connection
        platform.script(path, "cut", "cut")
        await self.fails(client, "the connection broke")

    async def test_nobody_listens(self) -> None:
        base = f"http://127.0.0.1:{unused_port()}"
        async with DingTalkClient(app_key=APP_KEY, app_secret=APP_SECRET, base=base) as client:
            await self.fails(client, "no connection .*DINGTALK_API_BASE")

    async def test_tls_where_there_is_none(self, base: str) -> None:
        base = base.replace("http://", "https://")
        async with DingTalkClient(app_key=APP_KEY, app_secret=APP_SECRET, base=base) as client:
            await self.fails(client, "TLS")

    async def test_a_base_that_is_no_url(self) -> None:
        async with DingTalkClient(app_key=APP_KEY, app_secret=APP_SECRET, base="http://") as client:
            await self.fails(client, "no URL")

    async def test_a_redirect_is_not_followed(self, client: DingTalkClient, platform: Platform) -> None:
        elsewhere = web.Response(status=302, headers={"Location": "/elsewhere"})
        platform.script("/topapi/v2/user/get", elsewhere)
        await self.fails(client, "HTTP 302")
        assert platform.requests("/elsewhere") == []

    async def test_a_broken_platform(self, client: DingTalkClient, platform: Platform) -> None:
        platform.script("/topapi/v2/user/get", web.Response(status=502, text="<html>bad gateway</html>"))
        await self.fails(client, "HTTP 502")

    async def test_words_of_the_platform_that_hold_a_secret(
        self, client: DingTalkClient, platform: Platform
    ) -> None:
        echo = {"errcode": 71010, "errmsg": f"bad: accessToken0 {TOKEN} {AES_KEY}"}
        platform.script("/call_back/register_call_back", echo)
        with pytest.raises(ApiError, match="71010") as caught:
            await client.register_call_back(tags=["check_in"], token=TOKEN, aes_key=AES_KEY, url=URL)
        said = everything_said(caught.value)
        for secret in ("accessToken0", TOKEN, AES_KEY):
            assert secret not in said

    async def test_nothing_secret_is_logged(
        self, client: DingTalkClient, platform: Platform, caplog: pytest.LogCaptureFixture
    ) -> None:
        caplog.set_level(logging.DEBUG)
        logging.getLogger("aiohttp.access").setLevel(logging.CRITICAL)  # the test server's own
        platform.script("/topapi/v2/user/get", QPS, BUSY, {"errcode": 40014, "errmsg": "accessToken0"})
        with capture_logs() as logs:
            await client.user("u001")
        said = repr(logs) + caplog.text
        assert "api.rate_limited" in said
        for secret in ("accessToken", APP_SECRET):
            assert secret not in said


class TestCommand:
    """``dingbridge callback`` as a process: what it prints and how it exits."""

    async def run(self, base: str, *arguments: str, **environment: str) -> tuple[int, str]:
        settings = {
            "DINGTALK_API_BASE": base,
            "DINGTALK_APP_KEY": APP_KEY,
            "DINGTALK_APP_SECRET": APP_SECRET,
            "DINGTALK_TOKEN": TOKEN,
            "DINGTALK_AES_KEY": AES_KEY,
            "DINGTALK_OWNER_KEY": APP_KEY,
        }
        inherited = {name: value for name, value in os.environ.items() if not name.startswith("DINGTALK_")}
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-c",
            "from bridge.cli import main; main()",
            "callback",
            *arguments,
            env={**inherited, **settings, **environment},
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
        )
        output, _ = await process.communicate()
        said = output.decode()
        assert "Traceback" not in said
        for secret in (APP_SECRET, TOKEN, AES_KEY, "accessToken"):
            assert secret not in said
        assert process.returncode is not None
        return process.returncode, said

    async def test_register_show_and_replace(self, base: str, platform: Platform) -> None:
        events = "user_add_org, bpms_instance_change,user_add_org"
        code, said = await self.run(base, "register", "--no-check", "--url", URL, "--events", events)
        assert (code, said.splitlines()[0]) == (0, f"registered: {URL}")
        assert platform.callback is not None
        assert platform.callback["call_back_tag"] == ["user_add_org", "bpms_instance_change"]

        code, said = await self.run(base, "show")
        assert code == 0
        assert URL in said
        assert "to…01 (15 characters)" in said
        assert "ab…FA (43 characters)" in said
        assert "  bpms_instance_change\n  user_add_org\n" in said

        code, said = await self.run(base, "register", "--no-check", "--url", URL, "--events", "check_in")
        assert code == 1
        assert "71006" in said
        assert "callback show" in said
        assert "--replace" in said

        code, said = await self.run(
            base, "register", "--no-check", "--url", URL, "--events", "check_in", "--replace"
        )
        assert (code, said.splitlines()[0]) == (0, f"replaced: {URL}")
        assert platform.callback["call_back_tag"] == ["check_in"]

    async def test_replace_where_nothing_is_registered(self, base: str, platform: Platform) -> None:
        code, said = await self.run(
            base, "register", "--no-check", "--url", URL, "--events", "check_in", "--replace"
        )
        assert (code, said.splitlines()[0]) == (0, f"registered: {URL}")
        assert platform.callback is not None

    async def test_show_where_nothing_is_registered(self, base: str) -> None:
        code, said = await self.run(base, "show")
        assert code == 1
        assert "callback register --url" in said

    @pytest.mark.parametrize(
        ("errcode", "words"),
        [(71009, "DINGTALK_AES_KEY"), (71011, "https://"), (71012, "1.5 s"), (71013, "domain")],
    )
    async def test_refusals_have_words_and_a_next_step(
        self, base: str, platform: Platform, errcode: int, words: str
    ) -> None:
        platform.script("/call_back/register_call_back", {"errcode": errcode, "errmsg": "回调失败"})
        code, said = await self.run(base, "register", "--no-check", "--url", URL, "--events", "check_in")
        assert code == 1
        assert f"errcode {errcode}: 回调失败" in said
        assert words in said

    async def test_settings_mistakes_exit_with_2(self, base: str, platform: Platform) -> None:
        code, said = await self.run(base, "register", "--url", URL, DINGTALK_TOKEN="", DINGTALK_APP_KEY="")
        assert code == 2
        assert "DINGTALK_TOKEN" in said
        assert "DINGTALK_APP_KEY" in said
        assert platform.seen == []

    async def test_a_platform_that_is_not_there(self) -> None:
        code, said = await self.run(f"http://127.0.0.1:{unused_port()}", "show")
        assert code == 1
        assert "DINGTALK_API_BASE" in said
