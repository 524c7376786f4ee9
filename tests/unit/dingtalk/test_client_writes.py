"""Writes of the Open API: what goes over the wire, how each one ends, and what is never sent twice."""

import json
from collections.abc import Awaitable, Callable
from typing import Any

import aiohttp
import pytest
from aiohttp import web
from aiohttp.abc import AbstractResolver, ResolveResult

from dingbridge.dingtalk.api import DingTalkClient
from dingbridge.dingtalk.budget import Priority
from dingbridge.dingtalk.errors import (
    AcceptancePending,
    AlreadyExists,
    ApiError,
    DepartmentNotEmpty,
    InvalidField,
    NotFound,
    OutcomeUnknown,
    PermissionDenied,
    RateLimited,
    ReferenceMissing,
    Unavailable,
)
from dingbridge.dingtalk.pace import OwnPace
from dingbridge.dingtalk.transport import Transport
from tests.support.dingtalk import APP_KEY, APP_SECRET, BUSY, OK, QPS, DingTalk, everything_said

PERSON = {"userid": "u1", "name": "张三丰", "mobile": "13800000001", "dept_id_list": [1, 7]}
CREATE, UPDATE = "/topapi/v2/user/create", "/topapi/v2/user/update"
DEPARTMENT, CHANGE = "/topapi/v2/department/create", "/topapi/v2/department/update"
START, TODO = "/v1.0/workflow/processInstances", "/v1.0/todo/users/c1/tasks"
CREATED = {**OK, "result": {"userid": "u1", "unionId": "x"}}


async def test_a_person_goes_out_in_dingtalks_form(client: DingTalkClient, dingtalk: DingTalk) -> None:
    dingtalk.script(CREATE, CREATED)
    dingtalk.script(UPDATE, {"errcode": "0", "errmsg": "ok"})
    assert await client.create_user({**PERSON, "extension": {"爱好": "围棋"}, "title": None}) == ("u1", "x")
    await client.update_user("u1", {"manager_userid": None, "extension": {"爱好": "象棋"}})
    created, updated = dingtalk.requests(CREATE)[0], dingtalk.requests(UPDATE)[0]
    assert created["dept_id_list"] == "1,7"
    assert "title" not in created
    assert json.loads(created["extension"]) == {"爱好": "围棋"}
    assert (updated["ext_attrs_update_mode"], updated["force_update_fields"]) == (1, "manager_userid")
    assert "manager_userid" not in updated
    (raw,) = [await request.read() for request, _ in dingtalk.seen if request.path == CREATE]
    assert "张三丰".encode() in raw
    assert b"\\u" not in raw


async def test_a_department_goes_out_in_dingtalks_form(client: DingTalkClient, dingtalk: DingTalk) -> None:
    dingtalk.script(DEPARTMENT, {**OK, "result": {"dept_id": "77"}})
    dingtalk.script(CHANGE, OK)
    fields = {"name": "研发部", "parent_id": 1, "source_identifier": "d1", "order": None}
    assert await client.create_department(fields) == 77
    await client.update_department(77, {"dept_manager_userid_list": []})
    assert dingtalk.requests(DEPARTMENT) == [{"name": "研发部", "parent_id": 1, "source_identifier": "d1"}]
    assert dingtalk.requests(CHANGE) == [{"dept_id": 77, "force_update_fields": "dept_manager_userid_list"}]


Call = Callable[[DingTalkClient], Awaitable[Any]]


@pytest.mark.parametrize(
    ("call", "field"),
    [
        (lambda c: c.create_user({**PERSON, "name": None}), "name"),
        (lambda c: c.create_user({**PERSON, "remark": "x" * 1025}), "remark"),
        (lambda c: c.update_user("u1", {"mobile": "13800000002"}), "mobile"),
        (lambda c: c.update_user("u1", {"title": None}), "title"),
        (lambda c: c.create_department({"name": "a"}), "parent_id"),
        (
            lambda c: c.start_approval(
                process_code="P", originator="u", form={str(n): "" for n in range(151)}
            ),
            "formComponentValues",
        ),
        (
            lambda c: c.create_todo(source_id="s", creator="c", executors=[], subject="a", url="https://a"),
            "executorIds",
        ),
    ],
)
async def test_what_dingtalk_would_not_take_is_not_sent(
    client: DingTalkClient, dingtalk: DingTalk, call: Call, field: str
) -> None:
    with pytest.raises(InvalidField) as caught:
        await call(client)
    assert caught.value.field == field
    assert dingtalk.seen == []


