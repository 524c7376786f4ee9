"""The life of an approval, the events that announce it, and approvals that were over before the start."""

import pytest

from dingbridge.simulator.api.approvals import ApprovalCalls
from dingbridge.simulator.call import Call
from dingbridge.simulator.company.approvals import FINISHED_KEPT
from dingbridge.simulator.company.events import PlatformEvent
from dingbridge.simulator.company.platform import Platform
from dingbridge.simulator.company.templates import TEMPLATES
from dingbridge.simulator.errors import ActionError
from tests.unit.simulator.living import CORP, NOW, make, seeing


def kinds(events: list[PlatformEvent]) -> list[tuple[str, str, str | None]]:
    return [
        (
            e.event_type.removeprefix("bpms_").removesuffix("_change"),
            e.payload["type"],
            e.payload.get("result"),
        )
        for e in events
    ]


def start(platform: Platform, code: str) -> str:
    events = platform.act("start_approval", {"process_code": code})
    assert kinds(events)[0] == ("instance", "start", None)
    assert set(kinds(events)[1:]) == {("task", "start", None)}
    return str(events[0].payload["processInstanceId"])


@pytest.mark.parametrize("instance_first", [True, False])
def test_the_instance_may_end_before_its_last_task(instance_first: bool) -> None:
    platform = make(generation="old")
    pid = start(platform, "PROC-LEAVE")
    events = platform.act("approve", {"process_instance_id": pid, "instance_first": instance_first})
    order = [("task", "finish", "agree"), ("instance", "finish", "agree")]
    assert kinds(events) == (order[::-1] if instance_first else order)
    payloads = {e.event_type: e.payload for e in events}
    task, instance = payloads["bpms_task_change"], payloads["bpms_instance_change"]
    assert task["taskId"] > 2**31
    assert (instance["corpId"], type(instance["finishTime"])) == (CORP, int)
    approval = platform.approvals.get(pid)
    assert approval is not None
    shown = platform.approvals.result(approval)
    assert [f["name"] for f in shown["formComponentValues"]] == [
        "请假类型", "开始时间", "结束时间", "时长(天)", "请假事由",
    ]  # fmt: skip
    assert shown["tasks"][0]["taskId"] == task["taskId"]
    assert shown["createTime"] == "2024-11-08T01:20Z", "China's clock, whatever the Z says"


def test_two_steps_one_after_the_other() -> None:
    platform = make()
    pid = start(platform, "PROC-EXPENSE")
    first = platform.act("approve", {"process_instance_id": pid, "one_step": True})
    assert kinds(first) == [("task", "start", None), ("task", "finish", "agree")]
    second = platform.act("approve", {"process_instance_id": pid, "instance_first": False})
    assert kinds(second) == [("task", "finish", "agree"), ("instance", "finish", "agree")]


def test_one_of_two_is_enough_and_the_others_task_is_cancelled() -> None:
    platform = make()
    pid = start(platform, "PROC-PURCHASE")
    events = platform.act("refuse", {"process_instance_id": pid, "instance_first": False})
    assert kinds(events) == [
        ("task", "finish", "refuse"), ("task", "cancel", None), ("instance", "finish", "refuse"),
    ]  # fmt: skip
    assert events[0].payload["remark"]


def test_revoked_ends_without_a_result() -> None:
    platform = make()
    pid = start(platform, "PROC-LEAVE")
    events = platform.act("revoke", {"process_instance_id": pid})
    assert kinds(events) == [("task", "cancel", None), ("instance", "terminate", None)]
    approval = platform.approvals.get(pid)
    assert approval is not None
    assert platform.approvals.result(approval)["status"] == "TERMINATED"
    with pytest.raises(ActionError, match="not running"):
        platform.act("approve", {"process_instance_id": pid})


