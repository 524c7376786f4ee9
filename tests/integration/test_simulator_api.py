"""The simulated Open API, called as the documents have it."""

from collections.abc import AsyncIterator
from typing import Any

import aiohttp
import pytest

from dingbridge.simulator.server import Simulator
from tests.integration.simulator_support import (
    AES_KEY,
    TAGS,
    TOKEN,
    Answer,
    Api,
    Receiver,
    other_text,
    plain_success,
    redirect,
    serving,
    settings,
    unavailable,
    until_released,
    wrong_signature,
)
from tests.support.profiles import KIND


@pytest.fixture
async def receiver() -> AsyncIterator[Receiver]:
    receiver = Receiver()
    async with serving(receiver):
        yield receiver


@pytest.fixture
async def simulator() -> AsyncIterator[Simulator]:
    async with Simulator(settings(profile=KIND)) as simulator:  # the pages' words, exactly
        yield simulator


@pytest.fixture
async def api(simulator: Simulator) -> AsyncIterator[Api]:
    async with aiohttp.ClientSession() as session:
        api = Api(simulator.base_url, session)
        await api.login()
        yield api


async def test_access_tokens(simulator: Simulator, api: Api) -> None:
    first = api.token
    await api.login()
    assert api.token == first
    wrong = await api.get("/gettoken", appkey="dingsampleappkey01", appsecret="no")
    assert wrong["errcode"] == 40089
    assert "access_token" not in wrong
    path = "/topapi/v2/department/get"
    assert (await api.post(path, {"dept_id": 1}))["errcode"] == 41001
    assert (await api.post(path, {"dept_id": 1}, access_token="other"))["errcode"] == 40014
    simulator.tokens.expire()
    assert (await api.call(path, {"dept_id": 1}))["errcode"] == 42001
    await api.login()
    assert (await api.call(path, {"dept_id": 1}))["errcode"] == 0


async def test_register_checks_the_url_and_then_tells_what_is_registered(
    receiver: Receiver, api: Api
) -> None:
    assert (await api.fetch("/call_back/get_call_back"))["errcode"] == 71007
    receiver.url += "?r=/ding/call-back"
    assert await api.register(receiver) == {"errcode": 0, "errmsg": "ok"}
    assert receiver.plaintexts == [b'{"EventType":"check_url"}']
    assert set(receiver.queries[0]) == {"r", "signature", "msg_signature", "timestamp", "nonce"}
    assert receiver.queries[0]["r"] == "/ding/call-back"
    assert await api.fetch("/call_back/get_call_back") == {
        "errcode": 0,
        "errmsg": "ok",
        "call_back_tag": TAGS,
        "token": TOKEN,
        "aes_key": AES_KEY,
        "url": receiver.url,
    }
    assert (await api.register(receiver))["errcode"] == 71006
    body = {"call_back_tag": ["user_add_org"], "token": TOKEN, "aes_key": AES_KEY, "url": receiver.url}
    assert (await api.call("/call_back/update_call_back", body))["errcode"] == 0
    assert (await api.fetch("/call_back/get_call_back"))["call_back_tag"] == ["user_add_org"]
    assert (await api.fetch("/call_back/delete_call_back"))["errcode"] == 0
    assert (await api.fetch("/call_back/delete_call_back"))["errcode"] == 71007
    assert (await api.call("/call_back/update_call_back", body))["errcode"] == 71007


@pytest.mark.parametrize(
    ("answer", "errcode", "words"),
    [
        (plain_success, 71009, "JSON"),
        (other_text, 71009, "success"),
        (wrong_signature, 71009, "签名"),
        (unavailable, 71012, "http statusCode is:503"),
        (redirect, 71012, "不允许3xx跳转"),
    ],
)
async def test_a_wrong_answer_to_check_url_is_named(
    receiver: Receiver, api: Api, answer: Answer, errcode: int, words: str
) -> None:
    receiver.answers = [answer]
    refused = await api.register(receiver)
    assert refused["errcode"] == errcode
    assert words in refused["errmsg"]
    assert (await api.fetch("/call_back/get_call_back"))["errcode"] == 71007
    assert (await api.register(receiver))["errcode"] == 0


async def test_a_slow_answer_to_check_url_is_a_time_out(receiver: Receiver, api: Api) -> None:
    receiver.answers = [until_released]
    refused = await api.register(receiver)
    assert refused["errcode"] == 71012
    assert "Read timed out" in refused["errmsg"]


