"""The form of the platform's events, in each generation of DingTalk's."""

import json

import pytest

from dingbridge.events import Received, to_records
from dingbridge.events.catalogue import catalogue
from dingbridge.schema.drift import drift_in
from dingbridge.simulator.company.company import ROOT
from dingbridge.simulator.company.events import failed_item
from dingbridge.simulator.pushes.frames import event_frame
from tests.support.sizes import sized
from tests.unit.events.golden import load_captured
from tests.unit.simulator.living import CORP, ids, make


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


def test_mixed_has_both_generations() -> None:
    platform = make()
    events = [e for _ in range(200) for e in platform.act_at_random()]
    assert {"eventId" in e.payload for e in events} == {True, False}


def test_contact_shapes() -> None:
    old, new = make(generation="old"), make(generation="new")
    hires = [old.act("hire", {"follow_up": False})[0].payload for _ in range(30)]
    assert {"OptStaffId" in hired for hired in hires} == {True, False}, "by Smart HR, or by a person"
    assert hires[0]["UserId"][0] in old.company.users
    renamed = old.act("rename", {"name": "欧阳雨桐"})[0].payload
    assert renamed["diffInfo"][0]["curr"]["name"] == "欧阳雨桐"
    assert renamed["diffInfo"][0]["userid"] == renamed["UserId"][0]
    hired = new.act("hire", {"follow_up": False})[0].payload
    assert list(hired) == ["EventType", "EventTime", "CorpId", "BizId", "eventId", "timeStamp", "userId"]
    renamed = new.act("rename")[0].payload
    assert renamed["diffInfo"]["userid"] == renamed["userId"][0]
    assert renamed["diffInfo"]["prev"]["name"] != renamed["diffInfo"]["curr"]["name"]
    whole = [e.payload for e in new.act("rename_department", {"dept_id": ROOT, "name": "新示例公司"})]
    assert [p["EventType"] for p in whole] == ["org_change", "org_dept_modify"]


def test_the_order_of_fields_is_that_of_a_captured_year() -> None:
    platform = make(generation="old")
    assert {tuple(platform.act("create_department")[0].payload) for _ in range(30)} == {
        ("TimeStamp", "CorpId", "DeptId", "EventType"),  # 2019
        ("CorpId", "EventType", "DeptId", "TimeStamp"),  # 2022
    }


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


def test_old_label_shapes() -> None:
    platform = make(generation="old")
    (given,) = platform.act("give_role")
    assert given.payload.keys() == {
        "UserIdList", "CorpId", "EventType", "LabelIdList", "action", "TimeStamp",
    }  # fmt: skip
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
        "event_time": add.time_ms,
        "call_back_tag": "user_add_org",
        "user_add_org": {"corpid": CORP, "userid": ids(add, "UserId", "userId")},
    }
    assert list(failed_item(add)) == ["event_time", "call_back_tag", "user_add_org"]
    instance = platform.act("start_approval")[0]
    item = failed_item(instance)
    data = item["bpms_instance_change"]["bpmsCallBackData"]
    assert item["bpms_instance_change"]["corpid"] == CORP
    assert data["EventType"] == "bpms_instance_change"
    assert data["processInstanceId"] == instance.payload["processInstanceId"]
    assert list(item["bpms_instance_change"]) == ["corpid", "bpmsCallBackData"]
    assert list(data)[:3] == ["processInstanceId", "corpId", "EventType"]
    assert not {"eventId", "BizId", "EventTime"} & set(data)
    refused = platform.act("refuse", {"instance_first": True})[0]
    assert failed_item(refused)["event_time"] == refused.time_ms - 1000
    deleted = platform.act("delete_approval")[0].payload
    assert not {"finishTime", "result", "url", "businessId"} & deleted.keys()
    dept = platform.act("create_department")[0]
    assert failed_item(dept)["org_dept_create"] == {
        "callbackData": {"deptid": ids(dept, "DeptId", "deptId")},
        "corpid": CORP,
    }
