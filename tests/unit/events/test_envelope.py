import dataclasses
import json
import re
from base64 import b64decode, b64encode
from collections import Counter
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st
from structlog.testing import capture_logs

from dingbridge.events import Record, decode, extract_facts, known, legal, split, to_dingtalk, to_records
from dingbridge.events import envelope as records
from dingbridge.events.facts import stored_facts
from dingbridge.events.strict_json import dumps, loads
from dingbridge.schema.drift import drift_in
from tests.unit.events.golden import load_all
from tests.unit.events.strategies import encode, payloads, received


def records_of(payload: Any, **changes: Any) -> list[Record]:
    return to_records(received(encode(payload), **changes))


def envelope_of(payload: Any, **changes: Any) -> dict[str, Any]:
    (record,) = records_of(payload, **changes)
    value: dict[str, Any] = json.loads(record.value)
    return value


@st.composite
def damaged(draw: st.DrawFn) -> bytes:
    """A callback with a few of its bytes cut out, doubled or replaced."""
    body = encode(draw(payloads()))
    for _ in range(draw(st.integers(1, 3))):
        at = draw(st.integers(0, len(body)))
        end = draw(st.integers(at, min(len(body), at + 8)))
        body = (
            body[:at]
            + draw(st.sampled_from([b"", body[at:end] * 2, b"NaN", b'"', b"\\ud800", b"\xff"]))
            + body[end:]
        )
    return body


@given(st.one_of(st.binary(), st.text().map(str.encode), payloads().map(encode), damaged()))
def test_total_and_every_record_is_an_event(body: bytes) -> None:
    found = to_records(received(body))
    assert found
    for record in found:
        assert orjson.loads(record.value) is not None
        event = decode(record.value)
        assert record.headers == (
            ("content-type", b"application/cloudevents+json"),
            ("dingbridge-type", event.event_type.encode()),
            ("dingbridge-corp", event.corp_id.encode()),
            ("dingbridge-id", event.id.encode()),
        )
        assert record.key == event.partitionkey.encode()
        assert record.id == event.id
        if record.event_type is None:
            assert (len(found), event.data_bytes, event.event_type) == (1, body, "unclassified")
            assert record.fault is not None
            assert not record.fault.startswith("fault:")
            assert not record.known
        else:
            assert record.event_type == event.event_type
            assert legal(record.event_type)
            assert record.known is known(record.event_type)
            assert record.fault is None


CALLBACKS = st.one_of(
    st.binary(), payloads().map(encode), payloads().map(json.dumps).map(str.encode), damaged()
)
VIAS = st.sampled_from(["http", "stream", "failed-list"])
CORP_IDS = st.sampled_from([None, "dingcorp", '5%"审'])


@given(CALLBACKS, VIAS, CORP_IDS)
def test_facts_that_are_known_already_change_nothing(body: bytes, via: str, corp_id: str | None) -> None:
    row = received(body, via=via, corp_id=corp_id)
    facts = stored_facts(extract_facts(body), body, row.received_ms)
    assert to_records(row._replace(facts=facts), drift_in) == to_records(row, drift_in)


def test_facts_that_are_known_already_are_not_looked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    body = encode({"EventType": "user_add_org", "CorpId": "c1", "TimeStamp": "5", "UserId": ["u1"]})
    row = received(body)
    with_facts = row._replace(facts=stored_facts(extract_facts(body), body, row.received_ms))
    expected = to_records(row)
    for name in ("loads", "facts_of", "extract_facts", "stored_facts"):
        monkeypatch.setattr(records, name, None)
    assert to_records(with_facts) == expected


@given(CALLBACKS, VIAS, CORP_IDS)
def test_a_value_is_what_the_whole_document_is_written_as(body: bytes, via: str, corp_id: str | None) -> None:
    row = received(body, via=via, corp_id=corp_id, app="hr", journal="j%1")
    facts = extract_facts(body)
    at = records.rfc3339(row.received_ms)
    for record in to_records(row):
        event = decode(record.value)
        corp = event.corp_id
        document = {
            "specversion": "1.0",
            "id": record.id,
            "source": records.source(corp, "hr"),
            "type": f"com.dingtalk.{event.event_type}",
            "subject": event.subject,
            "time": at if facts.happened_ms is None else records.rfc3339(facts.happened_ms),
            "datacontenttype": "application/json",
            "dataschema": event.envelope.get("dataschema"),
            "partitionkey": corp if event.subject is None else f"{corp}:{event.subject}",
            "sequence": "00000000000000000007",
            "journal": "j%1",
            "receivedtime": at,
            "via": via,
            "form": event.form,
            "rebuilt": "true" if via == "failed-list" else None,
            "verbatim": event.envelope.get("verbatim"),
            "fault": record.fault,
            "data": event.envelope.get("data"),
            "data_base64": b64encode(body).decode() if record.fault else None,
        }
        if record.fault is not None:
            document["datacontenttype"] = "application/octet-stream"
        there = {name: value for name, value in document.items() if value is not None}
        assert record.value == dumps(there)
        assert record.key == there["partitionkey"].encode()