def status(code: int, /, **body: Any) -> web.Response:
    return web.json_response(body, status=code)


OPEN = {
    "no answer": "hang",
    "connection broken": "cut",
    "busy": BUSY,
    "15": {"errcode": 15, "errmsg": "remote service error"},
    "88 alone": {"errcode": 88, "errmsg": "x"},
    "88 isp": {"errcode": 88, "errmsg": "x", "sub_code": "isp.something-new"},
    "success without the id": {**OK, "result": []},
    "504": lambda: web.Response(status=504, text="<html>"),
    "500": lambda: status(500, code="systemError", message="x"),
}


@pytest.mark.parametrize("answer", OPEN.values(), ids=OPEN)
async def test_an_outcome_that_nobody_knows_is_said_and_nothing_sent_again(
    dingtalk: DingTalk, answer: Any
) -> None:
    dingtalk.script(DEPARTMENT, answer() if callable(answer) else answer, CREATED)
    async with dingtalk.client(timeout_s=1) as client:
        with pytest.raises(ApiError) as caught:
            await client.create_department({"name": "研发部", "parent_id": 1})
    expected = Unavailable if answer == OPEN["success without the id"] else OutcomeUnknown
    assert isinstance(caught.value, expected)
    assert caught.value.unavailable
    assert len(dingtalk.requests(DEPARTMENT)) == 1


async def test_88_alone_brings_a_new_token_for_the_next_call(
    client: DingTalkClient, dingtalk: DingTalk, somebody: str
) -> None:
    dingtalk.script(DEPARTMENT, OPEN["88 alone"])
    with pytest.raises(OutcomeUnknown):
        await client.create_department({"name": "研发部", "parent_id": 1})
    await client.user(somebody)
    assert client.calls["gettoken"] == 2


REFUSED: list[tuple[dict[str, Any], type[ApiError]]] = [
    *(({"errcode": code}, AlreadyExists) for code in (60102, 60104, 60106, 60107, 40100, 40101, 60021)),
    ({"errcode": 40103}, AcceptancePending),
    ({"errcode": 60121}, NotFound),
    ({"errcode": 60128}, ReferenceMissing),
    ({"errcode": 60004}, ReferenceMissing),
    ({"errcode": 60068}, ReferenceMissing),
    ({"errcode": 60005}, DepartmentNotEmpty),
    ({"errcode": 50002}, PermissionDenied),
    ({"errcode": 88, "sub_code": "60011"}, PermissionDenied),
]


@pytest.mark.parametrize(("answer", "error"), REFUSED)
async def test_a_refusal_is_no_unknown_outcome(
    client: DingTalkClient, dingtalk: DingTalk, answer: dict[str, Any], error: type[ApiError]
) -> None:
    words = "手机号13800000001(张三丰)有问题"
    refused = {"errmsg": words, **answer}
    dingtalk.script(CREATE, refused, refused)
    with pytest.raises(error) as caught:
        await client.create_user(PERSON)
    assert not isinstance(caught.value, Unavailable)
    assert caught.value.code == str(answer.get("sub_code", answer["errcode"]))
    said = everything_said(caught.value)
    assert "13800000001" not in said
    assert "张三丰" not in said
    # a right may have been granted since the token was fetched; nothing was carried out, so it is sent again
    assert len(dingtalk.requests(CREATE)) == (2 if caught.value.about == "right" else 1)


async def test_a_rate_limit_is_a_refusal_and_waited_out(client: DingTalkClient, dingtalk: DingTalk) -> None:
    dingtalk.script(CREATE, QPS, CREATED)
    assert await client.create_user(PERSON) == ("u1", "x")
    dingtalk.script(CREATE, QPS, QPS, QPS, QPS)
    with pytest.raises(RateLimited):
        await client.create_user(PERSON)
    assert len(dingtalk.requests(CREATE)) == 6


