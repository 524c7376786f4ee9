"""The form of the platform's events, in each generation of DingTalk's."""

import json

import pytest

from dingbridge.events.catalogue import catalogue
from simulator.company.company import ROOT
from simulator.company.events import failed_item
from tests.unit.simulator.living import CORP, ids, make


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