def leaves(value: Any) -> Counter[str]:
    """Every leaf, as text: what an id or a time says does not depend on its type."""
    if isinstance(value, dict):
        return sum((leaves(item) for item in value.values()), Counter())
    if isinstance(value, list):
        return sum((leaves(item) for item in value), Counter())
    return Counter([str(value)])


@given(payloads())
def test_the_union_of_a_callbacks_records_holds_each_leaf(payload: dict[str, Any]) -> None:
    body = encode(payload)
    held: Counter[str] = Counter()
    for record in to_records(received(body)):
        held |= leaves(to_dingtalk(loads(record.value)))
    whole = leaves(loads(body))
    assert set(whole) <= set(held)


@given(payloads())
def test_no_record_holds_what_the_callback_did_not(payload: dict[str, Any]) -> None:
    body = encode(payload)
    whole = leaves(loads(body))
    for record in to_records(received(body)):
        assert leaves(to_dingtalk(loads(record.value))) <= whole


@given(payloads())
def test_records_of_one_callback_have_ids_of_their_own(payload: dict[str, Any]) -> None:
    found = [decode(r.value) for r in records_of(payload)]
    assert len({(event.source, event.id) for event in found}) == len(found)


@given(payloads())
def test_the_same_callback_has_the_same_ids_whenever_it_comes(payload: dict[str, Any]) -> None:
    """What has an identity is known by it; only what has none is told apart by when it came."""
    first = [(e.source, e.id) for e in map(decode, (r.value for r in records_of(payload)))]
    again = records_of(payload, seq=99, received_ms=1731000099999, journal="other", via="failed-list")
    second = [(e.source, e.id) for e in map(decode, (r.value for r in again))]
    assert (first == second) is ("-1731000000456" not in first[0][1])


def test_id_is_the_event_id_else_the_hash_else_the_hash_and_the_time_of_receipt() -> None:
    assert envelope_of({"EventType": "org_change", "eventId": "e1"})["id"] == "org_change:e1"
    assert envelope_of({"EventType": "org_change", "eventId": 51})["id"] == "org_change:51"
    assert re.fullmatch(r"[0-9a-f]{64}", envelope_of({"EventType": "org_change", "TimeStamp": 5})["id"])
    assert re.fullmatch(r"[0-9a-f]{64}-1731000000456", envelope_of({"EventType": "org_change"})["id"])


@pytest.mark.parametrize(
    ("payload", "id_"),
    [
        ({"EventType": "user_add_org", "userId": ["u1"]}, "user_add_org:e1/u1"),
        ({"EventType": "user_add_org", "userId": "u1"}, "user_add_org:e1/u1"),
        ({"EventType": "user_add_org", "userId": []}, "user_add_org:e1"),
        ({"EventType": "chat_disband", "chatId": "c1"}, "chat_disband:e1"),
    ],
)
def test_a_list_valued_subject_is_part_of_the_id_even_of_one(payload: dict[str, Any], id_: str) -> None:
    assert envelope_of({**payload, "eventId": "e1"})["id"] == id_


def test_dataschema_names_the_version_of_the_type(monkeypatch: pytest.MonkeyPatch) -> None:
    spec = records.catalogue.get("org_change")
    assert spec is not None
    monkeypatch.setitem(records.catalogue._specs, "org_change", dataclasses.replace(spec, version=2))
    payload = {"TimeStamp": "1731000000123", "CorpId": "c"}
    assert envelope_of({"EventType": "org_change"} | payload)["dataschema"] == "urn:dingbridge:org_change:2"
    assert envelope_of({"EventType": "org_remove"} | payload)["dataschema"] == "urn:dingbridge:org_remove:1"
    assert envelope_of({"EventType": "brand_new"} | payload)["dataschema"] == "urn:dingbridge:brand_new:1"