async def test_what_was_certainly_not_sent_is_told_from_what_may_have_been() -> None:
    async with DingTalkClient(app_key=APP_KEY, app_secret=APP_SECRET, base="http://127.0.0.1:9") as client:
        with pytest.raises(Unavailable) as caught:
            await client.create_user(PERSON)
    assert caught.value.unsent
    assert not isinstance(caught.value, OutcomeUnknown)


async def test_the_new_api_has_its_token_in_a_header_and_its_faults_by_name(
    client: DingTalkClient, dingtalk: DingTalk
) -> None:
    dingtalk.script(START, {"instanceId": "pi-1"}, status(400, code="processCodeError", message="错误"))
    start = {"process_code": "PROC-1", "originator": "u1", "form": {"事由": "年假"}, "dept_id": 1}
    assert await client.start_approval(**start, approvers=["u2", "u3"]) == "pi-1"
    (body,) = dingtalk.requests(START)
    assert body == {
        "processCode": "PROC-1",
        "originatorUserId": "u1",
        "deptId": -1,
        "formComponentValues": [{"name": "事由", "value": "年假"}],
        "approvers": [{"actionType": "NONE", "userIds": ["u2"]}, {"actionType": "NONE", "userIds": ["u3"]}],
    }
    token = await client.access_token()
    assert dingtalk.seen[-1][0].headers["x-acs-dingtalk-access-token"] == token
    with pytest.raises(ApiError, match="Look in the DingTalk console") as caught:
        await client.start_approval(**start)
    assert caught.value.code == "processCodeError"
    assert not caught.value.unavailable
    assert token not in everything_said(caught.value)


async def test_a_to_do_that_is_there_is_told(client: DingTalkClient, dingtalk: DingTalk) -> None:
    exists = status(400, code="todo.taskCreate.paramError", message="task existed sourceId is s1")
    long = status(400, code="todo.taskCreate.paramError", message="subject is oversize")
    lock = status(400, code="todo.taskCreate.lockError", message="x")
    dingtalk.script(TODO, exists, long, lock)
    todo = {
        "source_id": "s1",
        "creator": "c1",
        "executors": ["e1"],
        "subject": "a",
        "url": "https://a.example",
    }
    for expected in (AlreadyExists, ApiError, OutcomeUnknown):
        with pytest.raises(expected) as caught:
            await client.create_todo(**todo)
        assert isinstance(caught.value, AlreadyExists) is (expected is AlreadyExists)


class Hosts(AbstractResolver):
    """Resolves nothing, and remembers what it was asked for."""

    def __init__(self) -> None:
        self.asked: list[str] = []

    async def resolve(self, host: str, port: int = 0, family: int = 0) -> list[ResolveResult]:
        self.asked.append(host)
        raise OSError

    async def close(self) -> None: ...


async def test_dingtalk_serves_the_new_api_at_a_host_of_its_own() -> None:
    hosts = Hosts()
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(resolver=hosts)) as session:
        transport = Transport("https://oapi.dingtalk.com/", session, timeout_s=5)
        for new_api in (False, True):
            with pytest.raises(Unavailable):
                await transport.call("x", "POST", "/x", query={}, token="t", new_api=new_api)
    assert hosts.asked == ["oapi.dingtalk.com", "api.dingtalk.com"]


class Counting(OwnPace):
    def __init__(self) -> None:
        super().__init__()
        self.spent: list[str] = []

    async def spend(self, api: str, priority: Priority) -> None:
        self.spent.append(api)


async def test_approvals_and_to_dos_count_against_the_quota_and_contacts_do_not(
    dingtalk: DingTalk,
) -> None:
    dingtalk.script(CREATE, CREATED)
    dingtalk.script(START, {"instanceId": "pi-1"})
    dingtalk.script(f"{TODO}/t1", {"result": True})
    budget = Counting()
    async with dingtalk.client(budget=budget) as client:
        await client.create_user(PERSON)
        await client.start_approval(process_code="P", originator="u1", form={})
        await client.finish_todo("t1", creator="c1")
    assert budget.spent == ["v1.0/workflow/processInstances", "v1.0/todo/tasks/update"]
