"""A company: its people and departments, also of a million."""

import json
from itertools import islice

import pytest

from dingbridge.events import Received, to_records
from dingbridge.events.catalogue import catalogue
from dingbridge.schema.drift import drift_in
from dingbridge.simulator.company import names
from dingbridge.simulator.company.company import ROOT, Company
from dingbridge.simulator.company.people import listed_result
from dingbridge.simulator.errors import ActionError
from dingbridge.simulator.pushes.frames import event_frame
from tests.support.sizes import sized
from tests.unit.events.golden import load_captured
from tests.unit.simulator.living import CORP, make


def everything(company: Company) -> list[object]:
    return [
        *(company.user_result(u) for u in company.users.values()),
        *(company.department_result(d) for d in company.departments.values()),
    ]


def small(seed: int = 1) -> Company:
    return Company(seed=seed, users=50, departments=12)


def test_the_same_seed_gives_the_same_company() -> None:
    assert everything(small(7)) == everything(small(7))
    assert everything(small(7)) != everything(small(8))


def test_people_have_what_the_api_shows_of_them() -> None:
    company = small()
    for user in company.users.values():
        result = company.user_result(user)
        assert result["userid"].isdigit()
        assert result["userid"].startswith("0")
        assert any(result["name"].startswith(surname) for surname, _ in names.SURNAMES)
        assert result["dept_id_list"]
        assert [d["dept_id"] for d in result["dept_order_list"]] == result["dept_id_list"]
        assert {d["dept_id"] for d in result["leader_in_dept"]} == set(result["dept_id_list"])
        assert result.get("manager_userid", next(iter(company.users))) in company.users
        assert isinstance(result["hired_date"], int)
        assert "" not in result.values()
        json.dumps(result)
    assert "parent_id" not in company.department_result(company.departments[ROOT])
    assert any(dept.managers for dept in company.departments.values())
    assert max(company.depth(dept_id) for dept_id in company.departments) >= 2


def test_removing_a_department_takes_those_below_and_moves_the_people_up() -> None:
    company = small()
    top = next(d for d in company.children(ROOT) if company.children(d.dept_id))
    below = [d.dept_id for d in company.subtree(top.dept_id)]
    inside = {u for d in below for u in company.members(d)}
    removed, moved = company.remove_department(top.dept_id)
    assert removed == below
    assert set(moved) == inside
    for userid in inside:
        assert company.users[userid].dept_ids
        assert not set(company.users[userid].dept_ids) & set(below)


def test_a_manager_who_leaves_has_a_successor() -> None:
    company = small()
    dept = next(d for d in company.departments.values() if d.managers and len(company.members(d.dept_id)) > 1)
    boss = dept.managers[0]
    reports = [u.userid for u in company.users.values() if u.manager == boss]
    departments, colleagues = company.leave(boss)
    assert dept.dept_id in departments
    assert dept.managers
    assert set(reports) <= set(colleagues)
    assert boss not in {u.manager for u in company.users.values()}


@pytest.mark.parametrize(
    "mistake",
    [
        lambda c: c.remove_department(ROOT),
        lambda c: c.remove_department(99),
        lambda c: c.leave("nobody"),
        lambda c: c.move("nobody"),
        lambda c: c.hire(dept_ids=[99]),
        lambda c: c.hire(dept_ids=[]),
        lambda c: c.create_department(parent=99),
        lambda c: c.create_department(parent=ROOT, name=c.children(ROOT)[0].name),
    ],
)
def test_what_cannot_be_done_is_refused_and_changes_nothing(mistake) -> None:
    company = small()
    before = json.dumps(everything(company))
    with pytest.raises(ActionError):
        mistake(company)
    assert json.dumps(everything(company)) == before


SIZES = [(50, 12), (301, 30), (301, 0), (40, 101)]