@pytest.mark.parametrize(
    ("payload", "key"),
    [
        ({"EventType": "user_add_org", "CorpId": "c1", "UserId": ["u1"]}, "c1:u1"),
        ({"EventType": "user_add_org", "CorpId": "c1", "USERID": ["u1"]}, "c1:u1"),
        ({"EventType": "user_add_org", "UserId": ["u1"]}, "-:u1"),
        ({"EventType": "org_dept_create", "CorpId": "c1", "DeptId": [101]}, "c1:101"),
        ({"EventType": "bpms_instance_change", "corpId": "c1", "processInstanceId": "p1"}, "c1:p1"),
        ({"EventType": "bpms_task_change", "corpId": "c1", "processInstanceId": "p1", "taskId": 5}, "c1:p1"),
        ({"EventType": "chat_quit", "CorpId": "c1", "ChatId": "ch1", "OpenConversationId": "o1"}, "c1:ch1"),
        ({"EventType": "chat_quit", "CorpId": "c1", "ChatId": None, "OpenConversationId": "o1"}, "c1:o1"),
        ({"EventType": "org_change", "CorpId": "c1"}, "c1"),
        ({"EventType": "brand_new_event", "CorpId": "c1", "userId": "u1"}, "c1"),
        ({"EventType": "suite_ticket"}, "-"),
        ({"EventType": "tmp_auth_code", "AuthCorpId": "c2"}, "c2"),
        ({"EventType": "user/add", "CorpId": "c1"}, "c1"),
    ],
)
def test_the_key_is_company_and_subject(payload: dict[str, Any], key: str) -> None:
    (record,) = records_of(payload)
    assert record.key == key.encode()
    envelope = json.loads(record.value)
    assert envelope["partitionkey"] == key
    assert envelope["source"] == f"/dingtalk/{key.split(':')[0]}/default"
    assert envelope.get("subject") == (key.split(":")[1] if ":" in key else None)
    assert dict(record.headers)["dingbridge-corp"] == key.split(":")[0].encode()


def test_what_would_break_the_source_apart_is_escaped_there() -> None:
    (record,) = records_of({"EventType": "org_change", "CorpId": "a/b 审"})
    assert json.loads(record.value)["source"] == "/dingtalk/a%2Fb%20%E5%AE%A1/default"
    assert decode(record.value).corp_id == "a/b 审"
    assert record.key == "a/b 审".encode()


def test_attribute_names_are_what_cloudevents_allows() -> None:
    """CloudEvents 1.0, "Naming conventions": lower-case ASCII letters and digits, 20 at most."""
    for golden in load_all():
        for after in golden.document["after"]:
            names = after["value"].keys() - {"data", "data_base64"}
            assert all(re.fullmatch(r"[a-z0-9]{1,20}", name) for name in names), golden.path.name
            assert all(isinstance(after["value"][name], str) for name in names), golden.path.name


@pytest.mark.parametrize(
    ("epoch_ms", "text"),
    [
        (0, "1970-01-01T00:00:00.000Z"),
        (1731000000999, "2024-11-07T17:20:00.999Z"),
        (253402214399999, "9999-12-30T23:59:59.999Z"),
        (10**30, "9999-12-31T00:00:00.000Z"),
        (-5, "1970-01-01T00:00:00.000Z"),
    ],
)
def test_times_are_utc_with_milliseconds(epoch_ms: int, text: str) -> None:
    assert records.rfc3339(epoch_ms) == text


def test_equal_entries_stay_together_and_what_names_nothing_comes_apart() -> None:
    found = [
        (r.key.decode(), json.loads(r.value)["id"], json.loads(r.value)["data"]["userId"])
        for r in records_of(
            {"EventType": "user_add_org", "eventId": "e", "userId": ["u1", None, 5, "u1", "5", {}]}
        )
    ]
    assert found == [
        ("-:u1", "user_add_org:e/u1", ["u1", "u1"]),
        ("-", "user_add_org:e", [None, {}]),
        ("-:5", "user_add_org:e/5", ["5", "5"]),
    ]


def test_attendance_items_of_several_companies_and_without_ids() -> None:
    items = [
        {"corpId": "c1", "bizId": "b1", "userId": "u1"},
        {"corpId": "c2", "bizId": "b1", "userId": "u1"},
        {"corpId": "c1", "userId": "u1"},
        {"corpId": "c1", "bizId": "b1", "userId": "u2"},
        "x",
    ]
    found = [
        (
            r.key.decode(),
            json.loads(r.value)["source"],
            r.id.partition("/")[2],
            len(json.loads(r.value)["data"]["dataList"]),
        )
        for r in records_of({"EventType": "attendance_check_record", "DataList": items})
    ]
    assert found == [
        ("c1", "/dingtalk/c1/default", "b1", 2),  # one id, two users: about neither
        ("c2:u1", "/dingtalk/c2/default", "b1", 1),
        ("c1:u1", "/dingtalk/c1/default", "u1", 1),
        ("c1", "/dingtalk/c1/default", "", 1),
    ]


