"""Every call of our client on the simulator, and what each of its bad days becomes."""

import time
from collections.abc import AsyncIterator
from typing import Any

import aiohttp
import pytest

from dingbridge.dingtalk.api import DingTalkClient
from dingbridge.dingtalk.api.approvals import IDS
from dingbridge.dingtalk.error_meanings import REFUSALS
from dingbridge.dingtalk.errors import (
    AlreadyExists,
    ApiError,
    BudgetSpent,
    IpNotAllowed,
    PermissionDenied,
    RateLimited,
    TokenInvalid,
    Unavailable,
)
from dingbridge.settings import SAMPLE_CREDENTIALS
from dingbridge.simulator.errors import ERRMSG
from dingbridge.simulator.server import Simulator
from dingbridge.worker.api.budget import ApiCalls
from dingbridge.worker.api.call_counts import CallCounts
from tests.integration.simulator_support import settings
from tests.support.dingtalk import Sleeps
from tests.support.profiles import KIND

KEY, SECRET = SAMPLE_CREDENTIALS["DINGTALK_APP_KEY"], SAMPLE_CREDENTIALS["DINGTALK_APP_SECRET"]
FACTS = [
    *(-1, 15, 33012, 40001, 40014, 40035, 40089, 41001, 42001, 43007, 50002, 50004, 60003, 60011, 60019),
    *(60020, 60121, 71006, 71007, 71008, 71009, 71010, 71011, 71012, 71013, 90002, 90018, 90020),
    *(400002, 400040, 400041),
]
"""The codes of server-api-error-codes-1 that a bridge can meet, but 88 and the family of 900xx."""


@pytest.fixture
async def simulator() -> AsyncIterator[Simulator]:
    async with Simulator(settings(profile=KIND)) as simulator:  # the pages' words, exactly
        yield simulator


@pytest.fixture
def sleeps() -> Sleeps:
    return Sleeps()


def connect(simulator: Simulator, sleeps: Sleeps, **options: Any) -> DingTalkClient:
    credentials = {"app_key": KEY, "app_secret": SECRET}
    return DingTalkClient(**credentials, base=simulator.base_url, sleep=sleeps, clock=sleeps.clock, **options)


@pytest.fixture
async def client(simulator: Simulator, sleeps: Sleeps) -> AsyncIterator[DingTalkClient]:
    async with connect(simulator, sleeps) as client:
        yield client


async def test_approvals_as_the_client_reads_them(simulator: Simulator, client: DingTalkClient) -> None:
    for _ in range(45):
        simulator.act("start_approval", {"process_code": "PROC-EXPENSE"})
    there = [a for a in simulator.platform.approvals if a.process_code == "PROC-EXPENSE"]
    since = int(time.time() * 1000) - 86_400_000
    found = [i async for i in client.approval_ids("PROC-EXPENSE", start_ms=since)]
    assert found == [a.instance_id for a in there]
    assert await client.approval(found[0]) == simulator.platform.approvals.result(there[0])
    simulator.act("refuse", {"process_instance_id": found[1]})
    over = client.approval_ids("PROC-EXPENSE", start_ms=since, statuses=("COMPLETED",))
    assert [i async for i in over] == [a.instance_id for a in there if a.status == "COMPLETED"]
    templates = await client.templates()
    url = await client.attachment_url(found[0], there[0].attachments()[0].file_id)
    async with aiohttp.ClientSession() as session, session.get(url) as response:
        assert (response.status, len(await response.read()) > 0) == (200, True)
    forms = {t["name"]: await client.form_schema(t["processCode"]) for t in templates}
    assert all(form["name"] == name and form["schemaContent"]["items"] for name, form in forms.items())


async def test_a_year_of_approvals_is_asked_for_in_spans_that_dingtalk_allows(
    simulator: Simulator, client: DingTalkClient
) -> None:
    simulator.act("start_approval", {"process_code": "PROC-LEAVE"})
    since = int(time.time() * 1000) - 364 * 86_400_000
    found = [i async for i in client.approval_ids("PROC-LEAVE", start_ms=since)]
    there = [a.instance_id for a in simulator.platform.approvals if a.process_code == "PROC-LEAVE"]
    assert found == there
    assert client.calls[IDS] == 4


