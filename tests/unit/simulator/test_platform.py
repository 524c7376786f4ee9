"""Actions, and the events that announce them."""

import copy
import json
from collections import Counter
from typing import Any

import pytest

from schemas.catalogue import catalogue
from simulator.approvals import FINISHED_KEPT
from simulator.company import ROOT, Company
from simulator.errors import ActionError
from simulator.events import PlatformEvent, failed_item
from simulator.platform import ARGUMENTS, Platform

NOW = 1_731_000_000_000
CORP = "dingcorpsample01"


def make(**options: Any) -> Platform:
    return Platform(**{"seed": 5, "users": 40, "departments": 10, "clock": lambda: NOW} | options)


def ids(event: PlatformEvent, old: str, new: str) -> list[Any]:
    return event.payload.get(old, event.payload.get(new, []))


class Mirror:
    """A receiver who knows only ids from events, and looks at the API for each of them."""

    def __init__(self, platform: Platform) -> None:
        self.platform = platform
        self.users: dict[str, Any] = {}
        self.departments: dict[int, Any] = {}
        self.approvals: dict[str, Any] = {}
        for userid in platform.company.users:
            self.look_at_user(userid)
        for dept_id in platform.company.departments:
            self.look_at_department(dept_id)
        for approval in platform.approvals:
            self.look_at_approval(approval.instance_id)

    def look_at_user(self, userid: str) -> None:
        user = self.platform.company.users.get(userid)
        self.users.pop(userid, None)
        if user is not None:
            self.users[userid] = copy.deepcopy(self.platform.company.user_result(user))

    def look_at_department(self, dept_id: int) -> None:
        dept = self.platform.company.departments.get(dept_id)
        self.departments.pop(dept_id, None)
        if dept is not None:
            self.departments[dept_id] = copy.deepcopy(self.platform.company.department_result(dept))

    def look_at_approval(self, instance_id: str) -> None:
        approval = self.platform.approvals.get(instance_id)
        self.approvals.pop(instance_id, None)
        if approval is not None:
            self.approvals[instance_id] = copy.deepcopy(self.platform.approvals.result(approval))

    def receive(self, event: PlatformEvent) -> None:
        for userid in ids(event, "UserId", "userId"):
            self.look_at_user(userid)
        for userid in ids(event, "UserIdList", "userIdList"):
            self.look_at_user(userid)
        if event.event_type.startswith("label_conf"):
            # its event names the role only: a receiver has to know who has it
            labels = set(ids(event, "LabelIdList", "labelIdList"))
            for userid, user in list(self.users.items()):
                if labels & {role["id"] for role in user.get("role_list", [])}:
                    self.look_at_user(userid)
        for dept_id in ids(event, "DeptId", "deptId"):
            self.look_at_department(dept_id)
        if instance_id := event.payload.get("processInstanceId"):
            self.look_at_approval(instance_id)


def test_who_looks_after_every_event_ends_with_the_state() -> None:
    platform = make()
    mirror = Mirror(platform)
    seen: Counter[str] = Counter()
    for _ in range(4000):
        for event in platform.act_at_random():
            seen[event.event_type] += 1
            mirror.receive(event)
    company = platform.company
    assert mirror.users == {u.userid: company.user_result(u) for u in company.users.values()}
    assert mirror.departments == {
        d.dept_id: company.department_result(d) for d in company.departments.values()
    }
    assert mirror.approvals == {a.instance_id: platform.approvals.result(a) for a in platform.approvals}
    assert set(seen) == {
        "user_add_org", "user_modify_org", "user_leave_org", "org_dept_create", "org_dept_modify",
        "org_dept_remove", "bpms_instance_change", "bpms_task_change", "org_admin_add", "org_admin_remove",
        "label_user_change", "label_conf_add", "label_conf_modify", "label_conf_del",
    }  # fmt: skip


def test_a_company_keeps_its_size() -> None:
    platform = make()
    for _ in range(6000):
        platform.act_at_random()
    assert 15 < len(platform.company.users) < 80
    assert 4 < len(platform.company.departments) < 30
    assert len(platform.approvals.running) < 100


