"""Frames of Stream mode: what is kept is what HTTP would have brought, and nothing that comes is lost."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dingbridge.events import Received, decode, to_records
from dingbridge.ingress.stream.frames import Frame, event_answer, new_callback, read
from tests.unit.events.strategies import payloads, values

HEADERS = {
    "EventType": "eventType",
    "CorpId": "eventCorpId",
    "EventTime": "eventBornTime",
    "eventId": "eventId",
}
ROW = Received(1, "j", 1_731_000_000_000, "default", "stream", b"")


def frame(data: Any, message_id: str = "m1", kind: str = "EVENT", **headers: Any) -> str:
    """As DingTalk sends it; ``data`` as it is if it is text."""
    text = data if isinstance(data, str) else json.dumps(data)
    common = {
        "topic": "*",
        "messageId": message_id,
        "contentType": "application/json",
        "time": "1731000000999",
    }
    return json.dumps({"specVersion": "1.0", "type": kind, "headers": common | headers, "data": text})


def records(body: bytes) -> list[Any]:
    found = to_records(ROW._replace(body=body))
    return [(record.id, record.key, record.fault, decode(record.value)) for record in found]


FACTS = st.fixed_dictionaries(
    {},
    optional={
        "CorpId": st.sampled_from(["dingcorp1", "企业"]),
        "EventTime": st.integers(1_600_000_000_000, 1_900_000_000_000),
        "eventId": st.sampled_from(["e1", "0f" * 16, "4294967296"]),
    },
)


@given(payloads(), FACTS)
def test_the_records_are_those_of_the_same_event_by_http(payload, facts):
    event_type = payload.get("EventType") or "user_add_org"
    data = {n: v for n, v in payload.items() if n.lower() not in {name.lower() for name in HEADERS}}
    http = {"EventType": event_type} | {name: facts[name] for name in HEADERS if name in facts} | data
    headers = {header: str(http[name]) for name, header in HEADERS.items() if name in http}
    compact = {"ensure_ascii": False, "separators": (",", ":")}
    kept = read(frame(json.dumps(data, **compact), **headers))
    assert (kept.kind, kept.message_id) == ("event", "m1")
    assert kept.body == json.dumps(http, **compact).encode()
    spaced = read(frame(json.dumps(data, indent=1), **headers)).body
    if "eventId" in facts:  # else the bytes themselves are the event's identity, by both ways
        assert records(spaced) == records(kept.body)


@given(payloads(), st.integers(1_600_000_000_000, 1_900_000_000_000))
def test_what_data_names_itself_is_not_said_twice(payload, at):
    text = json.dumps(payload)
    body = read(frame(text, eventType="other", eventBornTime=str(at))).body
    assert body.decode().endswith(text[1:])
    added = json.loads(body).keys() - payload.keys()
    expected = {"EventTime"} if "eventtime" not in {name.lower() for name in payload} else set()
    assert added == expected | ({"EventType"} - payload.keys())


def test_the_type_is_the_headers_whatever_data_calls_one():
    body = read(frame({"eventType": "update", "id": "c1"}, eventType="calendar_event_change")).body
    [record] = to_records(ROW._replace(body=body))
    assert record.event_type == "calendar_event_change"
    assert json.loads(record.value)["data"]["eventType"] == "update"


def test_the_members_of_data_stay_as_they_are_written():
    data = ' { "n": 123456789012345678901234567890, "b" : 1.10, "a":"\\u5f20", "x": 1, "x": 2 } '
    body = read(frame(data, eventType="t", eventCorpId="c", eventBornTime="17", eventId="e")).body
    inner = ' "n": 123456789012345678901234567890, "b" : 1.10, "a":"\\u5f20", "x": 1, "x": 2 '
    assert body.decode() == '{"EventType":"t","CorpId":"c","EventTime":17,"eventId":"e",' + inner + "}"
    assert read(frame("{ }", eventType="t")).body == b'{"EventType":"t"}'
    assert read(frame('{"a":1}')).body == b'{"a":1}'


@pytest.mark.parametrize(
    ("content", "kept"),
    [
        ("no json", b"no json"),
        (b"\xff\x00", b"\xff\x00"),
        ("[1]", b"[1]"),
        ('{"type":"EVENT"}', b'{"type":"EVENT"}'),
        ('{"type":"EVENT","headers":7,"data":{"a":1}}', b'{"type":"EVENT","headers":7,"data":{"a":1}}'),
        (frame('{"a":1}', kind="NEW"), frame('{"a":1}', kind="NEW").encode()),
    ],
)
def test_what_cannot_be_understood_is_kept_as_it_came(content, kept):
    found = read(content)
    assert (found.kind, found.body) == ("event", kept)
    [record] = to_records(ROW._replace(body=found.body))
    assert record.event_type is None


@pytest.mark.parametrize("data", ["[1,2]", "", " ", "null", '{"a":', "[" * 100_000])
def test_data_that_is_no_object_is_kept_with_its_frame_and_one_event_is_not_another(data):
    one, again, other = (
        frame(data, message_id, eventType="t", eventId=event_id)
        for message_id, event_id in [("m1", "e1"), ("m2", "e1"), ("m3", "e2")]
    )
    assert read(one).body == one.encode()
    [record] = to_records(ROW._replace(body=read(one).body))
    assert record.event_type is None
    (first, repeated, third) = (new_callback(read(f), "default").key for f in (one, again, other))
    assert first == repeated != third


STRANGE = st.builds(
    lambda headers, data, kind: json.dumps({"type": kind, "headers": headers, "data": data}),
    st.dictionaries(
        st.sampled_from(["messageId", "topic", "eventType", "eventId", "eventBornTime", "eventCorpId"]),
        values,
    ),
    st.one_of(values, values.map(json.dumps), st.text()),
    st.sampled_from(["EVENT", "SYSTEM", "CALLBACK", None, 7, []]),
)


@given(
    st.one_of(STRANGE, st.binary(), st.text(), values.map(json.dumps), st.binary().map(b'{"data":'.__add__))
)
def test_no_frame_raises(content):
    assert to_records(ROW._replace(body=new_callback(read(content), "default").body))


def key(app="default", **headers):
    return new_callback(read(frame({"userId": ["u1"]}, **headers)), app).key


def test_a_repeated_push_has_the_same_key_and_another_event_another():
    event = {
        "eventType": "user_add_org",
        "eventCorpId": "c",
        "eventBornTime": "1731000000000",
        "eventId": "e1",
    }
    assert key(**event) == key(**event, message_id="m2")
    assert (
        len(
            {
                key(**event),
                key("another", **event),
                *(key(**event | {name: event[name] + "1"}) for name in event),
            }
        )
        == 6
    )


def test_events_without_an_identity_are_told_apart_by_their_push():
    event = {"eventType": "user_add_org"}
    assert key(**event) == key(**event)
    others = (key(**event, message_id="m2"), key("another", **event))
    nameless = [new_callback(read("no frame"), "default").key for _ in range(2)]
    assert len({key(**event), *others, *nameless}) == 5


def test_what_the_system_says_is_no_event():
    ping = read(frame({"opaque": "o"}, kind="SYSTEM", topic="ping"))
    assert ping.kind == "other"
    assert json.loads(ping.reply) == {
        "code": 200,
        "headers": {"messageId": "m1", "contentType": "application/json"},
        "message": "OK",
        "data": '{"opaque": "o"}',
    }
    leave = read(frame({"reason": "r"}, kind="SYSTEM", topic="disconnect"))
    assert leave.kind == "disconnect"
    assert json.loads(leave.reply) == json.loads(ping.reply) | {"data": '{"reason": "r"}'}
    for topic in ("CONNECTED", "REGISTERED", "KEEPALIVE", "whatever comes"):
        assert read(frame({}, kind="SYSTEM", topic=topic)) == Frame("other")
    robot = read(frame({}, kind="CALLBACK", topic="/v1.0/im/bot/messages/get"))
    assert (robot.kind, json.loads(robot.reply)["code"]) == ("other", 404)
    nameless = {"type": "SYSTEM", "headers": {"topic": "ping"}, "data": "{}"}
    assert read(json.dumps(nameless)) == Frame("other"), "there is nothing to answer to"


@pytest.mark.parametrize("status", ["SUCCESS", "LATER"])
def test_answers_are_as_dingtalk_wants_them(status):
    assert json.loads(event_answer(Frame("event", "m1"), status)) == {
        "code": 200,
        "headers": {"messageId": "m1", "contentType": "application/json"},
        "message": "OK",
        "data": f'{{"status":"{status}","message":""}}',
    }


def test_a_header_of_any_depth_ends_nothing():
    """What JSON's reader takes, its writer may not, some calls deeper."""
    for depth in range(900, 1000):
        nested = "[" * depth + "]" * depth
        came = f'{{"type":"EVENT","headers":{{"messageId":"m1","eventId":{nested}}},"data":"{{}}"}}'
        assert read(came).kind == "event"
        assert nested.encode() in read(came).body