@pytest.mark.parametrize(
    ("change", "errcode"),
    [
        ({"call_back_tag": ["user_add_org", "no_such_event"]}, 71008),
        ({"call_back_tag": ["check_url"]}, 71008),
        ({"call_back_tag": []}, 71010),
        ({"call_back_tag": "user_add_org"}, 71010),
        ({"token": "short"}, 71010),
        ({"token": "t" * 64}, 71010),
        ({"token": None}, 71010),
        ({"aes_key": "k" * 42}, 71010),
        ({"aes_key": "-" * 43}, 71010),
        ({"url": None}, 71010),
        ({"url": "ftp://example.com/x"}, 71011),
        ({"url": "http://exa mple.com/"}, 71011),
        ({"url": "http://127.0.0.1:99999/"}, 71011),
        ({"url": "https://oapi.dingtalk.com/callback"}, 71013),
        ({"url": "http://127.0.0.1:1/callback"}, 71012),
    ],
)
async def test_a_registration_is_validated(
    receiver: Receiver, api: Api, change: dict[str, Any], errcode: int
) -> None:
    body = {"call_back_tag": TAGS, "token": TOKEN, "aes_key": AES_KEY, "url": receiver.url} | change
    assert (await api.call("/call_back/register_call_back", body))["errcode"] == errcode
    assert receiver.plaintexts == []


async def test_users_of_a_department_page_by_page(api: Api, simulator: Simulator) -> None:
    company = simulator.platform.company
    dept = company.pick_department().dept_id
    simulator.act("hire", {"count": 5, "dept_ids": [dept]})
    members = company.members(dept)
    path = "/topapi/v2/user/list"
    seen: list[str] = []
    cursor = 0
    while True:
        answer = await api.call(path, {"dept_id": dept, "cursor": cursor, "size": 2})
        result = answer["result"]
        seen += [user["userid"] for user in result["list"]]
        if not result["has_more"]:
            break
        cursor = result["next_cursor"]
    assert seen == members
    assert "next_cursor" not in result
    for wrong in ({"cursor": 0, "size": 101}, {"cursor": -1, "size": 10}, {"cursor": 0, "size": 0}):
        assert (await api.call(path, {"dept_id": dept} | wrong))["errcode"] == 40035
    assert (await api.call(path, {"dept_id": dept, "size": 10}))["errcode"] == 400002
    assert (await api.call(path, {"dept_id": 7, "cursor": 0, "size": 10}))["errcode"] == 60003


async def test_the_open_api_shows_the_company(api: Api, simulator: Simulator) -> None:
    state = await api.get("/_sim/state")
    company = simulator.platform.company
    assert len(state["users"]) == len(company.users)
    for user in state["users"][:5]:
        answer = await api.call("/topapi/v2/user/get", {"userid": user["userid"], "language": "zh_CN"})
        assert answer["errcode"] == 0
        assert answer["request_id"]
        assert answer["result"] == user
    assert (await api.call("/topapi/v2/user/get", {"userid": "nobody"}))["errcode"] == 60121
    assert (await api.call("/topapi/v2/user/get", {}))["errcode"] == 400002

    async def below(dept_id: int) -> list[int]:
        listed = (await api.call("/topapi/v2/department/listsub", {"dept_id": dept_id}))["result"]
        ids = (await api.call("/topapi/v2/department/listsubid", {"dept_id": dept_id}))["result"][
            "dept_id_list"
        ]
        assert [d["dept_id"] for d in listed] == ids
        assert all(d["parent_id"] == dept_id for d in listed)
        return ids + [deeper for child in ids for deeper in await below(child)]

    assert {1, *await below(1)} == {d["dept_id"] for d in state["departments"]}
    for dept in state["departments"]:
        assert (await api.call("/topapi/v2/department/get", {"dept_id": dept["dept_id"]}))["result"] == dept
    assert (await api.call("/topapi/v2/department/get", {"dept_id": "1"}))["result"]["dept_id"] == 1
    assert (await api.call("/topapi/v2/department/get", {"dept_id": 7}))["errcode"] == 60003
    for approval in state["approvals"]:
        pid = approval["process_instance_id"]
        answer = await api.workflow("GET", "processInstances", processInstanceId=pid)
        shown = {k: v for k, v in approval.items() if k not in ("process_instance_id", "process_code")}
        assert answer["result"] == shown
    unknown = await api.workflow("GET", "processInstances", processInstanceId="x")
    assert (unknown["status"], unknown["code"]) == (400, "processInstanceNotExist")


async def test_forms_and_broken_bodies(api: Api) -> None:
    query = {"access_token": api.token}
    url = api.base + "/topapi/v2/department/get"
    async with api.session.post(url, params=query, data={"dept_id": "1"}) as response:
        assert (await response.json())["result"]["dept_id"] == 1
    async with api.session.post(url, params=query, data=b"{no json") as response:
        assert (await response.json())["errcode"] == 43008
    async with api.session.get(url, params=query) as response:
        assert (await response.json())["errcode"] == 404


async def test_control_refuses_in_words(api: Api) -> None:
    for path, body, words in [
        ("/_sim/act", {}, "action"),
        ("/_sim/act", {"action": "fly"}, "no such action"),
        ("/_sim/rate", {"per_second": -1}, "per_second"),
        ("/_sim/act", [1], "JSON object"),
        ("/_sim/drain", {"timeout_s": "x"}, "timeout_s"),
    ]:
        assert words in (await api.post(path, body))["error"]
    assert "numbers" in (await api.get("/_sim/pushes", since="x"))["error"]
