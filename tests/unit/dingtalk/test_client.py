"""The Open API client when an answer is odd, late or none: what it waits out, raises and says."""

import asyncio
import logging
import socket
from typing import Any

import pytest
from aiohttp import web
from aiohttp.test_utils import unused_port
from structlog.testing import capture_logs

from dingbridge.dingtalk.api import DingTalkClient, approvals
from dingbridge.dingtalk.api.approvals import FILE_URLS, IDS, INSTANCES, TEMPLATES
from dingbridge.dingtalk.errors import (
    ApiError,
    NoAddress,
    RateLimited,
    TokenInvalid,
    Unavailable,
)
from dingbridge.dingtalk.pace import MARGIN, PER_S
from dingbridge.dingtalk.token import USELESS_TOKENS
from tests.support.dingtalk import APP_KEY, APP_SECRET, BUSY, OK, QPS, DingTalk, Sleeps, everything_said

USER, REGISTER = "/topapi/v2/user/get", "/call_back/register_call_back"
TOKEN, AES_KEY = "tokenForTests01", "abcdefghijklmnopqrstuvwxyz0123456789ABCDEFA"
REFUSED_TOKEN = {"errcode": 40014, "errmsg": "不合法的access_token"}


# -- pages, and answers that are none
@pytest.mark.parametrize(
    "page", [{"has_more": True}, {"has_more": True, "next_cursor": 0}, {"has_more": True, "next_cursor": 100}]
)
async def test_a_page_of_people_that_leads_nowhere_ends(
    client: DingTalkClient, dingtalk: DingTalk, page: dict[str, Any]
) -> None:
    """An empty page that leads on would cost a call each, without an end."""
    dingtalk.script("/topapi/v2/user/list", {**OK, "result": {**page, "list": []}})
    with pytest.raises(Unavailable, match=r"does not advance|empty page"):
        [user async for user in client.department_users(1)]


def page_of_people(number: int, userid: str, *, more: bool = True) -> dict[str, Any]:
    return {
        **OK,
        "result": {
            "list": [{"userid": userid, "name": userid}],
            "has_more": more,
            "next_cursor": (number + 1) * 100,
        },
    }


async def test_pages_that_come_again_and_again_end_after_few_calls(
    client: DingTalkClient, dingtalk: DingTalk
) -> None:
    """Two that take turns."""
    dingtalk.script(
        "/topapi/v2/user/list", *(page_of_people(number, f"u{number % 2}") for number in range(90))
    )
    with pytest.raises(Unavailable, match="again and again"):
        [user async for user in client.department_users(1)]
    assert client.calls["v2/user/list"] == 5


async def test_a_page_that_comes_twice_is_read_on(client: DingTalkClient, dingtalk: DingTalk) -> None:
    """As when people join while the listing is read."""
    pages = [page_of_people(number, "u1") for number in range(3)]
    dingtalk.script("/topapi/v2/user/list", *pages, page_of_people(3, "u2", more=False))
    assert {user["userid"] async for user in client.department_users(1)} == {"u1", "u2"}


@pytest.mark.parametrize("token", ["0", 0, "10", "more", -1])
async def test_a_next_token_that_does_not_advance_ends(
    client: DingTalkClient, dingtalk: DingTalk, token: Any
) -> None:
    page = {"result": {"processList": [{"name": "A", "processCode": "P"}], "nextToken": 10}}
    again = {"result": {"processList": [{"name": "B"}], "nextToken": token}}
    dingtalk.script(f"/{TEMPLATES}", page, again)
    with pytest.raises(Unavailable, match="does not advance"):
        await client.templates()


async def test_an_empty_page_of_approvals_that_leads_on_is_no_answer(
    client: DingTalkClient, dingtalk: DingTalk
) -> None:
    dingtalk.script(f"/{IDS}", {"result": {"list": [], "nextToken": "10"}})
    dingtalk.script(f"/{TEMPLATES}", {"result": {"nextToken": 10}})
    with pytest.raises(Unavailable, match="empty page"):
        [id_ async for id_ in client.approval_ids("PROC-A", start_ms=1, end_ms=2)]
    with pytest.raises(Unavailable, match="empty page"):
        await client.templates()


