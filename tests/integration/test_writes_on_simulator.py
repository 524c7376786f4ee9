"""The Open API's writes against the simulator: what the client can do at DingTalk, from first to last."""

import time
from collections.abc import AsyncIterator

import pytest

from dingbridge.dingtalk.api import DingTalkClient
from dingbridge.dingtalk.errors import (
    AcceptancePending,
    AlreadyExists,
    ApiError,
    DepartmentNotEmpty,
    NotFound,
    OutcomeUnknown,
)
from dingbridge.settings import SAMPLE_CREDENTIALS
from dingbridge.simulator.server import Simulator
from tests.integration.simulator_support import settings
from tests.support.profiles import KIND

KEY, SECRET = SAMPLE_CREDENTIALS["DINGTALK_APP_KEY"], SAMPLE_CREDENTIALS["DINGTALK_APP_SECRET"]
PERSON = {"userid": "oa-1", "name": "张三", "mobile": "13900000001", "dept_id_list": [1]}


@pytest.fixture
async def simulator() -> AsyncIterator[Simulator]:
    # what the client reads back is the subject
    async with Simulator(settings(profile=KIND)) as simulator:
        yield simulator


@pytest.fixture
async def client(simulator: Simulator) -> AsyncIterator[DingTalkClient]:
    async with DingTalkClient(app_key=KEY, app_secret=SECRET, base=simulator.base_url) as client:
        yield client


async def test_people_and_departments_come_change_and_go(client: DingTalkClient) -> None:
    fields = {"name": "新部门", "parent_id": 1, "source_identifier": "d-1", "order": 3}
    dept_id = await client.create_department(fields)
    assert {**fields, "dept_id": dept_id}.items() <= (await client.department(dept_id)).items()
    made = await client.create_user({**PERSON, "dept_id_list": [1, dept_id], "title": "工程师"})
    assert made == ("oa-1", (await client.user("oa-1"))["unionid"])
    assert await client.userid_by_mobile("13900000001") == "oa-1"
    assert await client.userid_by_mobile("13900000009") is None
    with pytest.raises(AlreadyExists):
        await client.create_user(PERSON)
    other, _ = await client.create_user({**PERSON, "userid": "oa-2", "mobile": "13900000002"})
    await client.update_user("oa-1", {"manager_userid": other, "extension": {"a": "1", "b": "1"}})
    await client.update_user("oa-1", {"manager_userid": None, "extension": {"b": "2"}})
    await client.update_department(dept_id, {"dept_manager_userid_list": ["oa-1"], "name": "改名"})
    user, department = await client.user("oa-1"), await client.department(dept_id)
    assert (user["title"], sorted(user["dept_id_list"])) == ("工程师", sorted([1, dept_id]))
    assert not user.get("manager_userid")
    assert user["extension"] == '{"a": "1", "b": "2"}'
    assert (department["name"], department["dept_manager_userid_list"]) == ("改名", ["oa-1"])
    with pytest.raises(DepartmentNotEmpty):
        await client.delete_department(dept_id)
    await client.delete_user("oa-1")
    await client.delete_department(dept_id)
    for gone in (client.user("oa-1"), client.department(dept_id), client.delete_user("oa-1")):
        with pytest.raises(NotFound):
            await gone


async def test_who_must_accept_first_and_a_lost_reply(simulator: Simulator, client: DingTalkClient) -> None:
    simulator.act("protect", {"mobile": "13900000001"})
    with pytest.raises(AcceptancePending):
        await client.create_user(PERSON)
    lost = {"api": "v2/user/create", "kind": "errcode", "errcode": 15, "done": True, "times": 1}
    simulator.faults.add(lost)
    with pytest.raises(OutcomeUnknown):
        await client.create_user({**PERSON, "userid": "oa-2", "mobile": "13900000002"})
    assert (await client.user("oa-2"))["name"] == "张三"


async def test_an_approval_is_started_found_decided_and_another_terminated(
    simulator: Simulator, client: DingTalkClient
) -> None:
    originator, actor = list(simulator.platform.company.users)[:2]
    since = int(time.time() * 1000) - 60_000
    start = {"process_code": "PROC-EXPENSE", "originator": originator, "approvers": [actor]}
    started = [await client.start_approval(**start, form={"外部单号": f"R-{n}"}) for n in range(2)]
    found = client.approval_ids("PROC-EXPENSE", start_ms=since, originator=originator)
    assert set(started) <= {instance_id async for instance_id in found}
    detail = await client.approval(started[0])
    assert {"name": "外部单号", "value": "R-0"}.items() <= detail["formComponentValues"][0].items()
    (task,) = [task for task in detail["tasks"] if task["status"] == "RUNNING"]
    await client.decide_approval(started[0], task_id=task["taskId"], actor=actor, result="agree")
    ended = await client.approval(started[0])
    assert (ended["status"], ended["result"]) == ("COMPLETED", "agree")
    with pytest.raises(ApiError) as too_early:
        await client.terminate_approval(started[1], originator=originator)
    assert too_early.value.code == "aflowProcessInstStatusException"
    simulator.writes.set(terminate_after_ms=0)
    await client.terminate_approval(started[1], originator=originator)
    assert (await client.approval(started[1]))["status"] == "TERMINATED"


async def test_a_to_do_is_created_once_found_and_finished(
    simulator: Simulator, client: DingTalkClient
) -> None:
    creator, executor = [
        (await client.user(userid))["unionid"] for userid in list(simulator.platform.company.users)[:2]
    ]
    todo = {"source_id": "T-1", "creator": creator, "executors": [executor], "subject": "看一下"}
    task_id = await client.create_todo(**todo, url="https://oa.example.com/t/1", due_ms=1_900_000_000_000)
    with pytest.raises(AlreadyExists):
        await client.create_todo(**todo, url="https://oa.example.com/t/1")
    card = await client.find_todo("T-1", person=executor)
    assert card is not None
    assert (card["taskId"], card["isDone"]) == (task_id, False)
    await client.finish_todo(task_id, creator=creator)
    card = await client.find_todo("T-1", person=executor)
    assert card is not None
    assert card["isDone"] is True
    assert await client.find_todo("T-2", person=executor) is None
