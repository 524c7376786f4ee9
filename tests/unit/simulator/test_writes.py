"""What the Open API writes about people and departments: DingTalk's rules, and the events that follow."""

import json
from random import Random
from typing import Any

import pytest

from dingbridge.simulator.call import Call
from dingbridge.simulator.company.actions.base import Written
from dingbridge.simulator.company.platform import Platform
from dingbridge.simulator.errors import PlatformError
from tests.unit.simulator.living import Mirror, make

USER = {"userid": "oa-1", "name": "张三", "mobile": "13800000001", "dept_id_list": "1"}


def write(platform: Platform, api: str, /, **body: Any) -> Written:
    return platform.write(f"/topapi/v2/{api}", Call(body))


def refused(platform: Platform, api: str, /, **body: Any) -> int:
    with pytest.raises(PlatformError) as caught:
        write(platform, api, **body)
    return caught.value.errcode


@pytest.fixture
def platform() -> Platform:
    """With the person oa-1 who leads department ``dept``, which has a child."""
    platform = make()
    dept = write(platform, "department/create", name="研发", parent_id=1, source_identifier="D-1").subject
    write(platform, "department/create", name="前端", parent_id=dept)
    write(platform, "user/create", **USER | {"dept_id_list": f"{dept},1"})
    write(platform, "department/update", dept_id=dept, dept_manager_userid_list="oa-1")
    return platform


def dept_of(platform: Platform, name: str = "研发") -> int:
    return next(d.dept_id for d in platform.company.departments.values() if d.name == name)


@pytest.mark.parametrize(
    ("name", "body", "errcode"),
    [
        ("user/create", USER, 60102),
        ("user/create", USER | {"userid": "oa-2"}, 60104),
        ("user/create", USER | {"userid": "oa-2", "mobile": "123"}, 40104),
        ("user/create", {"name": "x", "mobile": "13800000002"}, 400002),
        ("user/create", USER | {"userid": "x" * 65}, 60111),
        ("user/create", USER | {"userid": "oa-2", "dept_id_list": [1]}, 40066),
        ("user/create", USER | {"userid": "oa-2", "dept_id_list": "1,7"}, 60003),
        ("user/create", USER | {"userid": "oa-2", "dept_id_list": ",".join("1" * 101)}, 40066),
        ("user/update", {"userid": "nobody", "title": "x"}, 60121),
        ("user/update", {"userid": "oa-1", "mobile": "13800000009"}, 40022),
        ("user/update", {"userid": "oa-1", "name": "x" * 81}, 60112),
        ("user/update", {"userid": "oa-1", "title": "x" * 201}, 60119),
        ("user/update", {"userid": "oa-1", "email": "no address"}, 60105),
        ("user/update", {"userid": "oa-1", "manager_userid": "nobody"}, 60128),
        ("user/update", {"userid": "oa-1", "extension": "no JSON"}, 60122),
        ("user/delete", {"userid": "nobody"}, 60121),
        ("department/create", {"name": "研发", "parent_id": 1}, 60021),
        ("department/create", {"name": "x", "parent_id": 7}, 60004),
        ("department/create", {"name": "a-b", "parent_id": 1}, 60009),
        ("department/create", {"name": "x" * 65, "parent_id": 1}, 60001),
        ("department/update", {"dept_id": 7, "name": "x"}, 60003),
        ("department/update", {"dept_id": 1, "dept_manager_userid_list": "nobody"}, 60121),
        ("department/delete", {"dept_id": 1}, 60007),
        ("department/delete", {"dept_id": 7}, 60003),
    ],
)
def test_what_is_refused_changes_nothing(
    platform: Platform, name: str, body: dict[str, Any], errcode: int
) -> None:
    mirror = Mirror(platform)
    assert refused(platform, name, **body) == errcode
    now = Mirror(platform)
    assert (now.users, now.departments) == (mirror.users, mirror.departments)


