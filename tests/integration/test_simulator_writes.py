"""Calls that write, over HTTP: what is heard and seen of them when, replies that are lost, the newer host."""

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any

import aiohttp
import pytest

from dingbridge.simulator.server import Simulator
from tests.integration.simulator_support import Api, Receiver, serving, settings
from tests.integration.test_simulator_faults import fault
from tests.support.waiting import eventually

USER = {"userid": "oa-1", "name": "Zhang", "mobile": "13800000001", "dept_id_list": "1"}
TAGS = ["user_add_org", "user_modify_org", "user_leave_org", "bpms_instance_change"]
NEWER = "/v1.0/workflow/processInstances"


class Writer(Api):
    async def write(self, api: str, /, **body: Any) -> dict[str, Any]:
        return await self.call(f"/topapi/v2/{api}", body)


@pytest.fixture
async def simulator() -> AsyncIterator[Simulator]:
    async with Simulator(settings()) as simulator:
        yield simulator


@pytest.fixture
async def api(simulator: Simulator) -> AsyncIterator[Writer]:
    async with aiohttp.ClientSession() as session:
        api = Writer(simulator.base_url, session)
        await api.login()
        yield api


@pytest.fixture
async def receiver(api: Writer) -> AsyncIterator[Receiver]:
    receiver = Receiver()
    async with serving(receiver):
        await api.register(receiver, TAGS)
        yield receiver


async def test_events_come_late_or_before_the_reply(api: Writer, receiver: Receiver) -> None:
    # longer than the test would wait: what must not have happened by then, has not
    await api.post("/_sim/writes", {"event_delay_ms": 600_000})
    await api.write("user/create", **USER)
    assert (await api.get("/_sim/stats"))["pending"] >= 1
    assert len(receiver.events) == 1  # check_url
    await api.post("/_sim/writes", {"event_delay_ms": -600_000})
    replied = asyncio.create_task(api.write("user/update", userid="oa-1", title="x"))
    await eventually(lambda: "user_modify_org" in [e["EventType"] for e in receiver.events])
    assert not replied.done()
    replied.cancel()
    await api.post("/_sim/writes", {"event_delay_ms": [0, 1], "opt_staff_id": "manager1"})
    assert (await api.write("user/delete", userid="oa-1"))["errcode"] == 0
    await eventually(lambda: "user_leave_org" in [e["EventType"] for e in receiver.events])


async def test_reads_lag_behind_writes_but_not_behind_people(api: Writer) -> None:
    await api.post("/_sim/profile", {"profile": "kind"})  # writes alone lag
    await api.write("user/create", **USER)
    await api.post("/_sim/writes", {"read_lag_ms": 600_000})
    await api.write("user/update", userid="oa-1", title="x")
    assert "title" not in (await api.write("user/get", userid="oa-1"))["result"]
    await api.write("user/create", **USER | {"userid": "oa-2", "mobile": "13800000002"})
    assert (await api.write("user/get", userid="oa-2"))["errcode"] == 60121
    assert (await api.write("user/create", **USER | {"userid": "oa-2"}))["errcode"] == 60102
    dept = (await api.write("department/create", name="new", parent_id=1))["result"]["dept_id"]
    assert (await api.write("department/get", dept_id=dept))["errcode"] == 60003
    children = (await api.write("department/listsubid", dept_id=1))["result"]["dept_id_list"]
    assert dept not in children
    await api.post("/_sim/writes", {"read_lag_ms": 0})
    assert (await api.write("user/get", userid="oa-1"))["result"]["title"] == "x"
    assert (await api.write("department/get", dept_id=dept))["result"]["name"] == "new"


@pytest.mark.parametrize("done", [True, False])
@pytest.mark.parametrize(
    "loss", [{"kind": "errcode", "errcode": 15}, {"kind": "http", "status": 504}, {"kind": "cut"}],
    ids=["errcode 15", "http 504", "cut"],
)  # fmt: skip
async def test_a_write_whose_reply_is_lost_is_done_or_not(
    api: Writer, simulator: Simulator, loss: dict[str, Any], done: bool
) -> None:
    await fault(api, api="v2/user/create", times=1, done=done, **loss)
    try:
        answer = await api.write("user/create", **USER)
    except aiohttp.ClientError:
        answer = {}
    assert answer.get("errcode") != 0
    assert ("oa-1" in simulator.platform.company.users) is done
    assert [entry["id"] for entry in simulator.writes.log] == ["oa-1"] * done


async def test_a_write_that_is_done_and_never_answered(api: Writer, simulator: Simulator) -> None:
    await fault(api, api="v2/user/create", kind="hang", done=True)
    hanging = asyncio.create_task(api.write("user/create", **USER))
    await eventually(lambda: "oa-1" in simulator.platform.company.users)
    assert not hanging.done()
    simulator.faults.clear()
    with pytest.raises(aiohttp.ClientError):
        await hanging


async def test_escapes_and_what_the_app_may_not_see_are_refused(api: Writer, simulator: Simulator) -> None:
    assert (await api.write("user/create", **USER | {"name": "张三"}))[
        "errcode"
    ] == 40033  # as aiohttp sends it
    await api.write("user/create", **USER | {"name": "\\u0041"})  # a backslash is none
    assert simulator.platform.company.users["oa-1"].name == "\\u0041"
    dept = (await api.write("department/create", name="seen", parent_id=1))["result"]["dept_id"]
    simulator.scope.set([dept], [])
    assert (await api.write("user/update", userid="oa-1", title="x"))["errcode"] == 50002
    assert (await api.write("user/create", **USER | {"userid": "oa-2"}))["errcode"] == 50004
    assert (await api.write("department/create", name="y", parent_id=1))["errcode"] == 50004
    assert (await api.write("department/update", dept_id=dept, name="z"))["errcode"] == 0