async def test_every_code_is_its_error_with_words_and_a_next_step(
    simulator: Simulator, sleeps: Sleeps
) -> None:
    for errcode in FACTS:
        simulator.faults.clear()
        simulator.faults.add({"api": "v2/user/get", "kind": "errcode", "errcode": errcode})
        expected = REFUSALS[str(errcode)]
        async with connect(simulator, sleeps) as client:
            with pytest.raises(ApiError) as caught:
                await client.user("x")
        assert type(caught.value) is expected.error, errcode
        assert (caught.value.errcode, caught.value.errmsg) == (errcode, ERRMSG[errcode])
        assert expected.words in str(caught.value)
        assert caught.value.permission or expected.next_step in str(caught.value)


@pytest.mark.parametrize(
    ("fault", "error"),
    [
        ({"kind": "ban"}, Unavailable),
        ({"kind": "ban", "status": 403}, Unavailable),
        ({"kind": "http", "status": 504}, Unavailable),
        ({"kind": "http", "status": 502}, Unavailable),
        ({"kind": "deny"}, IpNotAllowed),
        ({"kind": "deny", "errcode": 60011}, PermissionDenied),
        ({"kind": "errcode", "errcode": 88, "sub_code": "60011"}, PermissionDenied),
        ({"kind": "errcode", "errcode": 88, "sub_code": "40014"}, TokenInvalid),
        ({"kind": "errcode", "errcode": 88, "sub_code": "90018"}, RateLimited),
    ],
    ids=["ban", "ban as HTML", "504", "502", "address", "permission", "88-60011", "88-40014", "88-90018"],
)
async def test_bad_days(
    simulator: Simulator, client: DingTalkClient, fault: dict[str, Any], error: type[ApiError]
) -> None:
    await client.access_token()
    simulator.faults.add({"api": "role/list"} | fault)
    with pytest.raises(error) as caught:
        await client.role_groups()
    assert type(caught.value) is error
    assert caught.value.unavailable is (error is not PermissionDenied)
    simulator.faults.clear()
    assert await client.role_groups()


async def test_contact_calls_are_no_part_of_the_budget(
    simulator: Simulator, sleeps: Sleeps, tmp_path: Any
) -> None:
    budget = ApiCalls(CallCounts(f"sqlite:///{tmp_path / 'api-calls.db'}"), app=KEY, limit=1)
    userid = next(iter(simulator.platform.company.users))
    async with connect(simulator, sleeps, budget=budget) as client:
        await client.user_count(False)
        await client.user(userid)
        await client.department(1)
        await client.sub_departments(1)
        dept_id = simulator.platform.company.users[userid].dept_ids[0]
        assert [user async for user in client.department_users(dept_id)]
        groups = await client.role_groups()
        assert [user async for user in client.role_users(groups[0]["roles"][0]["id"])]
        await client.admins()
        assert sum(client.calls.values()) > 8
        assert (await budget.spent())["calls"] == 0
        for _ in range(2):  # on no list of exempt calls; a full sync waits for it
            await client.visible_scope()
        assert (await budget.spent())["by_api"] == {"auth/scopes": 2}
        with pytest.raises(BudgetSpent):
            await client.templates()
    await budget.close()


# -- writes


async def test_an_approval_is_started_found_and_read(simulator: Simulator, client: DingTalkClient) -> None:
    originator, actor = list(simulator.platform.company.users)[:2]
    since = int(time.time() * 1000) - 60_000
    start = {"process_code": "PROC-EXPENSE", "originator": originator, "approvers": [actor]}
    started = [await client.start_approval(**start, form={"外部单号": f"R-{n}"}) for n in range(2)]
    found = client.approval_ids("PROC-EXPENSE", start_ms=since, originator=originator)
    assert set(started) <= {instance_id async for instance_id in found}
    detail = await client.approval(started[0])
    assert {"name": "外部单号", "value": "R-0"}.items() <= detail["formComponentValues"][0].items()


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