def test_the_same_seed_lives_the_same_life_whatever_the_generation() -> None:
    def life(generation: str) -> list[tuple[str, str]]:
        platform = make(generation=generation)
        events = [e for _ in range(300) for e in platform.act_at_random()]
        return [
            (e.event_type, str(ids(e, "UserId", "userId") or e.payload.get("processInstanceId")))
            for e in events
        ]

    assert life("mixed") == life("mixed") == life("old") == life("new")
    first, second = make(), make()
    for _ in range(300):
        a, b = first.act_at_random(), second.act_at_random()
        assert [e.plaintext() for e in a] == [e.plaintext() for e in b]


@pytest.mark.parametrize("generation", ["old", "new"])
def test_every_payload_is_of_its_generation(generation: str) -> None:
    platform = make(generation=generation)
    for event in (e for _ in range(1500) for e in platform.act_at_random()):
        spec = catalogue.get(event.event_type)
        assert spec is not None
        assert spec.form_of(event.payload) == generation
        assert event.payload["EventType"] == event.event_type
        if generation == "old":
            assert not {"EventTime", "eventId", "BizId"} & set(event.payload)


def test_mixed_has_both_generations() -> None:
    platform = make()
    events = [e for _ in range(200) for e in platform.act_at_random()]
    assert {"eventId" in e.payload for e in events} == {True, False}


def test_old_contact_shape() -> None:
    platform = make(generation="old")
    add = platform.act("hire", {"follow_up": False})[0].payload
    assert list(add) == ["EventType", "TimeStamp", "UserId", "CorpId", "OptStaffId"]
    assert add["TimeStamp"].isdigit()
    assert add["UserId"][0] in platform.company.users
    created = platform.act("create_department")[0].payload
    assert list(created) == ["EventType", "TimeStamp", "DeptId", "CorpId"]
    assert created["DeptId"][0] in platform.company.departments
    renamed = platform.act("rename", {"name": "欧阳雨桐"})[0].payload
    assert renamed["diffInfo"][0]["curr"]["name"] == "欧阳雨桐"
    assert renamed["diffInfo"][0]["userid"] == renamed["UserId"][0]


def test_new_contact_shape() -> None:
    platform = make(generation="new")
    add = platform.act("hire", {"follow_up": False})[0].payload
    assert list(add) == ["EventType", "EventTime", "CorpId", "BizId", "eventId", "timeStamp", "userId"]
    assert isinstance(add["EventTime"], int)
    assert isinstance(add["BizId"], str)
    assert isinstance(add["timeStamp"], str)
    assert add["CorpId"] == CORP
    created = platform.act("create_department")[0].payload
    assert list(created) == ["EventType", "EventTime", "CorpId", "BizId", "eventId", "deptId"]
    renamed = platform.act("rename")[0].payload
    assert renamed["diffInfo"]["userid"] == renamed["userId"][0]
    assert renamed["diffInfo"]["prev"]["name"] != renamed["diffInfo"]["curr"]["name"]
    whole = [e.payload for e in platform.act("rename_department", {"dept_id": ROOT, "name": "新示例公司"})]
    assert [p["EventType"] for p in whole] == ["org_change", "org_dept_modify"]
    assert list(whole[0]) == ["EventType", "EventTime", "CorpId", "BizId", "eventId"]


def test_event_ids_are_unique() -> None:
    platform = make(generation="new")
    seen = [e.payload["eventId"] for _ in range(500) for e in platform.act_at_random()]
    assert len(set(seen)) == len(seen)


def test_hire_several_and_follow_up() -> None:
    add, modify = make(generation="old").act("hire", {"count": 3, "follow_up": True})
    assert (add.event_type, modify.event_type) == ("user_add_org", "user_modify_org")
    assert len(add.payload["UserId"]) == 3
    assert add.payload["UserId"] == modify.payload["UserId"]
    many = make(generation="old").act("hire", {"count": 45, "follow_up": False})
    assert [len(e.payload["UserId"]) for e in many] == [20, 20, 5]


