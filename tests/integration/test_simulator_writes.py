"""Calls that write, over HTTP: what is heard of them when, replies that are lost, the newer host."""

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any

import aiohttp
import pytest

from dingbridge.simulator.server import Simulator
from tests.integration.simulator_support import USER, Api, Receiver, api, serving, simulator
from tests.support.waiting import eventually

__all__ = ["api", "simulator"]

NEWER = "/v1.0/workflow/processInstances"


@pytest.fixture
async def receiver(api: Api) -> AsyncIterator[Receiver]:
    receiver = Receiver()
    async with serving(receiver):
        await api.register(receiver)
        yield receiver


async def test_events_of_a_write_come_late_or_before_the_reply(api: Api, receiver: Receiver) -> None:
    # longer than the test would wait: what must not have happened by then, has not
    await api.post("/_sim/writes", {"event_delay_ms": 600_000})
    await api.v2("user/create", **USER)
    assert (await api.get("/_sim/stats"))["pending"] >= 1
    assert len(receiver.events) == 1  # check_url
    await api.post("/_sim/writes", {"event_delay_ms": -600_000})
    replied = asyncio.create_task(api.v2("user/update", userid="oa-1", title="x"))
    await eventually(lambda: "user_modify_org" in [e["EventType"] for e in receiver.events])
    assert not replied.done()
    replied.cancel()
    await api.post("/_sim/writes", {"event_delay_ms": [0, 1], "opt_staff_id": "manager1"})
    assert await api.code("user/delete", userid="oa-1") == 0
    await eventually(lambda: "user_leave_org" in [e["EventType"] for e in receiver.events])


async def test_reads_lag_behind_writes_but_not_behind_people(api: Api) -> None:
    await api.post("/_sim/writes", {"read_lag_ms": 600_000})
    await api.v2("user/create", **USER)
    assert await api.code("user/create", **USER) == 60102, "a write sees it"
    assert await api.user_code("oa-1") == 60121
    assert await api.user_code((await api.act("hire"))["userid"]) == 0
    await api.post("/_sim/writes", {"read_lag_ms": 0})
    assert await api.user_code("oa-1") == 0


@pytest.mark.parametrize("done", [True, False])
@pytest.mark.parametrize(
    "loss", [{"kind": "errcode", "errcode": 15}, {"kind": "http", "status": 504}, {"kind": "cut"}],
    ids=["errcode 15", "http 504", "cut"],
)  # fmt: skip
async def test_a_write_whose_reply_is_lost_is_done_or_not(
    api: Api, simulator: Simulator, loss: dict[str, Any], done: bool
) -> None:
    await api.fault(api="v2/user/create", times=1, done=done, **loss)
    try:
        answer = await api.v2("user/create", **USER)
    except aiohttp.ClientError:
        answer = {}
    assert answer.get("errcode") != 0
    assert ("oa-1" in simulator.platform.company.users) is done
    assert [entry["id"] for entry in simulator.writes.log] == ["oa-1"] * done


async def test_a_write_that_is_done_and_never_answered_ends_when_the_fault_is_cleared(
    api: Api, simulator: Simulator
) -> None:
    await api.fault(api="v2/user/create", kind="hang", done=True)
    hanging = asyncio.create_task(api.v2("user/create", **USER))
    await eventually(lambda: "oa-1" in simulator.platform.company.users)
    assert not hanging.done()
    async with api.session.delete(api.base + "/_sim/faults") as response:
        assert (await response.json())["cleared"] == 1
    with pytest.raises(aiohttp.ClientError):
        await hanging


async def test_escapes_are_refused_as_dingtalk_does(api: Api, simulator: Simulator) -> None:
    assert await api.code("user/create", **USER | {"name": "张三"}) == 40033  # as aiohttp sends it
    await api.v2("user/create", **USER | {"name": "\\u0041"})  # a backslash is none
    assert simulator.platform.company.users["oa-1"].name == "\\u0041"