async def test_a_listing_ends_where_dingtalks_own_limit_is(
    client: DingTalkClient, dingtalk: DingTalk, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(approvals, "IDS_MOST", 40)
    pages = [
        {"result": {"list": [f"pi-{page}-{n}" for n in range(20)], "nextToken": str(page)}}
        for page in (20, 40, 60)
    ]
    dingtalk.script(f"/{IDS}", *pages)
    found = [id_ async for id_ in client.approval_ids("PROC-A", start_ms=1, end_ms=2)]
    assert (len(found), len(dingtalk.requests(f"/{IDS}"))) == (40, 2)


@pytest.mark.parametrize("no", [False, "false"])
async def test_an_approval_without_success_is_none(
    client: DingTalkClient, dingtalk: DingTalk, no: Any
) -> None:
    dingtalk.script(f"/{INSTANCES}", {"result": {"status": "COMPLETED"}, "success": no})
    with pytest.raises(Unavailable, match="success: false"):
        await client.approval("pi-1")


async def test_a_file_of_0_bytes_has_no_address(client: DingTalkClient, dingtalk: DingTalk) -> None:
    result = {"spaceId": 1, "fileId": "f1"}
    dingtalk.script(f"/{FILE_URLS}", {"result": result}, {"result": result | {"downloadUri": "https://x/"}})
    with pytest.raises(NoAddress) as caught:
        await client.attachment_url("pi-1", "f1")
    assert not caught.value.unavailable
    assert await client.attachment_url("pi-1", "f1") == "https://x/"
    asked = {"processInstanceId": "pi-1", "fileId": "f1", "withCommentAttatchment": True}
    assert dingtalk.requests(f"/{FILE_URLS}") == [asked, asked]


@pytest.mark.parametrize(
    ("path", "words"), [(USER, "without the object"), ("/gettoken", "without an access token")]
)
async def test_a_success_without_what_was_asked_for(
    client: DingTalkClient, dingtalk: DingTalk, path: str, words: str
) -> None:
    dingtalk.script(path, OK)
    with pytest.raises(Unavailable, match=words):
        await client.user("u001")


PERSON = {"userid": "u1", "unionid": "union-1", "name": "王芳"}


@pytest.mark.parametrize("absent", list(PERSON))
async def test_a_person_without_userid_unionid_or_name_is_no_answer(
    client: DingTalkClient, dingtalk: DingTalk, absent: str
) -> None:
    without = {name: value for name, value in PERSON.items() if name != absent}
    odd: list[dict[str, Any]] = [without, without | {absent: None}, without | {absent: ""}]
    dingtalk.script(USER, *({**OK, "result": result} for result in odd))
    for _ in odd:
        with pytest.raises(Unavailable, match="without the person's userid, unionid or name") as caught:
            await client.user("u1")
        assert (caught.value.api, caught.value.about) == ("v2/user/get", "busy")


async def test_an_answer_about_another_one_is_no_answer(client: DingTalkClient, dingtalk: DingTalk) -> None:
    people: list[dict[str, Any]] = [PERSON, {}, PERSON | {"userid": "u2"}, PERSON | {"userid": "U1"}]
    dingtalk.script(USER, *({**OK, "result": result} for result in people))
    assert await client.user("u1") == PERSON
    for _ in people[1:]:
        with pytest.raises(Unavailable):
            await client.user("u1")
    named = {"name": "研发部"}
    tree: list[dict[str, Any]] = [named | {"dept_id": "7"}, {}, named, named | {"dept_id": 8}]
    dingtalk.script("/topapi/v2/department/get", *({**OK, "result": result} for result in tree))
    assert (await client.department(7))["dept_id"] == 7
    for _ in tree[1:]:
        with pytest.raises(Unavailable, match="another department"):
            await client.department(7)


@pytest.mark.parametrize("call", ["v2/user/list", "role/list", "role/simplelist"])
async def test_a_page_without_its_list_is_no_answer(
    client: DingTalkClient, dingtalk: DingTalk, call: str
) -> None:
    async def read() -> list[Any]:
        if call == "role/list":
            return list(await client.role_groups())
        pages = client.department_users(1) if call == "v2/user/list" else client.role_users(1)
        return [one async for one in pages]

    odd: list[dict[str, Any]] = [{}, {"has_more": False}, {"list": None}, {"list": {}}]
    pages = [{"has_more": False, "list": []}, *odd]
    dingtalk.script(f"/topapi/{call}", *({**OK, "result": page} for page in pages))
    assert await read() == []
    for _ in odd:
        with pytest.raises(Unavailable, match="without its list"):
            await read()


# -- the token
@pytest.mark.parametrize(
    "refusal",
    [
        REFUSED_TOKEN,
        {"errcode": 42001, "errmsg": "access_token已过期"},
        {"errcode": "88", "errmsg": "auth", "sub_code": "40014", "sub_msg": "不合法的access_token"},
    ],
)
async def test_a_token_that_is_refused_is_fetched_anew(
    client: DingTalkClient, dingtalk: DingTalk, somebody: str, refusal: dict[str, Any]
) -> None:
    dingtalk.script(USER, refusal)
    assert (await client.user(somebody))["userid"] == somebody
    assert client.calls == {"gettoken": 2, "v2/user/get": 2}


async def test_a_token_is_fetched_anew_once_for_twenty_and_three_times_for_one(
    client: DingTalkClient, dingtalk: DingTalk, somebody: str
) -> None:
    await client.access_token()
    dingtalk.tokens.expire()
    await asyncio.gather(*(client.user(somebody) for _ in range(20)))
    assert client.calls["gettoken"] == 2
    dingtalk.script(USER, *[REFUSED_TOKEN] * (1 + USELESS_TOKENS))
    with pytest.raises(TokenInvalid) as caught:
        await client.user(somebody)
    assert caught.value.unavailable
    assert client.calls["gettoken"] == 2 + USELESS_TOKENS


async def test_tokens_that_end_after_seven_calls_stop_no_reader() -> None:
    """Any of ten readers may meet the end of a token, which may also be its first use."""
    async with DingTalk(users=60) as dingtalk, dingtalk.client() as client:
        dingtalk.faults.add({"cruelty": "short-tokens"})
        people = iter(list(dingtalk.platform.company.users))

        async def reader() -> int:
            return len([await client.user(userid) for userid in people])

        assert sum(await asyncio.gather(*(reader() for _ in range(10)))) == 60


async def test_a_wrong_app_secret_says_so(dingtalk: DingTalk) -> None:
    async with dingtalk.client(app_secret="wrongSecret99") as client:
        with pytest.raises(TokenInvalid, match="DINGTALK_APP_SECRET") as caught:
            await client.user("u001")
        assert "wrongSecret99" not in everything_said(caught.value)
        assert client.calls == {"gettoken": 1}


@pytest.mark.parametrize("expires_in", ["7200", None])
async def test_the_life_of_a_token_as_text_or_absent(
    client: DingTalkClient, dingtalk: DingTalk, somebody: str, expires_in: str | None
) -> None:
    token = await client.access_token()
    async with dingtalk.client() as other:
        dingtalk.script("/gettoken", {**OK, "access_token": token, "expires_in": expires_in})
        await other.user(somebody)
        await other.user(somebody)
        assert other.calls["gettoken"] == 1


@pytest.mark.parametrize("path", [USER, f"/{INSTANCES}"])
async def test_a_right_that_was_granted_is_there_with_a_new_token_on_either_host(
    client: DingTalkClient, dingtalk: DingTalk, somebody: str, path: str
) -> None:
    words = "应用尚未开通所需的权限：[Some.Right.Read]"
    name = "Forbidden.AccessDenied.AccessTokenPermissionDenied"
    old = {"errcode": 88, "errmsg": "auth", "sub_code": "60011", "sub_msg": words}
    new = {"requestid": "019F", "code": name, "message": words}
    if path == USER:
        dingtalk.script(path, old)
        assert (await client.user(somebody))["userid"] == somebody
    else:
        dingtalk.script(path, web.json_response(new, status=403), {"instanceId": "pi-1"})
        assert await client.start_approval(process_code="P", originator="u1", form={}) == "pi-1"
    assert (client.calls["gettoken"], len(dingtalk.requests(path))) == (2, 2)


async def test_a_session_that_is_given_is_not_closed(dingtalk: DingTalk, somebody: str) -> None:
    async with dingtalk.client() as client:
        await client.user(somebody)
        await client.close()
        await client.user(somebody)


# -- limits
@pytest.mark.parametrize("errcode", [90018, 90002, 90006, "90018"])
async def test_rate_limits_are_waited_out(
    client: DingTalkClient, dingtalk: DingTalk, somebody: str, sleeps: Sleeps, errcode: int | str
) -> None:
    dingtalk.script(USER, *[{"errcode": errcode, "errmsg": "限流"}] * 3)
    with capture_logs() as logs:
        await client.user(somebody)
    assert sleeps.seconds == [1, 2, 4]
    assert [log["retry_in_s"] for log in logs if log["event"] == "api.rate_limited"] == [1, 2, 4]


async def test_a_limit_that_stays_is_raised(
    client: DingTalkClient, dingtalk: DingTalk, sleeps: Sleeps
) -> None:
    dingtalk.script(USER, *[QPS] * 4)
    with pytest.raises(RateLimited) as caught:
        await client.user("u001")
    assert (sleeps.seconds, caught.value.retry_after_s, caught.value.unavailable) == ([1, 2, 4], 8, True)


async def test_the_token_call_is_as_patient_and_holds_back_no_other(
    client: DingTalkClient, dingtalk: DingTalk, somebody: str, sleeps: Sleeps
) -> None:
    dingtalk.script("/gettoken", QPS, BUSY)
    await client.user(somebody)
    assert sleeps.seconds == [1, 1]


async def test_after_a_rate_limit_that_api_keeps_to_the_pace(
    client: DingTalkClient, dingtalk: DingTalk, somebody: str, sleeps: Sleeps
) -> None:
    dingtalk.script(USER, QPS)
    for _ in range(3):
        await client.user(somebody)
    await client.department(1)
    assert sleeps.seconds == [1, *[pytest.approx(1 / (PER_S * MARGIN))] * 2]


async def test_busy_is_tried_three_times(
    client: DingTalkClient, dingtalk: DingTalk, somebody: str, sleeps: Sleeps
) -> None:
    dingtalk.script(USER, BUSY, BUSY)
    await client.user(somebody)
    assert sleeps.seconds == [1, 2]
    dingtalk.script(USER, BUSY, BUSY, BUSY)
    with pytest.raises(Unavailable) as caught:
        await client.user(somebody)
    assert caught.value.errcode == -1
    assert client.calls["v2/user/get"] == 6


async def test_a_ban_is_raised_with_its_wait(
    client: DingTalkClient, dingtalk: DingTalk, sleeps: Sleeps
) -> None:
    dingtalk.script(USER, {"status": 1111, "wait": 5, "source": "x5", "punish": "deny", "uuid": "abc"})
    with pytest.raises(Unavailable, match="firewall") as caught:
        await client.user("u001")
    assert (caught.value.retry_after_s, sleeps.seconds) == (5, [])


# -- the network: trouble has words, is ``Unavailable``, and never shows a URL that holds a token
async def fails(client: DingTalkClient, words: str) -> None:
    with pytest.raises(ApiError, match=words) as caught:
        await client.user("u001")
    assert isinstance(caught.value, Unavailable)
    assert caught.value.__context__ is None
    said = everything_said(caught.value)
    for secret in ("access_token", APP_SECRET, APP_KEY):
        assert secret not in said


@pytest.mark.parametrize("path", ["/gettoken", USER])
async def test_a_cut_connection(client: DingTalkClient, dingtalk: DingTalk, path: str) -> None:
    # twice: aiohttp sends a request that is safe to repeat once more on a new connection
    dingtalk.script(path, "cut", "cut")
    await fails(client, "the connection broke")


async def test_a_redirect_is_not_followed(client: DingTalkClient, dingtalk: DingTalk) -> None:
    dingtalk.script(USER, web.Response(status=302, headers={"Location": "/elsewhere"}))
    await fails(client, "HTTP 302")
    assert dingtalk.requests("/elsewhere") == []


async def not_tls(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.write(b"HTTP/1.1 400 Bad Request\r\n\r\n")
    await reader.read()
    writer.close()


async def test_where_nobody_listens_or_no_tls_is_or_no_url_leads() -> None:
    async with await asyncio.start_server(not_tls, "127.0.0.1", 0, family=socket.AF_INET) as server:
        port = server.sockets[0].getsockname()[1]
        for base, words in (
            (f"http://127.0.0.1:{unused_port()}", "no connection .*DINGTALK_API_BASE"),
            (f"https://127.0.0.1:{port}", "TLS"),
            ("http://", "no URL"),
        ):
            async with DingTalkClient(app_key=APP_KEY, app_secret=APP_SECRET, base=base) as client:
                await fails(client, words)


async def test_words_of_the_platform_that_hold_a_secret(client: DingTalkClient, dingtalk: DingTalk) -> None:
    token = await client.access_token()
    dingtalk.script(REGISTER, {"errcode": 71010, "errmsg": f"bad: {token} {TOKEN} {AES_KEY}"})
    with pytest.raises(ApiError, match="71010") as caught:
        await client.register_call_back(tags=["check_in"], token=TOKEN, aes_key=AES_KEY, url="https://a/")
    said = everything_said(caught.value)
    for secret in (token, TOKEN, AES_KEY):
        assert secret not in said


async def test_nothing_secret_is_logged(
    client: DingTalkClient, dingtalk: DingTalk, somebody: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    token = await client.access_token()
    dingtalk.script(USER, QPS, BUSY, {"errcode": 40014, "errmsg": token})
    with capture_logs() as logs:
        await client.user(somebody)
    said = repr(logs) + caplog.text
    assert "api.rate_limited" in said
    for secret in (token, await client.access_token(), APP_SECRET):
        assert secret not in said