def test_cascade_names_all_departments_and_the_moved_people() -> None:
    platform = make(generation="old")
    top = next(d for d in platform.company.children(ROOT) if platform.company.children(d.dept_id))
    below = [d.dept_id for d in platform.company.subtree(top.dept_id)]
    events = platform.act("remove_department", {"dept_id": top.dept_id})
    assert events[0].event_type == "org_dept_remove"
    assert events[0].payload["DeptId"] == below
    assert {e.event_type for e in events[1:]} <= {"user_modify_org"}


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
    assert [f["name"] for f in shown["form_component_values"]] == [
        "请假类型", "开始时间", "结束时间", "时长(天)", "请假事由",
    ]  # fmt: skip
    assert [r["operation_type"] for r in shown["operation_records"]] == [
        "START_PROCESS_INSTANCE", "EXECUTE_TASK_NORMAL",
    ]  # fmt: skip
    assert shown["tasks"][0]["taskid"] == str(task["taskId"])
    assert shown["create_time"] == "2024-11-08 01:20:00"


def test_the_instance_may_end_before_its_last_task() -> None:
    platform = make()
    pid = start(platform, "PROC-LEAVE")
    events = platform.act("approve", {"process_instance_id": pid, "instance_first": True})
    assert kinds(events) == [("instance", "finish", "agree"), ("task", "finish", "agree")]


def test_two_steps_one_after_the_other() -> None:
    platform = make()
    pid = start(platform, "PROC-EXPENSE")
    first = platform.act("approve", {"process_instance_id": pid, "one_step": True})
    assert kinds(first) == [("task", "finish", "agree"), ("task", "start", None)]
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
    assert platform.approvals.result(approval)["operation_records"][-1]["remark"] == "收到"


def test_a_deleted_approval_is_unknown() -> None:
    platform = make()
    pid = start(platform, "PROC-LEAVE")
    assert kinds(platform.act("delete_approval", {"process_instance_id": pid})) == [
        ("instance", "delete", None)
    ]
    assert platform.approvals.get(pid) is None
    assert pid not in platform.approvals.running


def test_who_comes_back_is_the_same_person_without_his_roles() -> None:
    platform = make(generation="old")
    company = platform.company
    leaver = company.pick_user().userid
    before = company.user_result(company.users[leaver])
    platform.act("give_role", {"userid": leaver})
    platform.act("leave", {"userid": leaver})
    (event,) = platform.act("come_back")
    assert (event.event_type, event.payload["UserId"]) == ("user_add_org", [leaver])
    after = company.user_result(company.users[leaver])
    assert {k: after[k] for k in ("userid", "unionid", "name", "mobile")} == {
        k: before[k] for k in ("userid", "unionid", "name", "mobile")
    }
    assert "role_list" not in after


def test_the_main_administrator_has_a_successor() -> None:
    platform = make(generation="old")
    admins = platform.company.roles.admins
    main = next(u for u, level in admins.items() if level == 1)
    events = platform.act("leave", {"userid": main})
    heir = next(u for u, level in admins.items() if level == 1)
    assert heir != main
    assert [e.payload["UserId"] for e in events if e.event_type == "org_admin_add"] == [[heir]]
    with pytest.raises(ActionError, match="main administrator cannot"):
        platform.act("dismiss_admin", {"userid": heir})


def test_old_label_shapes() -> None:
    platform = make(generation="old")
    (given,) = platform.act("give_role")
    assert list(given.payload) == ["EventType", "TimeStamp", "UserIdList", "LabelIdList", "action", "CorpId"]
    assert given.payload["action"] == "add"
    assert failed_item(given)["label_user_change"]["roleLabelChange"] == {
        "labelIdList": given.payload["LabelIdList"],
        "userIdList": given.payload["UserIdList"],
        "action": "add",
    }
    (renamed,) = platform.act("rename_role", {"role_id": given.payload["LabelIdList"][0], "name": "新名"})
    assert json.loads(renamed.payload["PostLabelList"][0])["name"] == "新名"


def test_a_department_hangs_elsewhere_with_all_below_it() -> None:
    platform = make()
    company = platform.company
    (event,) = platform.act("move_department")
    (dept_id,) = ids(event, "DeptId", "deptId")
    parent = company.departments[dept_id].parent
    assert parent is not None
    assert dept_id not in {above for above in ancestors(company, parent)}
    for dept in company.departments:
        assert ROOT in ancestors(company, dept)
    child = next((d.dept_id for d in company.children(dept_id)), None) or dept_id
    with pytest.raises(ActionError, match="below itself"):
        platform.act("move_department", {"dept_id": dept_id, "parent_id": child})


def ancestors(company: Company, dept_id: int) -> list[int]:
    above, at = [dept_id], company.departments[dept_id].parent
    while at is not None:
        above.append(at)
        at = company.departments[at].parent
    return above


