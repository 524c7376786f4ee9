from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dingbridge.consumers.forward.body import body_of
from dingbridge.events.envelope import Received, to_records
from dingbridge.events.event import Event, NotAnEvent, Sent, decode, to_dingtalk
from tests.unit.forward.support import event

CALLBACK = {
    "EventType": "user_modify_org",
    "TimeStamp": "1700000000000",
    "UserId": ["u1"],
    "CorpId": "dingcorp1",
}


def test_cloudevents_is_the_whole_record() -> None:
    content_type, body = body_of(event(), "cloudevents")
    assert content_type == "application/cloudevents+json"
    assert decode(body) == event()


def test_dingtalk_is_the_callback_in_dingtalks_spelling() -> None:
    record = to_records(Received(1, "j", 1700000000500, "default", "http", orjson.dumps(CALLBACK)))[0]
    content_type, body = body_of(decode(record.value), "dingtalk")
    assert (content_type, orjson.loads(body)) == ("application/json", CALLBACK)


def test_dingtalk_string_is_the_same_in_one_json_string() -> None:
    content_type, body = body_of(event(), "dingtalk-string")
    text = orjson.loads(body)
    assert (content_type, type(text)) == ("application/json", str)
    assert orjson.loads(text) == to_dingtalk(event())


@given(st.text(alphabet=st.characters(exclude_categories=["Cs"])), st.integers(-(2**70), 2**70))
def test_every_value_arrives_in_every_form(text: str, number: int) -> None:
    import json

    body = json.dumps({**CALLBACK, "extra": {"文": text, "n": number}}).encode()
    record = to_records(Received(1, "j", 1700000000500, "default", "http", body))[0]
    found = decode(record.value)
    assert json.loads(body_of(found, "cloudevents")[1])["data"]["extra"] == {"文": text, "n": number}
    assert json.loads(body_of(found, "dingtalk")[1])["extra"] == {"文": text, "n": number}
    assert json.loads(json.loads(body_of(found, "dingtalk-string")[1]))["extra"] == {"文": text, "n": number}


def change(**data: Any) -> Event:
    envelope = {"specversion": "1.0", "id": "c1", "source": "/dingbridge", "type": "com.dingbridge.change"}
    data = {"corpId": "dingcorp1", "kind": "user", "id": "E1", "dingtalkId": "u1", **data}
    return decode(orjson.dumps({**envelope, "subject": "E1", "data": data}), Sent())


PERSON = {"mobile": {"old": "1391", "new": "1392"}, "title": {"old": "a", "new": "b"}}
FORM = {"事由": "病假", "天数": "2"}


def test_of_a_change_values_are_sent_only_of_the_fields_that_are_named() -> None:
    """The guide: of all others a system gets the name alone."""
    found = orjson.loads(body_of(change(fields=PERSON, form=FORM), "cloudevents", ["title", "天数"])[1])
    assert found["data"] == {
        "corpId": "dingcorp1", "kind": "user", "id": "E1", "dingtalkId": "u1",
        "fields": {"title": PERSON["title"]}, "form": {"天数": "2"}, "withheld": ["mobile", "事由"],
    }  # fmt: skip
    assert (found["subject"], found["id"]) == ("E1", "c1")


@given(st.dictionaries(st.text(), st.dictionaries(st.sampled_from(["old", "new"]), st.text(min_size=9))))
def test_by_default_no_value_of_a_change_is_sent(fields: dict[str, Any]) -> None:
    fields.pop("exists", None)
    body = body_of(change(fields=fields, form={name: "private value" for name in fields}), "cloudevents")[1]
    data = orjson.loads(body)["data"]
    assert data.get("fields", {}) == data.get("form", {}) == {}
    assert set(data.get("withheld", [])) == set(fields)


def test_who_came_or_left_is_sent_and_what_is_no_table_of_fields_is_not() -> None:
    left = {"exists": {"old": True, "new": False}}
    assert orjson.loads(body_of(change(fields=left), "cloudevents")[1])["data"]["fields"] == left
    odd = orjson.loads(body_of(change(fields=["1391"], form="1391"), "cloudevents")[1])["data"]
    assert odd.keys() == {"corpId", "kind", "id", "dingtalkId"}


def test_an_unclassified_event_has_no_form_of_dingtalks() -> None:
    record = to_records(Received(1, "j", 1700000000500, "default", "http", b"no json"))[0]
    found = decode(record.value)
    assert decode(body_of(found, "cloudevents")[1]).data_bytes == b"no json"
    with pytest.raises(NotAnEvent):
        body_of(found, "dingtalk")
