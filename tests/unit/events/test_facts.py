from hashlib import sha256
from typing import Any

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from dingbridge.events import CallbackFacts, content_hash, decode, dedupe_key, extract_facts, to_records
from dingbridge.events.facts import NO_FACTS
from tests.unit.events.strategies import encode, payloads, received, texts


def facts(**payload: Any) -> CallbackFacts:
    return extract_facts(encode({"EventType": "user_add_org", **payload}))


def key_of(body: bytes) -> bytes:
    return dedupe_key(extract_facts(body), "default", body)


def test_the_facts_of_an_ordinary_callback() -> None:
    assert facts(CorpId="c1", eventId="e1", EventTime=1731000000123) == CallbackFacts(
        "user_add_org", "c1", "e1", 1731000000123, True, 1731000000123, plain=True
    )


@pytest.mark.parametrize("name", ["CorpId", "corpId", "corpid", "CORPID"])
def test_names_are_found_whatever_their_case(name: str) -> None:
    assert facts(**{name: "c1"}).corp_id == "c1"


def test_auth_corp_id_counts_as_the_company_unless_there_is_one() -> None:
    assert facts(AuthCorpId="c2").corp_id == "c2"
    assert facts(AuthCorpId="c2", corpid="c1").corp_id == "c1"


@pytest.mark.parametrize("value", ["", None, 5, ["c1"], {}])
def test_a_company_is_a_text(value: Any) -> None:
    assert facts(CorpId=value).corp_id is None
    assert facts(CorpId=value, corpId="c1").corp_id == "c1"


@pytest.mark.parametrize("value", ["e1", 5, -5, 10**30, "0", " "])
def test_usable_event_ids(value: Any) -> None:
    found = facts(eventId=value)
    assert (found.event_id, type(found.event_id)) == (value, type(value))
    assert found.has_identity


@pytest.mark.parametrize("value", ["", 0, None, True, 1.5, ["e1"], {}])
def test_event_ids_that_are_none(value: Any) -> None:
    assert facts(eventId=value).event_id is None
    assert not facts(eventId=value).has_identity


@pytest.mark.parametrize(
    ("payload", "time_ms"),
    [
        ({"EventTime": 5, "timeStamp": 6, "finishTime": 7, "createTime": 8}, 5),
        ({"timeStamp": "6", "finishTime": 7, "createTime": 8}, 6),
        ({"finishTime": 7, "createTime": 8}, 7),
        ({"finshTime": 7, "createTime": 8}, 7),
        ({"createTime": 8}, 8),
        ({"TimeStamp": "1731000000123"}, 1731000000123),
        ({"EventTime": "2024-11-08 10:00:00", "createTime": 8}, 8),
        ({"EventTime": 0}, None),
        ({"EventTime": -5}, None),
        ({"EventTime": True}, None),
        ({"EventTime": 1.5}, None),
        ({"EventTime": 10**17}, None),
        ({"EventTime": "9" * 5000}, None),
        ({"EventTime": "\u0661\u0662"}, None),
    ],
)
def test_the_events_own_time(payload: dict[str, Any], time_ms: int | None) -> None:
    found = facts(**payload)
    assert found.time_ms == time_ms
    assert found.happened_ms == time_ms
    assert found.has_identity is (time_ms is not None)


@pytest.mark.parametrize(
    ("payload", "happened_ms"),
    [
        ({"type": "start", "createTime": 8}, 8),
        ({"type": "comment", "createTime": 8}, 8),
        ({"createTime": 8}, 8),
        ({"type": "delete", "createTime": 8}, None),
        ({"type": "cancel", "createTime": 8, "finishTime": ""}, None),
        ({"type": "finish", "createTime": 8, "finishTime": 9}, 9),
        ({"type": "delete", "createTime": 8, "EventTime": 9}, 9),
        ({"type": ["delete"], "createTime": 8}, None),
    ],
)
@pytest.mark.parametrize("event_type", ["bpms_instance_change", "bpms_task_change"])
def test_an_approval_did_not_end_when_it_was_begun(
    event_type: str, payload: dict[str, Any], happened_ms: int | None
) -> None:
    found = extract_facts(encode({"EventType": event_type, **payload}))
    assert found.happened_ms == happened_ms
    assert (found.time_ms, found.has_identity) == (happened_ms or 8, True)  # enough to know a re-push by