@pytest.mark.parametrize(("users", "departments"), SIZES)
def test_everybody_is_where_he_says_and_every_manager_is_a_colleague(
    users: int, departments: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also in companies that are so large that people are made when they are asked for."""
    monkeypatch.setattr("dingbridge.simulator.company.company.MOST_KEPT", (300, 100))
    company = Company(seed=3, users=users, departments=departments)
    people = list(company.users.values())
    assert len(people) == len(company.users) == users
    assert len(company.departments) == departments + 1
    assert [user.userid for user in people] == list(company.users) == list(company.users.ids)
    members = {dept_id: company.members(dept_id) for dept_id in company.departments}
    assert sum(map(len, members.values())) == sum(len(user.dept_ids) for user in people)
    for user in people:
        assert all(user.userid in members[dept_id] for dept_id in user.dept_ids)
        assert user.manager in company.users or not user.manager
        assert user.manager != user.userid
    for boss in {user.manager for user in people if user.manager}:
        assert company.users.reports(boss) == [user.userid for user in people if user.manager == boss]
    assert {dept.dept_id for dept in company.subtree(ROOT)} == set(company.departments)
    for dept in company.departments.values():
        assert dept.parent in company.departments or dept.dept_id == ROOT
        assert set(dept.managers) <= set(members[dept.dept_id])
    for field in ("userid", "unionid", "mobile", "email", "job_number"):
        assert len({getattr(user, field) for user in people}) == users
    for field in ("unionid", "mobile", "email"):
        one = people[len(people) // 2]
        assert company.users.holding(field, getattr(one, field)).userid == one.userid
        assert company.users.holding(field, getattr(one, field), but=one) is None


def test_any_number_are_there_at_once_and_only_the_changed_are_kept() -> None:
    count = sized(1_000_000, 1_000_000, quick=50_000)
    company = Company(seed=1, users=count, departments=count // 20)
    for dept_id in islice(company.departments, 2_000, 2_010):
        for userid in company.members(dept_id):
            shown = company.user_result(company.users.peek(userid))
            assert listed_result(shown, dept_id)["userid"] == userid
    assert len(company.users._changed) == 0
    before = company.users.peek(company.users.nth(count * 7 // 9))
    company.rename(before.userid, "改名")
    assert company.users.peek(before.userid).name == "改名"
    assert len(company.users._changed) == 1


# -- The form of the platform's events, in each generation of DingTalk's


@pytest.mark.parametrize("generation", ["old", "new"])
def test_every_payload_is_of_its_generation(generation: str) -> None:
    platform, drift, event_ids = make(generation=generation), set(), []
    for event in (e for _ in range(sized(1500, 1500, quick=400)) for e in platform.act_at_random()):
        spec = catalogue.get(event.event_type)
        assert spec is not None
        assert spec.form_of(event.payload) == generation
        assert event.payload["EventType"] == event.event_type
        if generation == "old":
            assert not {"EventTime", "eventId", "BizId"} & set(event.payload)
        else:
            event_ids.append(event.payload["eventId"])
        (record, *_) = to_records(Received(1, "j1", 1, "default", "http", event.plaintext()), drift_in)
        drift |= {(event.event_type, *one) for one in record.drift}
    assert drift <= {("label_conf_del", "missing", "scope")}, "as in DingTalk's own example"
    assert len(set(event_ids)) == len(event_ids)


def test_approvals_have_the_order_of_captures() -> None:
    """Names that are there stand as in the captures of 2019 to 2023."""
    captured = [
        list(golden.document["before"])
        for golden in load_captured()
        if golden.path.stem in ("zyx-2021-8", "15192122249-2023-1")
    ]
    platform = make(generation="old")
    for event in platform.act("start_approval") + platform.act("approve"):
        [order] = [names for names in captured if ("taskId" in names) == ("taskId" in event.payload)]
        there = [name for name in event.payload if name in order]
        assert there == [name for name in order if name in there]
        assert {"processInstanceId", "corpId", "EventType", "createTime"} <= set(there)
        assert event.payload["createTime"] % 1000 == event.payload.get("finishTime", 0) % 1000 == 0


def test_stream_has_the_names_and_the_order_of_captures() -> None:
    """Of each capture the simulated event has all names but a few that are optional, in its order."""
    platform = make(generation="mixed")
    platform.shape.stream = True
    events = platform.act("rename") + platform.act("start_approval", {"process_code": "PROC-EXPENSE"})
    pid = events[-1].payload["processInstanceId"]
    events += platform.act("approve", {"process_instance_id": pid, "instance_first": True, "remark": ""})
    frames = [json.loads(event_frame(event.plaintext(), "m1", "app")) for event in events]
    kinds = []
    for frame, event in zip(frames, events, strict=True):
        headers, data = frame["headers"], json.loads(frame["data"])
        kinds.append((headers["eventType"], data.get("type")))
        assert (headers["eventCorpId"], headers["eventId"]) == (CORP, data["eventId"])
        assert headers["eventBornTime"] == str(event.time_ms)
        assert data.get("timeStamp", str(event.time_ms - 3)) == str(event.time_ms - 3)
        assert not {"EventType", "EventTime", "CorpId", "corpId", "BizId"} & data.keys()
        path = f"/v1.0/event/{event.event_type}/processCode/{data.get('processCode')}/type/{data.get('type')}"
        assert data.get("resource", path) == path
    task, instance = "bpms_task_change", "bpms_instance_change"
    assert kinds == [
        ("user_modify_org", None), (instance, "start"), (task, "start"), (task, "start"), (task, "finish"),
        (instance, "finish"), (task, "finish"),
    ]  # fmt: skip
    last, whole = (json.loads(frame["data"]) for frame in (frames[-1], frames[-2]))
    assert last["finishTime"] == whole["finishTime"]
    captured = {
        (golden.document["headers"]["eventType"], golden.document["data"].get("type")): golden.document[
            "data"
        ]
        for golden in sorted(load_captured(), key=lambda golden: golden.document["year"])
        if golden.via == "stream" and golden.document["year"] in (2024, 2025)
    }
    for kind, frame in zip(kinds, frames, strict=True):
        data = json.loads(frame["data"])
        assert data.keys() == captured[kind].keys(), kind
        if kind != (instance, "start"):  # whose captured order is another than that of its end
            assert list(data) == list(captured[kind])
