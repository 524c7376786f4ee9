"""Under which company a callback is published: the app's own, whatever the push names."""

import base64
from typing import Any

import orjson
import pytest

from dingbridge.events import Event, Record, decode, to_records
from dingbridge.events.envelope import NO_CORP_ID, OTHER_COMPANY, OtherCompany, Received

OWN = "dingcorp1"
ENDED = {"EventType": "bpms_instance_change", "type": "finish", "processInstanceId": "pi-1", "createTime": 1}
CHECKED = {"EventType": "attendance_check_record", "eventId": "e1"}
TWO = [{"userId": "u1", "corpId": OWN}, {"userId": "u2", "corpId": "ding2"}]


def records(payload: dict[str, Any], corp_id: str | None = OWN, via: str = "http") -> list[Record]:
    return to_records(Received(7, "j", 1_731_000_000_000, "hr", via, orjson.dumps(payload), corp_id=corp_id))


def only(payload: dict[str, Any], corp_id: str | None = OWN) -> Event:
    (record,) = records(payload, corp_id)
    return decode(record.value)


@pytest.mark.parametrize("named", [{}, {"corpId": ""}, {"corpId": None}, {"corpId": OWN}])
def test_the_company_of_the_app_is_filled_in_where_the_push_names_none(named: dict[str, Any]) -> None:
    (record,) = records(ENDED | named)
    event = decode(record.value)
    assert (event.source, event.partitionkey) == (f"/dingtalk/{OWN}/hr", f"{OWN}:pi-1")
    assert record.key == f"{OWN}:pi-1".encode()
    assert dict(record.headers)["dingbridge-corp"] == OWN.encode()
    assert event.data.get("corpId") == named.get("corpId"), "the payload stays as DingTalk sent it"


def test_items_of_a_list_get_it_too() -> None:
    found = records(CHECKED | {"dataList": [{"userId": "u1"}, {"userId": "u2", "corpId": OWN}]})
    assert {record.key for record in found} == {f"{OWN}:u1".encode(), f"{OWN}:u2".encode()}


@pytest.mark.parametrize(
    ("payload", "named"),
    [
        (ENDED | {"corpId": "dingother"}, "dingother"),
        (CHECKED | {"dataList": TWO}, "ding2"),
        ({"EventType": "brand_new", "CorpId": "ding3"}, "ding3"),
    ],
)  # fmt: skip
def test_another_company_makes_the_whole_callback_unclassified(payload: dict[str, Any], named: str) -> None:
    (record,) = records(payload)
    assert (record.event_type, record.fault) == (None, OTHER_COMPANY)
    assert record.other_company == OtherCompany("hr", named, OWN)
    envelope = orjson.loads(record.value)
    assert base64.b64decode(envelope["data_base64"]) == orjson.dumps(payload)
    assert (envelope["source"], record.key) == (f"/dingtalk/{OWN}/hr", OWN.encode()), "never of the other one"


def test_without_a_company_of_the_app_the_pushs_own_counts() -> None:
    """As of a suite."""
    assert only(ENDED | {"corpId": "dingother"}, None).corp_id == "dingother"
    assert only(ENDED, None).corp_id == NO_CORP_ID
