"""What is asked of the consumers beside a callback that does not say whom it is about."""

import json
import time
from pathlib import Path

import pytest
from dingbridge.ingress.relay.messages import RESYNC_EVERY_MS, SETTLED_MS, MessageBuilder
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis
from hypothesis import strategies as st

from dingbridge.events import Event, decode
from dingbridge.events.control import RESYNC_REQUESTED
from dingbridge.ingress.journal.rows import CONTROL, ResyncRequest, StoredCallback, checksum, row_of
from dingbridge.settings import SAMPLE_CREDENTIALS, IngressSettings
from tests.unit.events.golden import load_captured

BEGIN = 1_731_000_000_000
RESYNC_TOPIC = "ctl-dingtalk.resync"
CORP = SAMPLE_CREDENTIALS["DINGTALK_CORP_ID"]
TREE = {"EventType": "org_dept_remove", "EventTime": BEGIN, "CorpId": CORP, "eventId": "e1"}


APPS = """
[apps.hr]
token = "tokenOfHr"
aes_key = "kkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkk"
owner_keys = "dinghr"
corp_id = "dingcorp2"
"""


@pytest.fixture
def builder(monkeypatch: pytest.MonkeyPatch) -> MessageBuilder:
    monkeypatch.setenv("DINGTALK_API_BASE", "http://127.0.0.1:1")
    for name, value in SAMPLE_CREDENTIALS.items():
        monkeypatch.setenv(name, value)
    return MessageBuilder(IngressSettings.load(), "j1")


