"""The Open API client against a server that behaves by DingTalk's documents: its calls and its token."""

import asyncio
from typing import Any

import aiohttp
import pytest

from dingbridge.dingtalk.api import DingTalkClient, approvals
from dingbridge.dingtalk.api.approvals import FILE_URLS, IDS, INSTANCES, TEMPLATES
from dingbridge.dingtalk.budget import Priority
from dingbridge.dingtalk.errors import (
    CallbackExists,
    CallbackMissing,
    NoAddress,
    NotFound,
    PermissionDenied,
    TokenInvalid,
    Unavailable,
)
from dingbridge.dingtalk.token import RIGHT_AGAIN_S
from tests.integration.api_support import (
    AES_KEY,
    APP_KEY,
    APP_SECRET,
    BUSY,
    OK,
    TOKEN,
    URL,
    Platform,
    Sleeps,
    base,
    client,
    everything_said,
    platform,
    server,
    sleeps,
)

__all__ = ["base", "client", "platform", "server", "sleeps"]


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
        assert not caught.value.unavailable

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
        assert platform.seen[-1][:2] == ("GET", f"/{INSTANCES}")
        assert platform.queries[-1] == {"processInstanceId": "pi-1"}

    @pytest.mark.parametrize("no", [False, "false"])
    async def test_an_approval_without_success_is_none(
        self, client: DingTalkClient, platform: Platform, no: Any
    ) -> None:
        platform.script(f"/{INSTANCES}", {"result": {"status": "COMPLETED"}, "success": no})
        with pytest.raises(Unavailable, match="success: false"):
            await client.approval("pi-1")

    async def test_ids_of_approvals_page_by_page(self, client: DingTalkClient, platform: Platform) -> None:
        first = {"result": {"list": ["pi-1", "pi-2"], "nextToken": "10"}, "success": True}
        platform.script(f"/{IDS}", first, {"result": {"list": ["pi-3"]}, "success": "true"})
        asked = {"start_ms": 1_000, "end_ms": 2_000, "originator": "u1", "statuses": ("RUNNING",)}
        found = [id_ async for id_ in client.approval_ids("PROC-A", **asked)]
        assert found == ["pi-1", "pi-2", "pi-3"]
        body = {
            "processCode": "PROC-A", "startTime": 1_000, "endTime": 2_000, "maxResults": 20,
            "userIds": ["u1"], "statuses": ["RUNNING"],
        }  # fmt: skip
        assert platform.requests(f"/{IDS}") == [body | {"nextToken": 0}, body | {"nextToken": 10}]

    @pytest.mark.parametrize("token", ["0", 0, "10", "more", -1])
    async def test_a_next_token_that_does_not_advance_ends(
        self, client: DingTalkClient, platform: Platform, token: Any
    ) -> None:
        page = {"result": {"processList": [{"name": "A", "processCode": "P"}], "nextToken": 10}}
        again = {"result": {"processList": [{"name": "B"}], "nextToken": token}}
        platform.script(f"/{TEMPLATES}", page, again)
        with pytest.raises(Unavailable, match="does not advance"):
            await client.templates()

    async def test_an_empty_page_that_leads_on_is_no_answer(
        self, client: DingTalkClient, platform: Platform
    ) -> None:
        """Each page would cost a call of the month's, without an end."""
        platform.script(f"/{IDS}", {"result": {"list": [], "nextToken": "10"}})
        platform.script(f"/{TEMPLATES}", {"result": {"nextToken": 10}})
        platform.script(
            "/topapi/v2/user/list", {**OK, "result": {"list": [], "has_more": True, "next_cursor": 100}}
        )
        with pytest.raises(Unavailable, match="empty page"):
            [id_ async for id_ in client.approval_ids("PROC-A", start_ms=1, end_ms=2)]
        with pytest.raises(Unavailable, match="empty page"):
            await client.templates()
        with pytest.raises(Unavailable, match="empty page"):
            [user async for user in client.department_users(7)]

    async def test_a_listing_ends_where_dingtalks_own_limit_is(
        self, client: DingTalkClient, platform: Platform, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(approvals, "IDS_MOST", 40)
        pages = [
            {"result": {"list": [f"pi-{page}-{n}" for n in range(20)], "nextToken": str(page)}}
            for page in (20, 40, 60)
        ]
        platform.script(f"/{IDS}", *pages)
        found = [id_ async for id_ in client.approval_ids("PROC-A", start_ms=1, end_ms=2)]
        assert (len(found), len(platform.requests(f"/{IDS}"))) == (40, 2)

    async def test_a_file_of_0_bytes_has_no_address(self, client: DingTalkClient, platform: Platform) -> None:
        result = {"spaceId": 1, "fileId": "f1"}
        platform.script(
            f"/{FILE_URLS}", {"result": result}, {"result": result | {"downloadUri": "https://x/"}}
        )
        with pytest.raises(NoAddress) as caught:
            await client.attachment_url("pi-1", "f1")
        assert not caught.value.unavailable
        assert await client.attachment_url("pi-1", "f1") == "https://x/"
        asked = {"processInstanceId": "pi-1", "fileId": "f1", "withCommentAttatchment": True}
        assert platform.requests(f"/{FILE_URLS}") == [asked, asked]

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
        assert client.calls == {"gettoken": 1, "v2/user/get": 2, INSTANCES: 1}

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
        assert caught.value.unavailable
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


USER, START = "/topapi/v2/user/get", "/v1.0/workflow/processInstances"


async def start(client: DingTalkClient) -> str:
    return await client.start_approval(process_code="P", originator="u1", form={})


class TestRight:
    """One that is granted is seen with a new token."""

    @pytest.mark.parametrize("path", [USER, START])
    async def test_is_there_with_a_new_token_on_either_host(
        self, client: DingTalkClient, platform: Platform, path: str
    ) -> None:
        platform.granted[path] = 1
        platform.script(START, {"instanceId": "pi-1"})
        found = (await client.user("u001"))["userid"] if path == USER else await start(client)
        assert found in ("u001", "pi-1")
        assert (len(platform.tokens), len(platform.requests(path))) == (2, 2)

    async def test_twenty_refused_at_once_fetch_one(self, client: DingTalkClient, platform: Platform) -> None:
        await client.access_token()
        platform.granted[USER] = 1
        await asyncio.gather(*(client.user("u001") for _ in range(20)))
        assert len(platform.tokens) == 2

    async def test_that_is_missing_is_asked_for_once_in_ten_minutes_whoever_calls(
        self, client: DingTalkClient, platform: Platform, sleeps: Sleeps
    ) -> None:
        platform.granted = {USER: 1_000, START: 1_000}
        for call in (client.user, client.at(Priority.RESYNC).user, client.user):
            with pytest.raises(PermissionDenied, match=r"Tick Some\.Right\.Read on") as caught:
                await call("u001")
        with pytest.raises(PermissionDenied):
            await start(client)  # the same right of another API
        assert (len(platform.tokens), len(platform.requests(USER)), len(platform.requests(START))) == (
            2,
            4,
            1,
        )
        assert platform.tokens[-1] not in everything_said(caught.value)
        platform.granted[USER], sleeps.now = 2, sleeps.now + RIGHT_AGAIN_S
        assert (await client.user("u001"))["userid"] == "u001"
        assert len(platform.tokens) == 3