async def test_writes_are_set_in_words(api: Writer) -> None:
    for wanted, words in [
        ({"event_delay_ms": "soon"}, "event_delay_ms"),
        ({"event_delay_ms": [5, 1]}, "event_delay_ms"),
        ({"read_lag_ms": -1}, "read_lag_ms"),
        ({"lag": 1}, "writes have no lag"),
    ]:
        assert words in (await api.post("/_sim/writes", wanted))["error"]
    shown = await api.get("/_sim/writes")
    assert (shown["event_delay_ms"], shown["read_lag_ms"], shown["log"]) == ([0, 0], 0, [])


async def test_an_approval_by_the_newer_host(api: Writer, simulator: Simulator, receiver: Receiver) -> None:
    await api.write("user/create", **USER)
    boss, other = list(simulator.platform.company.users)[:2]
    form = [{"name": "请假事由", "value": "家中有事"}, {"name": "外部单号", "value": "R-1"}]
    body: dict[str, Any] = {
        "originatorUserId": "oa-1", "processCode": "PROC-LEAVE", "deptId": -1, "formComponentValues": form,
        "approvers": [{"actionType": "AND", "userIds": [boss, other]}],
    }  # fmt: skip
    for wrong, code in [
        ({"processCode": "PROC-X"}, "processCodeError"),
        ({"originatorUserId": "nobody"}, "invalidParameter"),
        ({"formComponentValues": [{"name": "nothing", "value": "x"}]}, "formConverterError"),
        (
            {"processCode": "PROC-EXPENSE", "formComponentValues": [{"name": "发票", "value": "null"}]},
            "formConverterError",
        ),
        ({"approvers": [{"actionType": "OR", "userIds": ["nobody"]}]}, "invalidParameter"),
    ]:
        status, refusal = await api.newer("POST", NEWER, body | wrong)
        assert (status, refusal["code"]) == (400, code)
        assert refusal.keys() == {"code", "message", "requestid"}
    started = simulator.platform.now_ms() - 60_000
    _, answer = await api.newer("POST", NEWER, body)
    instance = answer["instanceId"]
    _, found = await api.newer(
        "POST", "/v1.0/workflow/processes/instanceIds/query",
        {"processCode": "PROC-LEAVE", "startTime": started, "nextToken": 0, "maxResults": 20,
         "userIds": ["oa-1"]},
    )  # fmt: skip
    assert found["result"] == {"list": [instance]}
    _, shown = await api.newer("GET", NEWER, processInstanceId=instance)
    assert [{f["name"]: f["value"]} for f in shown["result"]["formComponentValues"]] == [
        {f["name"]: f["value"]} for f in form
    ]
    status, early = await api.newer("POST", f"{NEWER}/terminate", {"processInstanceId": instance})
    assert (status, early["code"]) == (400, "aflowProcessInstStatusException")
    tasks = {task["userId"]: task["taskId"] for task in shown["result"]["tasks"]}
    execute = {"processInstanceId": instance, "result": "agree", "taskId": tasks[boss]}
    _, strange = await api.newer("POST", f"{NEWER}/execute", execute | {"actionerUserId": other})
    assert strange["code"] == "needAuth"
    await api.newer("POST", f"{NEWER}/execute", execute | {"actionerUserId": boss})
    assert (await api.newer("GET", NEWER, processInstanceId=instance))[1]["result"]["status"] == "RUNNING"
    _, gone = await api.newer("POST", f"{NEWER}/execute", execute | {"actionerUserId": boss})
    assert gone["code"] == "aflowProcessInstCanNotBeExecuted"
    last = {"taskId": tasks[other], "actionerUserId": other}
    assert (await api.newer("POST", f"{NEWER}/execute", execute | last))[0] == 200
    _, over = await api.newer("GET", NEWER, processInstanceId=instance)
    assert (over["result"]["status"], over["result"]["result"]) == ("COMPLETED", "agree")
    await eventually(lambda: "finish" in [event.get("type") for event in receiver.events])


async def test_an_approval_is_taken_back_by_who_asked_for_it(api: Writer, simulator: Simulator) -> None:
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


async def test_a_to_do_is_made_once_for_a_source_id(api: Writer, simulator: Simulator) -> None:
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


async def test_the_newer_host_refuses_in_its_own_form_and_counts(api: Writer, simulator: Simulator) -> None:
    name = f"GET {NEWER}"
    await fault(api, api=name, kind="errcode", errcode=90018, times=1)
    await fault(api, api=name, kind="errcode", code="systemError", status=500, times=1)
    seen = [
        (s, a["code"]) for s, a in [await api.newer("GET", NEWER, processInstanceId="x") for _ in range(3)]
    ]
    assert seen == [
        (403, "Forbidden.AccessDenied.QpsLimitForAppkeyAndApi"),
        (500, "systemError"),
        (400, "processInstanceNotExist"),
    ]
    spent = simulator.limits.as_json()["spent"]["calls"]
    await api.write("user/get", userid="nobody")
    await api.newer("GET", NEWER)
    assert simulator.limits.as_json()["spent"]["calls"] == spent + 1
    simulator.tokens.expire()
    assert (await api.newer("GET", NEWER))[1]["code"] == "InvalidAuthentication"
    assert json.dumps(simulator.stats())  # what was counted has a name