def test_an_item_that_names_several_users_is_cut_too() -> None:
    items = [
        {"corpId": "c1", "userIds": ["u1", "u2", 5, "u1", None], "type": "modify"},
        {"corpId": "c1", "userIds": ["u2"], "type": "delete"},
        {"corpId": "c2", "userIds": [], "type": "delete"},
    ]
    found = [
        (r.key.decode(), r.id.partition("/")[2], json.loads(r.value)["data"]["dataList"])
        for r in records_of({"EventType": "attendance_schedule_change", "DataList": items})
    ]
    assert found == [
        ("c1:u1", "u1", [{"corpId": "c1", "userIds": ["u1", "u1"], "type": "modify"}]),
        (
            "c1:u2",
            "u2",
            [
                {"corpId": "c1", "userIds": ["u2"], "type": "modify"},
                {"corpId": "c1", "userIds": ["u2"], "type": "delete"},
            ],
        ),
        ("c1:5", "5", [{"corpId": "c1", "userIds": [5], "type": "modify"}]),
        ("c1", "", [{"corpId": "c1", "userIds": [None], "type": "modify"}]),
        ("c2", "", [{"corpId": "c2", "userIds": [], "type": "delete"}]),
    ]


def test_an_item_without_a_company_is_of_the_callbacks_company() -> None:
    items = [{"bizId": "b1"}, {"bizId": "b1", "corpId": "c1"}, {"bizId": "b1", "corpId": "c2"}]
    payload = {"EventType": "attendance_check_record", "CorpId": "c1", "DataList": items}
    assert [(r.key, r.id.partition("/")[2]) for r in records_of(payload)] == [(b"c1", "b1"), (b"c2", "b1")]


def test_a_callback_whose_records_would_fill_the_memory_is_kept_whole(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(split, "MAX_FAN_OUT_BYTES", 20_000)
    few = {"EventType": "user_add_org", "userId": ["u1", "u2"], "remark": "x" * 5000}
    assert len(records_of(few)) == 2
    many = {"EventType": "user_add_org", "userId": [f"u{n}" for n in range(4)], "remark": "x" * 5000}
    (record,) = records_of(many)
    assert (record.event_type, record.fault) == (None, "too-many-entities")
    item = {"corpId": "c1", "type": "x" * 5000}
    within = {"EventType": "attendance_schedule_change", "DataList": [item | {"userIds": ["u1", "u2"]}]}
    assert len(records_of(within)) == 2
    within["DataList"] = [item | {"userIds": [f"u{n}" for n in range(6)]}]
    assert [r.fault for r in records_of(within)] == ["too-many-entities"]
    long = {"EventType": "user_add_org", "userId": [f"{n}" + "x" * 3000 for n in range(4)]}
    assert len(records_of(long)) == 4  # a long list alone is not copied


@pytest.mark.parametrize("place", ["normalise", "split", "facts_of", "_records"])
def test_a_fault_of_ours_costs_no_callback_and_shows(monkeypatch: pytest.MonkeyPatch, place: str) -> None:
    def broken(*_: Any) -> Any:
        raise LookupError("13800000000")

    monkeypatch.setattr(records, place, broken)
    body = encode({"EventType": "user_add_org", "CorpId": "c1", "eventId": "e1", "userId": ["u1"]})
    with capture_logs() as logs:
        (record,) = to_records(received(body))
    assert (record.event_type, record.fault, record.id) == (None, "fault:LookupError", "user_add_org:e1")
    assert b64decode(json.loads(record.value)["data_base64"]) == body
    (entry,) = logs
    assert (entry["event"], entry["exception"]) == ("events.fault", "LookupError")
    assert entry["at"].startswith("test_envelope.py:")
    assert "13800000000" not in repr(logs)


def test_the_ordinary_logs_nothing() -> None:
    with capture_logs() as logs:
        records_of({"EventType": "user_add_org"})
        to_records(received(b"\xff"))
    assert logs == []


@pytest.mark.parametrize("event_type", ["SYNC_HTTP_PUSH_HIGH", "SYNC_HTTP_PUSH_MEDIUM"])
def test_what_synchttp_pushes_flows_as_it_is_under_its_own_name(event_type: str) -> None:
    """Of third-party apps: many changes in one push, each as text, none of them taken apart."""
    change = {"biz_type": 13, "biz_id": "u1", "corp_id": "c1", "biz_data": '{"syncAction":"user_add_org"}'}
    [record] = records_of({"EventType": event_type, "bizData": [change, change | {"biz_id": "u2"}]})
    event = decode(record.value)
    assert (record.event_type, record.known, record.fault, record.resync) == (event_type, False, None, None)
    assert event.data["bizData"][0] == change
    assert (event.corp_id, event.subject) == ("-", None)