def test_in_attendance_the_items_say_company_and_identity() -> None:
    items = [{"userId": "u1"}, {"corpId": "c1", "bizId": "b1"}]
    found = extract_facts(encode({"EventType": "attendance_check_record", "DataList": items}))
    assert (found.corp_id, found.has_identity) == ("c1", True)
    without = extract_facts(encode({"EventType": "attendance_check_record", "DataList": [{"corpId": "c1"}]}))
    assert (without.corp_id, without.has_identity) == ("c1", False)
    timed = {
        "EventType": "attendance_check_record",
        "CorpId": "c0",
        "EventTime": 5,
        "dataList": [{"corpId": "c1"}],
    }
    assert (extract_facts(encode(timed)).corp_id, extract_facts(encode(timed)).has_identity) == ("c0", True)
    other = extract_facts(encode({"EventType": "brand_new_event", "DataList": items}))
    assert (other.corp_id, other.has_identity) == (None, False)


@pytest.mark.parametrize(
    "raw", [b"", b"[]", b'"x"', b"{", b'{"EventType":"a","EventType":"b","eventId":"e"}', b"[" * 5000]
)
def test_the_unreadable_has_no_facts(raw: bytes) -> None:
    assert extract_facts(raw) == NO_FACTS


@given(st.one_of(st.binary(), payloads().map(encode)))
def test_total(raw: bytes) -> None:
    assert len(dedupe_key(extract_facts(raw), "default", raw)) == 24


def test_the_form_of_the_dedupe_key_is_fixed() -> None:
    """Keys are stored: another form would not find a re-push after an upgrade."""
    body = b'{"EventType":"user_add_org","CorpId":"c1","eventId":"e1","EventTime":1731000000123}'
    digest = sha256(b"id\0default\x002:c1\0user_add_org:e1").digest()[:16]
    assert key_of(body) == (1731000000123).to_bytes(8, "big") + digest
    content = sha256(b"content\0default\0" + sha256(b"{}").digest()).digest()[:16]
    assert key_of(b"{}") == bytes(8) + content


def test_the_hash_is_over_the_bytes_as_they_came() -> None:
    assert content_hash(b"{}") == sha256(b"{}").digest()
    assert content_hash(b"{ }") != content_hash(b"{}")


@pytest.mark.parametrize("event_type", [None, "", "user/add", "unclassified", "a:b"])
def test_without_a_legal_type_the_bytes_identify(event_type: str | None) -> None:
    one, two = (encode({"EventType": event_type, "eventId": "e1", "x": x}) for x in (1, 2))
    assert key_of(one) != key_of(two)
    assert [record.id for record in to_records(received(one))] == [content_hash(one).hex()]


IDENTITIES = st.tuples(
    st.sampled_from(["default", "hr"]),
    st.none() | texts,
    st.sampled_from(["user_add_org", "org_change", "brand_new_event"]),
    st.integers().filter(bool) | texts.filter(bool),
)


@given(IDENTITIES, IDENTITIES)
def test_what_names_itself_is_known_by_app_company_type_and_id(a: Any, b: Any) -> None:
    """The ingress calls two callbacks one exactly when their events have one (source, id)."""
    keys, pairs = [], []
    for app, corp, event_type, event_id in (a, b):
        body = encode({"EventType": event_type, "CorpId": corp, "eventId": event_id})
        keys.append(dedupe_key(extract_facts(body), app, body))
        event = decode(to_records(received(body, app=app))[0].value)
        pairs.append((event.source, event.id))
    assume("-" not in (a[1], b[1]))  # stands for "no company" in the source
    assert (keys[0] == keys[1]) is (pairs[0] == pairs[1])


@given(st.binary(), st.binary(), st.sampled_from(["default", "hr"]))
def test_without_an_id_the_bytes_and_the_app_decide(one: bytes, two: bytes, app: str) -> None:
    equal = dedupe_key(NO_FACTS, "default", one) == dedupe_key(NO_FACTS, app, two)
    assert equal is (one == two and app == "default")


def test_keys_of_later_events_sort_later() -> None:
    bodies = [encode({"eventId": f"e{n}", "EventTime": 1731000000000 + n}) for n in range(50)]
    keys = [key_of(body) for body in bodies]
    assert keys == sorted(keys)