def test_what_is_taken_and_how_departments_hang_together(platform: Platform) -> None:
    dept, child = dept_of(platform), dept_of(platform, "前端")
    assert refused(platform, "department/update", dept_id=dept, parent_id=child) == 60010
    assert refused(platform, "department/update", dept_id=child, dept_manager_userid_list="oa-1") == 60068
    assert refused(platform, "department/delete", dept_id=dept) == 60005
    write(platform, "user/update", userid="oa-1", dept_id_list="1")
    assert platform.company.departments[dept].managers == []
    assert refused(platform, "department/delete", dept_id=dept) == 60006
    write(platform, "department/delete", dept_id=child)
    write(platform, "department/delete", dept_id=dept)
    write(platform, "user/update", userid="oa-1", email="a@example.com", telephone="1")
    other = USER | {"userid": "oa-2", "mobile": "+1-5550001"}
    assert refused(platform, "user/create", **other | {"email": "a@example.com"}) == 60106
    assert refused(platform, "user/create", **other | {"telephone": "1"}) == 40100
    write(platform, "user/create", **other)
    shown = platform.company.user_result(platform.company.users["oa-2"])
    assert (shown["state_code"], shown["mobile"]) == ("1", "5550001")


def test_own_fields_are_overwritten_unless_they_are_to_be_added(platform: Platform) -> None:
    def own_fields() -> Any:
        shown = platform.company.user_result(platform.company.users["oa-1"])
        return json.loads(shown["extension"])

    write(platform, "user/update", userid="oa-1", extension='{"爱好":"旅游"}')
    write(platform, "user/update", userid="oa-1", extension='{"车牌":"浙A"}', ext_attrs_update_mode=1)
    assert own_fields() == {"爱好": "旅游", "车牌": "浙A"}
    write(platform, "user/update", userid="oa-1", extension='{"车牌":"浙B"}')
    assert own_fields() == {"车牌": "浙B"}


def test_an_empty_text_is_not_given_and_a_manager_is_cleared_by_force(platform: Platform) -> None:
    boss = next(u for u in platform.company.users if u != "oa-1")
    write(platform, "user/update", userid="oa-1", manager_userid=boss, title="工程师")
    assert not write(platform, "user/update", userid="oa-1", manager_userid="", title="").changed
    assert write(platform, "user/update", userid="oa-1", force_update_fields="manager_userid").changed
    shown = platform.company.user_result(platform.company.users["oa-1"])
    assert "manager_userid" not in shown
    assert shown["title"] == "工程师"
    dept = dept_of(platform)
    write(platform, "department/update", dept_id=dept, force_update_fields="dept_manager_userid_list")
    assert platform.company.departments[dept].managers == []


def test_who_looks_after_each_event_of_a_write_ends_with_the_state() -> None:
    dice = Random(3)
    platform = make(seed=3)
    mirror = Mirror(platform)
    for number in range(400):
        people, departments = list(platform.company.users), list(platform.company.departments)
        userid, dept = dice.choice(people), dice.choice(departments)
        calls: list[tuple[str, dict[str, Any]]] = [
            (
                "user/create",
                USER | {"userid": f"oa-{number}", "mobile": f"139{number:08d}", "dept_id_list": str(dept)},
            ),
            ("user/update", {"userid": userid, "title": f"t{number}", "dept_id_list": str(dept)}),
            ("user/update", {"userid": userid, "manager_userid": dice.choice(people)}),
            ("user/delete", {"userid": userid}),
            ("department/create", {"name": f"d{number}", "parent_id": dept}),
            ("department/update", {"dept_id": dept, "name": f"d{number}", "order": number}),
            ("department/update", {"dept_id": dept, "parent_id": dice.choice(departments)}),
            ("department/update", {"dept_id": dept, "dept_manager_userid_list": userid}),
            ("department/delete", {"dept_id": dept}),
        ]
        name, body = dice.choice(calls)
        try:
            events = write(platform, name, **body).events if dice.random() < 0.7 else platform.act_at_random()
        except PlatformError:
            continue
        for event in events:
            mirror.receive(event)
    now = Mirror(platform)
    assert (mirror.users, mirror.departments) == (now.users, now.departments)
    assert mirror.approvals == now.approvals


def test_no_event_of_a_write_says_who_it_was_unless_it_is_set() -> None:
    platform = make(generation="old")
    events = write(platform, "user/create", **USER).events
    platform.contact_writes.opt_staff_id = "manager1"
    events += write(platform, "user/update", userid="oa-1", title="x").events
    assert [e.payload.get("OptStaffId") for e in events if e.event_type == "user_add_org"] == [None]
    assert events[-1].payload["OptStaffId"] == "manager1"
    (edited,) = platform.act("edit", {"userid": "oa-1", "title": "y"})
    assert edited.payload["OptStaffId"]
