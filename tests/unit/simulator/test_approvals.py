"""The life of an approval, and the events that announce it."""

import pytest

from dingbridge.simulator.company.approvals import FINISHED_KEPT
from dingbridge.simulator.company.events import PlatformEvent
from dingbridge.simulator.company.platform import Platform
from dingbridge.simulator.errors import ActionError
from tests.unit.simulator.living import CORP, make


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


def test_a_leave_request_is_approved() -> None:
    platform = make(generation="old")
    pid = start(platform, "PROC-LEAVE")
    events = platform.act("approve", {"process_instance_id": pid, "instance_first": False})
    assert kinds(events) == [("task", "finish", "agree"), ("instance", "finish", "agree")]
    task, instance = (e.payload for e in events)
    assert isinstance(task["taskId"], int)
    assert task["taskId"] > 2**31
    assert instance["corpId"] == CORP
    assert isinstance(instance["finishTime"], int)
    approval = platform.approvals.get(pid)
    assert approval is not None
    shown = platform.approvals.result(approval)
    assert (shown["status"], shown["result"]) == ("COMPLETED", "agree")
    assert [f["name"] for f in shown["formComponentValues"]] == [
        "请假类型", "开始时间", "结束时间", "时长(天)", "请假事由",
    ]  # fmt: skip
    assert [r["type"] for r in shown["operationRecords"]] == [
        "START_PROCESS_INSTANCE", "EXECUTE_TASK_NORMAL",
    ]  # fmt: skip
    assert shown["tasks"][0]["taskId"] == task["taskId"]
    assert shown["createTime"] == "2024-11-08T01:20Z", "China's clock, whatever the Z says"


def test_the_instance_may_end_before_its_last_task() -> None:
    platform = make()
    pid = start(platform, "PROC-LEAVE")
    events = platform.act("approve", {"process_instance_id": pid, "instance_first": True})
    assert kinds(events) == [("instance", "finish", "agree"), ("task", "finish", "agree")]


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
