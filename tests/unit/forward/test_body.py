import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dingbridge.consumers.forward.body import body_of
from dingbridge.events.envelope import Received, to_records
from dingbridge.events.event import NotAnEvent, decode, to_dingtalk
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


def test_an_unclassified_event_has_no_form_of_dingtalks() -> None:
    record = to_records(Received(1, "j", 1700000000500, "default", "http", b"no json"))[0]
    found = decode(record.value)
    assert decode(body_of(found, "cloudevents")[1]).data_bytes == b"no json"
    with pytest.raises(NotAnEvent):
        body_of(found, "dingtalk")