def test_approvals_that_are_over_are_forgotten_in_the_end(monkeypatch: pytest.MonkeyPatch) -> None:
    assert FINISHED_KEPT >= 1000
    monkeypatch.setattr("simulator.approvals.FINISHED_KEPT", 3)
    platform = make(users=3)
    for _ in range(10):
        pid = start(platform, "PROC-LEAVE")
        platform.act("revoke", {"process_instance_id": pid})
    assert sum(a.status != "RUNNING" for a in platform.approvals) == 3


@pytest.mark.parametrize(
    ("action", "arguments", "words"),
    [
        ("fly", {}, "no such action"),
        ("hire", {"cnt": 1}, "it takes count"),
        ("hire", {"count": "many"}, "must be a number"),
        ("hire", {"count": 0}, "1 to 1000"),
        ("hire", {"dept_ids": "a,b"}, "list of numbers"),
        ("hire", {"follow_up": "perhaps"}, "true or false"),
        ("move", {"userid": 7}, "must be a text"),
        ("leave", {"userid": "1", "count": 2}, "not both"),
        ("leave", {"count": 1000}, "the people there are"),
        ("rename", {"name": " "}, "must not be empty"),
        ("start_approval", {"process_code": "PROC-X"}, "there are PROC-LEAVE"),
        ("revoke", {"process_instance_id": "x"}, "not running"),
        ("delete_approval", {"process_instance_id": "x"}, "there is no approval"),
        ("come_back", {}, "nobody has left"),
        ("come_back", {"userid": "x"}, "has not left"),
        ("move_department", {"dept_id": ROOT}, "cannot be moved"),
        ("report_to", {"userid": "x"}, "there is no user"),
        ("rename_role", {"role_id": 1}, "there is no role"),
        ("give_role", {"userid": "x"}, "there is no user"),
        ("take_role", {"userid": "x"}, "nobody has such a role"),
        ("dismiss_admin", {"userid": "x"}, "is no administrator"),
        ("create_role", {"group_id": 1}, "there is no role group"),
    ],
)
def test_refusals_say_what_could_be_done(action: str, arguments: dict[str, Any], words: str) -> None:
    platform = make()
    before = Mirror(platform)
    with pytest.raises(ActionError, match=words):
        platform.act(action, arguments)
    after = Mirror(platform)
    assert (after.users, after.departments, after.approvals) == (
        before.users,
        before.departments,
        before.approvals,
    )


def test_every_action_works_without_arguments_and_from_text() -> None:
    for action in ARGUMENTS:
        platform = make()
        platform.act("leave")  # somebody who can come back
        assert platform.act(action)
    platform = make()
    dept = platform.company.pick_department().dept_id
    event = platform.act("hire", {"count": "2", "dept_ids": f"{dept},1", "follow_up": "false"})[0]
    hired = ids(event, "UserId", "userId")
    assert [platform.company.users[u].dept_ids for u in hired] == [[dept, 1], [dept, 1]]


def test_an_empty_company_comes_to_life() -> None:
    platform = make(users=0, departments=0)
    for _ in range(200):
        platform.act_at_random()
    assert platform.company.users


@pytest.mark.parametrize("generation", ["old", "new"])
def test_failed_items_are_poorer_than_what_was_pushed(generation: str) -> None:
    platform = make(generation=generation)
    add = platform.act("hire", {"follow_up": False})[0]
    assert failed_item(add) == {
        "user_add_org": {"userid": ids(add, "UserId", "userId"), "corpid": CORP},
        "call_back_tag": "user_add_org",
        "event_time": add.time_ms,
    }
    instance = platform.act("start_approval")[0]
    item = failed_item(instance)
    data = item["bpms_instance_change"]["bpmsCallBackData"]
    assert item["bpms_instance_change"]["corpid"] == CORP
    assert data["EventType"] == "bpms_instance_change"
    assert data["processInstanceId"] == instance.payload["processInstanceId"]
    assert not {"eventId", "BizId", "EventTime"} & set(data)
    dept = platform.act("create_department")[0]
    assert failed_item(dept)["org_dept_create"] == {
        "callbackData": {"deptid": ids(dept, "DeptId", "deptId")},
        "corpid": CORP,
    }