def test_an_approver_who_leaves_hands_over() -> None:
    platform = make()
    pid = start(platform, "PROC-LEAVE")
    approval = platform.approvals.get(pid)
    assert approval is not None
    leaver = approval.open_tasks()[0].userid
    events = [
        e for e in platform.act("leave", {"userid": leaver}) if e.payload.get("processInstanceId") == pid
    ]
    assert kinds(events) == [("task", "finish", "redirect"), ("task", "start", None)]
    assert events[1].payload["staffId"] in platform.company.users


def test_an_approver_gives_his_task_to_a_colleague() -> None:
    platform = make()
    pid = start(platform, "PROC-LEAVE")
    approval = platform.approvals.get(pid)
    assert approval is not None
    before = approval.open_tasks()[0].userid
    events = platform.act("redirect", {"process_instance_id": pid})
    assert kinds(events) == [("task", "finish", "redirect"), ("task", "start", None)]
    assert events[0].payload["staffId"] == before
    (now,) = approval.open_tasks()
    assert now.userid == events[1].payload["staffId"] != before
    with pytest.raises(ActionError, match="has a task of this approval already"):
        platform.act("redirect", {"process_instance_id": pid, "userid": now.userid})


def test_a_comment_names_no_task() -> None:
    platform = make(generation="old")
    pid = start(platform, "PROC-LEAVE")
    (event,) = platform.act("comment", {"process_instance_id": pid, "text": "收到"})
    assert (event.payload["type"], event.payload["content"]) == ("comment", "收到")
    assert "taskId" not in event.payload
    approval = platform.approvals.get(pid)
    assert approval is not None
    assert platform.approvals.result(approval)["operationRecords"][-1]["remark"] == "收到"


def test_a_deleted_approval_is_unknown() -> None:
    platform = make()
    pid = start(platform, "PROC-LEAVE")
    assert kinds(platform.act("delete_approval", {"process_instance_id": pid})) == [
        ("instance", "delete", None)
    ]
    assert platform.approvals.get(pid) is None
    assert pid not in platform.approvals.running


def test_approvals_that_are_over_are_forgotten_in_the_end(monkeypatch: pytest.MonkeyPatch) -> None:
    assert FINISHED_KEPT >= 1000
    monkeypatch.setattr("dingbridge.simulator.company.approvals.FINISHED_KEPT", 3)
    platform = make(users=3)
    for _ in range(10):
        pid = start(platform, "PROC-LEAVE")
        platform.act("revoke", {"process_instance_id": pid})
    assert sum(a.status != "RUNNING" for a in platform.approvals) == 3


async def test_an_attachments_address_is_over_after_15_minutes() -> None:
    platform = Platform(seed=1, users=3, departments=2)
    (started, *_) = platform.act("start_approval", {"process_code": "PROC-EXPENSE"})
    pid = started.payload["processInstanceId"]
    approval = platform.approvals.get(pid)
    assert approval is not None
    (attachment,) = approval.attachments()
    clock = [1000.0]
    calls = ApprovalCalls(
        platform.past, seeing(platform), platform.company.users, platform.now_ms, clock=lambda: clock[0]
    )
    handlers = {path: handler for _, path, handler in calls.routes()}
    asked = Call({"processInstanceId": pid, "fileId": attachment.file_id}, "http://127.0.0.1")
    answer = await handlers["/v1.0/workflow/processInstances/spaces/files/urls/download"](asked)
    ticket = answer["result"]["downloadUri"].rpartition("/")[2]
    clock[0] += 899
    assert calls.download(ticket).body == attachment.content()
    clock[0] += 1
    assert calls.download(ticket).status == 403


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


async def test_every_one_is_listed_once_in_its_span_beside_those_of_the_simulation(platform, calls):
    found = []
    for code in TEMPLATES:
        for days in range(364, -1, -100):
            start = NOW - days * DAY_MS
            found += await listed(calls, code, start, start + 100 * DAY_MS - 1)
    assert len(found) == len(set(found)) == COUNT + len(list(platform.approvals))