async def test_an_approval_by_the_newer_host(api: Api, simulator: Simulator, receiver: Receiver) -> None:
    originator, boss, other = list(simulator.platform.company.users)[:3]
    body: dict[str, Any] = {
        "originatorUserId": originator, "processCode": "PROC-LEAVE", "deptId": -1,
        "formComponentValues": [{"name": "请假事由", "value": "家中有事"}],
        "approvers": [{"actionType": "AND", "userIds": [boss, other]}],
    }  # fmt: skip
    expense = {"processCode": "PROC-EXPENSE", "formComponentValues": [{"name": "发票", "value": "null"}]}
    for wrong, code in [
        ({"processCode": "PROC-X"}, "processCodeError"),
        ({"originatorUserId": "nobody"}, "invalidParameter"),
        ({"formComponentValues": [{"name": "nothing", "value": "x"}]}, "formConverterError"),
        (expense, "formConverterError"),
        ({"approvers": [{"actionType": "OR", "userIds": ["nobody"]}]}, "invalidParameter"),
    ]:
        status, refusal = await api.newer("POST", NEWER, body | wrong)
        assert (status, refusal["code"]) == (400, code)
    instance = (await api.newer("POST", NEWER, body))[1]["instanceId"]

    async def shown() -> dict[str, Any]:
        return dict((await api.newer("GET", NEWER, processInstanceId=instance))[1]["result"])

    tasks = {task["userId"]: task["taskId"] for task in (await shown())["tasks"]}

    async def agrees(actor: str, task: str = boss) -> str | None:
        execute = {"processInstanceId": instance, "result": "agree", "taskId": tasks[task]}
        _, answer = await api.newer("POST", f"{NEWER}/execute", execute | {"actionerUserId": actor})
        return answer.get("code")

    assert await agrees(other) == "needAuth"
    assert await agrees(boss) is None
    assert (await shown())["status"] == "RUNNING"
    assert await agrees(boss) == "aflowProcessInstCanNotBeExecuted"
    assert await agrees(other, other) is None
    over = await shown()
    assert (over["status"], over["result"]) == ("COMPLETED", "agree")
    await eventually(lambda: "finish" in [event.get("type") for event in receiver.events])


async def test_an_approval_is_taken_back_by_who_asked_for_it(api: Api, simulator: Simulator) -> None:
    originator = next(iter(simulator.platform.company.users))
    form = [{"name": "请假事由", "value": "x"}]
    body = {"originatorUserId": originator, "processCode": "PROC-LEAVE", "deptId": -1}
    _, answer = await api.newer("POST", NEWER, body | {"formComponentValues": form})
    await api.post("/_sim/writes", {"terminate_after_ms": 0})
    wanted = {"processInstanceId": answer["instanceId"], "remark": "r"}
    codes = [
        (await api.newer("POST", f"{NEWER}/terminate", wanted | more))[1].get("code")
        for more in ({}, {"operatingUserId": "x"}, {"operatingUserId": originator}, {"isSystem": True})
    ]
    assert codes == [
        "invalidInstanceTerminateOperatingUserId", "internalError", None, "aflowProcessInstStatusException",
    ]  # fmt: skip
    assert simulator.state()["approvals"][-1]["status"] == "TERMINATED"


async def test_a_to_do_is_made_once_for_a_source_id(api: Api, simulator: Simulator) -> None:
    union_id = next(iter(simulator.platform.company.users.values())).unionid
    path = f"/v1.0/todo/users/{union_id}/tasks"
    task = {
        "sourceId": "R-1", "subject": "x", "creatorId": union_id, "executorIds": [union_id],
        "detailUrl": {"appUrl": "http://127.0.0.1/", "pcUrl": "http://127.0.0.1/"},
    }  # fmt: skip
    _, made = await api.newer("POST", path, task, operatorId=union_id)
    status, again = await api.newer("POST", path, task)
    assert (status, again["code"]) == (400, "todo.taskCreate.paramError")
    assert "R-1" in again["message"]
    for wrong in ({"subject": "x" * 1025}, {"detailUrl": None}, {"executorIds": ["nobody"]}):
        assert (await api.newer("POST", path, task | {"sourceId": "R-2"} | wrong))[0] == 400
    assert (await api.newer("PUT", f"{path}/nothing", {"done": True}))[0] == 400
    assert (await api.newer("PUT", f"{path}/{made['id']}", {"done": True}))[1] == {"result": True}
    query = f"/v1.0/todo/users/{union_id}/org/tasks/query"
    _, listed = await api.newer("POST", query, {"isDone": True})
    assert [(t["sourceId"], t["taskId"]) for t in listed["todoCards"]] == [("R-1", made["id"])]
    assert (await api.newer("POST", query, {"isDone": False}))[1]["todoCards"] == []


async def test_the_newer_host_refuses_in_its_own_form_and_counts(api: Api, simulator: Simulator) -> None:
    name = f"GET {NEWER}"
    await api.fault(api=name, kind="errcode", errcode=90018, times=1)
    await api.fault(api=name, kind="errcode", code="systemError", status=500, times=1)
    seen = [
        (s, a["code"]) for s, a in [await api.newer("GET", NEWER, processInstanceId="x") for _ in range(3)]
    ]
    assert seen == [
        (403, "Forbidden.AccessDenied.QpsLimitForAppkeyAndApi"),
        (500, "systemError"),
        (400, "processInstanceNotExist"),
    ]
    spent = simulator.limits.as_json()["spent"]["calls"]
    await api.v2("user/get", userid="nobody")
    await api.newer("GET", NEWER)
    assert simulator.limits.as_json()["spent"]["calls"] == spent + 1
    simulator.tokens.expire()
    assert (await api.newer("GET", NEWER))[1]["code"] == "InvalidAuthentication"
    assert json.dumps(simulator.stats())  # what was counted has a name
