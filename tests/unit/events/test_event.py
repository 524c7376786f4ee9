"""Under which company a callback is published: the app's own, whatever the push names."""

import base64
import json
from datetime import UTC, datetime
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dingbridge.events import Event, NotAnEvent, Record, decode, to_dingtalk, to_records
from dingbridge.events.envelope import NO_CORP_ID, OTHER_COMPANY, OtherCompany, Received
from dingbridge.events.event import Sent
from dingbridge.events.strict_json import MAX_DEPTH
from tests.unit.events.strategies import encode, received, values

CALLBACK = {"EventType": "user_add_org", "TimeStamp": "1731000000123", "UserId": ["u1"], "CorpId": "c1"}


REQUIRED = [
    *("specversion", "id", "source", "type", "time", "partitionkey", "sequence", "journal"),
    *("receivedtime", "via", "form", "data"),
]


def value_of(payload: Any) -> bytes:
    return to_records(received(encode(payload)))[0].value


def without(name: str) -> bytes:
    envelope = json.loads(value_of(CALLBACK))
    del envelope[name]
    return encode(envelope)


def changed(**changes: Any) -> bytes:
    return encode(json.loads(value_of(CALLBACK)) | changes)


def test_an_event_says_what_its_record_says() -> None:
    event = decode(value_of(CALLBACK))
    assert event.id.endswith("/u1")
    assert (event.source, event.corp_id, event.app) == ("/dingtalk/c1/default", "c1", "default")
    assert (event.type, event.event_type, event.subject) == (
        "com.dingtalk.user_add_org",
        "user_add_org",
        "u1",
    )
    assert event.time == datetime(2024, 11, 7, 17, 20, 0, 123000, UTC)
    assert event.received_time == datetime(2024, 11, 7, 17, 20, 0, 456000, UTC)
    assert (event.time.tzinfo, event.received_time.tzinfo) == (UTC, UTC)
    assert event.data == {"timeStamp": 1731000000123, "userId": ["u1"], "corpId": "c1"}
    assert (event.partitionkey, event.sequence, event.journal) == ("c1:u1", "0" * 19 + "7", "0f3c")
    assert (event.via, event.form, event.data_bytes) == ("http", "old", None)
    assert event.envelope == json.loads(value_of(CALLBACK))
    assert Event.decode(value_of(CALLBACK)) == event


def test_what_a_later_version_adds_to_a_record_is_passed_on_and_changes_nothing() -> None:
    later = decode(changed(later="attribute"))
    assert later.envelope.pop("later") == "attribute"
    assert later == decode(value_of(CALLBACK))


def test_an_unclassified_event_holds_its_bytes() -> None:
    event = decode(to_records(received(b"\xff\x00"))[0].value)
    assert (event.event_type, event.data_bytes, event.data, event.subject) == (
        "unclassified",
        b"\xff\x00",
        {},
        None,
    )
    with pytest.raises(NotAnEvent):
        to_dingtalk(event)


def test_the_deepest_callback_that_is_passed_on_is_read_again() -> None:
    deepest = b'{"EventType":"brand_new_event","a":' + b"[" * (MAX_DEPTH - 1) + b"]" * (MAX_DEPTH - 1) + b"}"
    (record,) = to_records(received(deepest))
    assert record.fault is None
    assert encode(to_dingtalk(decode(record.value))) == deepest


def test_another_offset_is_the_same_moment() -> None:
    moment = decode(changed(time="2024-11-08T01:20:00.123+08:00")).time
    assert (moment, moment.tzinfo) == (decode(value_of(CALLBACK)).time, UTC)


@pytest.mark.parametrize("name", REQUIRED)
def test_what_is_missing_is_named(name: str) -> None:
    with pytest.raises(NotAnEvent, match=name):
        decode(without(name))


@pytest.mark.parametrize(
    "value",
    [
        b"",
        b"\xff",
        b"[]",
        b"null",
        b'{"a":1,"a":2}',
        changed(specversion="0.3"),
        changed(id=5),
        changed(source="/other/c1/default"),
        changed(source="c1"),
        changed(source="/dingtalk/c1/default/x"),
        changed(type="org.example.x"),
        changed(type="com.dingtalk."),
        changed(time="2024-11-08 10:00:00"),
        changed(time="soon"),
        changed(time=5),
        changed(data=[]),
        changed(type="com.dingtalk.unclassified"),
        changed(type="com.dingtalk.unclassified", data_base64="*"),
    ],
)
def test_what_is_no_event_is_refused(value: bytes) -> None:
    with pytest.raises(NotAnEvent):
        decode(value)


def test_a_refusal_says_nothing_of_the_content() -> None:
    with pytest.raises(NotAnEvent) as caught:
        decode(changed(time="13800000000"))
    assert "13800000000" not in str(caught.value)
    assert caught.value.__suppress_context__


def test_another_senders_event_is_one_where_such_may_come() -> None:
    desired = {
        "specversion": "1.0",
        "id": "w1",
        "source": "https://oa.example.com",
        "type": "com.dingbridge.user.desired",
        "data": {"corpId": "c1", "app": "hr", "name": "张三"},
    }
    value = json.dumps(desired).encode()
    with pytest.raises(NotAnEvent):
        decode(value)
    event = decode(value, Sent(b"c1:user:7", 1731000000123))
    assert (event.source, event.id, event.type, event.event_type) == (
        desired["source"],
        "w1",
        desired["type"],
        desired["type"],
    )
    assert (event.corp_id, event.app, event.partitionkey, event.subject) == ("c1", "hr", "c1:user:7", None)
    assert event.time == event.received_time == datetime(2024, 11, 7, 17, 20, 0, 123000, UTC)
    assert (event.data, event.envelope) == (desired["data"], desired)
    assert decode(value_of(CALLBACK), Sent(b"x", 1)) == decode(value_of(CALLBACK)), "DingTalk's are as ever"


def test_all_that_is_wrong_with_another_senders_event_is_told() -> None:
    with pytest.raises(NotAnEvent) as caught:
        decode(b'{"id":"","type":"x","subject":5,"time":"13800000000","data":"13800000000"}', Sent())
    assert str(caught.value).endswith(
        "its specversion is not 1.0; it has no id; it has no source; its subject is no text; "
        "its data is no object; its time is no RFC 3339 time with a zone"
    )


NAMES = st.sampled_from(sorted(json.loads(value_of(CALLBACK))))


DAMAGED = st.dictionaries(NAMES, values, max_size=3).map(lambda changes: changed(**changes))


@given(st.binary() | values.map(encode) | DAMAGED, st.sampled_from([None, Sent()]))
def test_decode_is_an_event_or_a_refusal(value: bytes, sent: Sent | None) -> None:
    try:
        event = decode(value, sent)
    except NotAnEvent:
        return
    assert isinstance(event, Event)
    if event.type.startswith("com.dingtalk."):
        to_dingtalk(event)


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