@pytest.fixture
def suite(builder: MessageBuilder, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> MessageBuilder:
    """Of an app ``default`` whose pushes are of many companies."""
    file = tmp_path / "suite.toml"
    file.write_text(APPS.replace("apps.hr", "apps.default").replace('corp_id = "dingcorp2"', "suite = true"))
    for name in SAMPLE_CREDENTIALS:
        monkeypatch.delenv(name)
    monkeypatch.setenv("DINGTALK_APPS_FILE", str(file))
    return MessageBuilder(IngressSettings.load(), "j1")


def requests(builder: MessageBuilder, payload: dict[str, object], received_ms: int = BEGIN) -> list[Event]:
    row = StoredCallback(7, received_ms, "default", "http", json.dumps(payload).encode())
    messages = builder.messages(row)
    assert messages == builder.messages(row)
    assert messages[0].topic is None
    assert {message.topic for message in messages[1:]} <= {RESYNC_TOPIC}
    return [decode(message.record.value) for message in messages[1:]]


def test_many_callbacks_that_name_nobody_are_one_request_and_it_comes_after_all_of_them(
    builder: MessageBuilder,
) -> None:
    first = BEGIN // RESYNC_EVERY_MS * RESYNC_EVERY_MS
    found = [
        requests(builder, TREE | {"eventId": f"e{at}"}, at)[0]
        for at in (first, first + 1, first + RESYNC_EVERY_MS - 1)
    ]
    [known_as] = {(event.source, event.id) for event in found}
    assert known_as[0] == f"/dingtalk/{CORP}/default"
    [due] = {event.time.timestamp() * 1000 for event in found}
    assert due == first + RESYNC_EVERY_MS + SETTLED_MS
    assert found[0].type == RESYNC_REQUESTED
    assert (found[0].data["part"], found[0].partitionkey) == ("contacts", f"{CORP}:resync")
    [later] = {event.id for event in requests(builder, TREE, first + RESYNC_EVERY_MS)}
    assert later != known_as[1]


def test_each_company_and_part_has_its_own(builder: MessageBuilder, suite: MessageBuilder) -> None:
    task = {"EventType": "bpms_task_change", "type": "start", "createTime": BEGIN, "corpId": CORP}
    payloads = (TREE, TREE | {"CorpId": "dingcorp2"}, task, TREE | {"CorpId": ""})
    found = [requests(suite, payload)[0] for payload in payloads]
    assert len({(event.source, event.id) for event in found}) == 4
    assert [event.data["part"] for event in found] == ["contacts", "contacts", "approvals", "contacts"]
    one, same = (requests(builder, payload)[0] for payload in (TREE, TREE | {"CorpId": ""}))
    assert (one.source, one.id) == (same.source, same.id), "an app of one company asks once"


def test_a_push_that_names_another_company_is_unclassified_with_its_bytes(builder: MessageBuilder) -> None:
    """It was answered `success` and goes on its way, but no consumer gets it."""
    body = json.dumps(TREE | {"CorpId": "dingcorp2"}).encode()
    (message,) = builder.messages(StoredCallback(7, BEGIN, "default", "http", body))
    assert (message.topic, message.record.event_type, message.record.fault) == (None, None, "other-company")
    event = decode(message.record.value)
    assert (event.data_bytes, event.corp_id) == (body, CORP)


def test_an_apps_file_that_changed_is_read_again_and_one_with_mistakes_changes_nothing(
    builder: MessageBuilder, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    file = tmp_path / "apps.toml"
    monkeypatch.setenv("DINGTALK_APPS_FILE", str(file))

    def corp_of_hr() -> str:
        (message,) = builder.messages(StoredCallback(7, BEGIN, "hr", "http", b'{"EventType":"org_change"}'))
        return dict(message.record.headers)["dingbridge-corp"].decode()

    file.write_text(APPS)
    builder = MessageBuilder(IngressSettings.load(), "j1")
    assert corp_of_hr() == "dingcorp2"
    file.write_text("[apps.hr]\nbroken")
    assert corp_of_hr() == "dingcorp2"
    monkeypatch.setattr(time, "monotonic", lambda: 1e12)
    file.write_text(APPS.replace("dingcorp2", "dingcorp30"))
    assert corp_of_hr() == "dingcorp30"
    asked = ResyncRequest("r", "lost").callback(BEGIN)
    requested = builder.messages(StoredCallback(8, BEGIN, asked.app, asked.via, asked.body))
    assert [decode(message.record.value).corp_id for message in requested] == [CORP, "dingcorp30"]


def test_one_that_names_somebody_or_is_about_nobody_asks_for_nothing(builder: MessageBuilder) -> None:
    assert requests(builder, TREE | {"deptId": [7]}) == []
    assert requests(builder, TREE | {"EventType": "org_change"}) == []
    assert requests(builder, TREE | {"EventType": "chat_disband"}) == []  # nobody keeps a copy
    assert requests(builder, TREE | {"EventType": "org_dept_brand_new"}) == []
    assert len(requests(builder, TREE | {"EventType": "user_add_org", "userId": ["u1"]})) == 0


def test_of_the_captures_those_ask_that_name_nobody(suite: MessageBuilder) -> None:
    for golden in load_captured():
        row = StoredCallback(7, BEGIN, "default", golden.via, golden.body)
        parts = {decode(m.record.value).data["part"] for m in suite.messages(row) if m.topic is not None}
        assert parts == set(golden.document["compare"])


def control_row(body: bytes) -> StoredCallback:
    """A resync request's row as it is read from a sound disk."""
    return row_of(7, BEGIN, "default", CONTROL, body, checksum(7, BEGIN, "default", CONTROL, body), None)


VALUE = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda some: st.lists(some) | st.dictionaries(st.text(), some),
    max_leaves=3,
)
FIELD = st.sampled_from(["id", "reason", "app", "corp_id", "since_ms", "part", "until_ms"])
OBJECT = st.dictionaries(FIELD, VALUE).map(lambda more: {"id": "r1", "reason": "why"} | more)


@given(body=st.binary() | (VALUE | OBJECT).map(lambda value: json.dumps(value).encode()))
@hypothesis(suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_every_resync_request_of_whatever_version_makes_consumers_compare(
    builder: MessageBuilder, body: bytes
) -> None:
    """An error here would end each relay that reads this row; nothing behind the row would be published."""
    messages = builder.messages(control_row(body))
    assert [(message.topic, decode(message.record.value).type) for message in messages] == [
        (RESYNC_TOPIC, RESYNC_REQUESTED)
    ]


def test_a_field_that_a_later_version_added_changes_nothing_else(builder: MessageBuilder) -> None:
    body = ResyncRequest("r1", "why", corp_id="dingcorp1", since_ms=5, part="contacts").callback(BEGIN).body
    later = json.dumps(json.loads(body) | {"until_ms": 5}).encode()
    assert builder.messages(control_row(later)) == builder.messages(control_row(body))
