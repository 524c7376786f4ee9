"""The platform's actions: what they do to the company, which events announce them, what is refused."""

from collections import Counter
from typing import Any

import pytest

from dingbridge.simulator.company.company import ROOT
from dingbridge.simulator.company.platform import ARGUMENTS
from dingbridge.simulator.errors import ActionError
from tests.support.sizes import sized
from tests.unit.simulator.living import Mirror, ids, make

ACTIONS = sized(4_000, 4_000, quick=1_000)


@pytest.mark.parametrize(("users", "actions"), [(40, ACTIONS), (350, ACTIONS // 10)])
def test_who_looks_after_every_event_ends_with_the_state(
    users: int, actions: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also in a company that is so large that people are made when they are asked for."""
    monkeypatch.setattr("dingbridge.simulator.company.company.MOST_KEPT", (300, 100))
    platform = make(users=users)
    mirror = Mirror(platform)
    seen: Counter[str] = Counter()
    for _ in range(actions):
        for event in platform.act_at_random():
            seen[event.event_type] += 1
            mirror.receive(event)
    now = Mirror(platform)
    assert (mirror.users, mirror.departments, mirror.approvals) == (now.users, now.departments, now.approvals)
    userids = list(platform.company.users)
    assert [platform.company.users.nth(place) for place in range(len(userids))] == userids
    some = userids[::7]
    assert list(platform.company.users.others(some)) == [u for u in userids if u not in set(some)]
    assert platform.company.users.in_order(reversed(some)) == some
    assert actions < ACTIONS or set(seen) == {
        "user_add_org", "user_modify_org", "user_leave_org", "org_dept_create", "org_dept_modify",
        "org_dept_remove", "bpms_instance_change", "bpms_task_change", "org_admin_add", "org_admin_remove",
        "label_user_change", "label_conf_add", "label_conf_modify", "label_conf_del",
    }  # fmt: skip


def test_the_same_seed_lives_the_same_life_whatever_the_generation() -> None:
    def life(generation: str) -> list[tuple[str, str]]:
        platform = make(generation=generation)
        events = [e for _ in range(300) for e in platform.act_at_random()]
        return [
            (e.event_type, str(ids(e, "UserId", "userId") or e.payload.get("processInstanceId")))
            for e in events
        ]

    assert life("mixed") == life("mixed") == life("old") == life("new")


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
    assert vars(after) == vars(before)


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
