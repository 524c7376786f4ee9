"""The platform's actions: what they do to the company, which events announce them, what is refused."""

from collections import Counter
from typing import Any

import pytest

from dingbridge.simulator.company.company import ROOT, Company
from dingbridge.simulator.company.platform import ARGUMENTS
from dingbridge.simulator.errors import ActionError
from tests.unit.simulator.living import Mirror, ids, make


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
    for action in ARGUMENTS.keys() - {"protect", "accept"}:  # of somebody whom the Open API is to create
        platform = make()
        platform.act("leave")  # somebody who can come back
        if action.endswith("_approved"):
            platform.act("approve")
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
