import random
from hashlib import sha256
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dingbridge.events import DoorView, content_hash, dedupe_key, read
from tests.unit.events.strategies import encode, payloads, texts


def view(**payload: Any) -> DoorView:
    return read(encode({"EventType": "user_add_org", **payload}))


def test_the_facts_of_an_ordinary_callback() -> None:
    assert view(CorpId="c1", eventId="e1", EventTime=1731000000123) == DoorView(
        "user_add_org", "c1", "e1", 1731000000123, True, 1731000000123
    )


@pytest.mark.parametrize("name", ["CorpId", "corpId", "corpid", "CORPID"])
def test_names_are_found_whatever_their_case(name: str) -> None:
    assert view(**{name: "c1"}).corp_id == "c1"


def test_auth_corp_id_counts_as_the_company_unless_there_is_one() -> None:
    assert view(AuthCorpId="c2").corp_id == "c2"
    assert view(AuthCorpId="c2", corpid="c1").corp_id == "c1"


@pytest.mark.parametrize("value", ["", None, 5, ["c1"], {}])
def test_a_company_is_a_text(value: Any) -> None:
    assert view(CorpId=value).corp_id is None
    assert view(CorpId=value, corpId="c1").corp_id == "c1"


@pytest.mark.parametrize("value", ["e1", 5, -5, 10**30, "0", " "])
def test_usable_event_ids(value: Any) -> None:
    found = view(eventId=value)
    assert (found.event_id, type(found.event_id)) == (value, type(value))
    assert found.has_identity


@pytest.mark.parametrize("value", ["", 0, None, True, 1.5, ["e1"], {}])
def test_event_ids_that_are_none(value: Any) -> None:
    assert view(eventId=value).event_id is None
    assert not view(eventId=value).has_identity


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
    found = view(**payload)
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
    found = read(encode({"EventType": event_type, **payload}))
    assert found.happened_ms == happened_ms
    assert (found.time_ms, found.has_identity) == (happened_ms or 8, True)  # enough to know a re-push by


def test_in_attendance_the_items_say_company_and_identity() -> None:
    items = [{"userId": "u1"}, {"corpId": "c1", "bizId": "b1"}]
    found = read(encode({"EventType": "attendance_check_record", "DataList": items}))
    assert (found.corp_id, found.has_identity) == ("c1", True)
    without = read(encode({"EventType": "attendance_check_record", "DataList": [{"corpId": "c1"}]}))
    assert (without.corp_id, without.has_identity) == ("c1", False)
    timed = {
        "EventType": "attendance_check_record",
        "CorpId": "c0",
        "EventTime": 5,
        "dataList": [{"corpId": "c1"}],
    }
    assert (read(encode(timed)).corp_id, read(encode(timed)).has_identity) == ("c0", True)
    other = read(encode({"EventType": "brand_new_event", "DataList": items}))
    assert (other.corp_id, other.has_identity) == (None, False)


@pytest.mark.parametrize(
    "raw", [b"", b"[]", b'"x"', b"{", b'{"EventType":"a","EventType":"b","eventId":"e"}', b"[" * 5000]
)
def test_the_unreadable_has_no_facts(raw: bytes) -> None:
    assert read(raw) == DoorView(None, None, None, None, False, None)


@given(st.one_of(st.binary(), payloads().map(encode)))
def test_total(raw: bytes) -> None:
    assert len(dedupe_key(read(raw), "default", raw)) == 24


@given(payloads(), st.randoms(use_true_random=False))
def test_the_order_of_names_changes_no_fact(payload: dict[str, Any], rng: random.Random) -> None:
    items = list(payload.items())
    rng.shuffle(items)
    assert read(encode(dict(items))) == read(encode(payload))


def test_the_form_of_the_dedupe_key_is_fixed() -> None:
    """Keys are stored: another form would not find a re-push after an upgrade."""
    body = b'{"EventType":"user_add_org","CorpId":"c1","eventId":"e1","EventTime":1731000000123}'
    digest = sha256(b"id\0default\x002:c1\0text\0e1").digest()[:16]
    assert dedupe_key(read(body), "default", body) == (1731000000123).to_bytes(8, "big") + digest
    bare = b"{}"
    content = sha256(b"content\0default\0" + sha256(bare).digest()).digest()[:16]
    assert dedupe_key(read(bare), "default", bare) == bytes(8) + content


def test_the_hash_is_over_the_bytes_as_they_came() -> None:
    assert content_hash(b"{}") == sha256(b"{}").digest()
    assert content_hash(b"{ }") != content_hash(b"{}")


def test_a_repeat_with_other_bytes_but_the_same_id_is_one() -> None:
    one, two = b'{"eventId":"e1","x":1}', b'{"x":2, "eventId":"e1"}'
    assert dedupe_key(read(one), "default", one) == dedupe_key(read(two), "default", two)


def test_a_number_and_its_digits_are_two_ids() -> None:
    number, text = b'{"eventId":5}', b'{"eventId":"5"}'
    assert dedupe_key(read(number), "default", b"") != dedupe_key(read(text), "default", b"")


def test_where_the_company_ends_and_the_id_begins_is_told() -> None:
    one, two = (
        DoorView("t", corp, event_id, None, True, None)
        for corp, event_id in (("a\0text\0b", "c"), ("a", "b\0text\0c"))
    )
    assert dedupe_key(one, "default", b"") != dedupe_key(two, "default", b"")


IDENTITIES = st.tuples(st.sampled_from(["default", "hr"]), st.none() | texts, st.integers() | texts)


@given(IDENTITIES, IDENTITIES)
def test_ids_are_equal_only_if_app_company_and_id_are(a: Any, b: Any) -> None:
    keys = [
        dedupe_key(DoorView("t", corp, event_id, None, True, None), app, b"same")
        for app, corp, event_id in (a, b)
    ]
    same = a == b and type(a[2]) is type(b[2])
    assert (keys[0] == keys[1]) is same


@given(st.binary(), st.binary(), st.sampled_from(["default", "hr"]))
def test_without_an_id_the_bytes_and_the_app_decide(one: bytes, two: bytes, app: str) -> None:
    nothing = DoorView(None, None, None, None, False, None)
    equal = dedupe_key(nothing, "default", one) == dedupe_key(nothing, app, two)
    assert equal is (one == two and app == "default")


def test_keys_of_later_events_sort_later() -> None:
    bodies = [encode({"eventId": f"e{n}", "EventTime": 1731000000000 + n}) for n in range(50)]
    keys = [dedupe_key(read(body), "default", body) for body in bodies]
    assert keys == sorted(keys)
