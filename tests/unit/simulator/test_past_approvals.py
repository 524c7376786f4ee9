"""Approvals that were over before the start: listed by template and time, each as any other approval."""

import pytest

from dingbridge.simulator.api.approvals import ApprovalCalls
from dingbridge.simulator.call import Call
from dingbridge.simulator.company.templates import TEMPLATES
from tests.unit.simulator.living import NOW, make, seeing

DAY_MS = 86_400_000
COUNT = 3_001


@pytest.fixture
def platform():
    return make(past_approvals=COUNT)


@pytest.fixture
def calls(platform):
    handlers = ApprovalCalls(
        platform.past, seeing(platform), platform.company.users, platform.now_ms
    ).routes()
    return {path: handler for _, path, handler in handlers}


async def listed(calls, code, start, end):
    found, token = [], "0"
    span = {"processCode": code, "startTime": start, "endTime": end, "maxResults": 20}
    while token is not None:
        body = span | {"nextToken": int(token)}
        page = (await calls["/v1.0/workflow/processes/instanceIds/query"](Call(body)))["result"]
        found += page["list"]
        token = page.get("nextToken")
    return found


async def shown(calls, instance_id):
    call = Call({"processInstanceId": instance_id})
    return (await calls["/v1.0/workflow/processInstances"](call))["result"]


async def test_every_one_is_listed_once_in_its_span_beside_those_of_the_simulation(platform, calls):
    found = []
    for code in TEMPLATES:
        for days in range(364, -1, -100):
            start = NOW - days * DAY_MS
            found += await listed(calls, code, start, start + 100 * DAY_MS - 1)
    assert len(found) == len(set(found)) == COUNT + len(list(platform.approvals))


async def test_each_is_whole_over_and_always_the_same(platform, calls):
    start = NOW - 90 * DAY_MS
    tasks = set()
    for code, template in TEMPLATES.items():
        for instance_id in (await listed(calls, code, start, start + 10 * DAY_MS))[:20]:
            one = await shown(calls, instance_id)
            assert one["status"] == "COMPLETED"
            assert one["result"] in ("agree", "refuse")
            assert one["title"].endswith(template.title)
            assert one["finishTime"] > one["createTime"]
            assert tasks.isdisjoint(task["taskId"] for task in one["tasks"])
            tasks |= {task["taskId"] for task in one["tasks"]}
            assert await shown(calls, instance_id) == one
            platform.act_at_random()
    assert tasks


async def test_what_is_none_of_them_is_unknown(platform):
    assert platform.past.get(platform.past.id_of(COUNT)) is not None
    for strange in (platform.past.id_of(COUNT + 1), platform.past.id_of(0), "", "x-y", "1"):
        assert platform.past.get(strange) is None
