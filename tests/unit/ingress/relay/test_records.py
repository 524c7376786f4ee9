"""What a row of the journal becomes: records, resync requests, and the topic of each."""

import json

import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis
from hypothesis import strategies as st

from dingbridge.apps.company import Companies
from dingbridge.errors import TopicLeaderless
from dingbridge.events import Event, Record, decode, extract_facts
from dingbridge.events.control import RESYNC_REQUESTED
from dingbridge.ingress.journal.rows import (
    CONTROL,
    NewCallback,
    ResyncRequest,
    StoredCallback,
    columns_of,
    row_of,
)
from dingbridge.ingress.relay import records as module
from dingbridge.ingress.relay.records import RESYNC, RESYNC_EVERY_MS, SETTLED_MS, RecordBuilder
from dingbridge.ingress.relay.topics import TopicRouter
from dingbridge.settings import SAMPLE_CREDENTIALS
from tests.unit.events.golden import load_captured
from tests.unit.ingress.relay.fakes import FakeKafka, body, settings

BEGIN = 1_731_000_000_000
CORP = SAMPLE_CREDENTIALS["DINGTALK_CORP_ID"]
TREE = {"EventType": "org_dept_remove", "EventTime": BEGIN, "CorpId": CORP, "eventId": "e1"}


@pytest.fixture
def builder() -> RecordBuilder:
    return RecordBuilder(settings(), lambda: Companies({"default": CORP}), "j1")


@pytest.fixture
def suite() -> RecordBuilder:
    """Of an app ``default`` whose pushes are of many companies."""
    return RecordBuilder(settings(), lambda: Companies({"default": None}), "j1")


def stored(content: bytes, at_ms: int = BEGIN, app: str = "default", via: str = "http") -> StoredCallback:
    """The row as it is read from a sound disk."""
    return row_of(*columns_of(7, NewCallback(at_ms, app, via, content, extract_facts(content))))


def requests(builder: RecordBuilder, payload: dict[str, object], at_ms: int = BEGIN) -> list[Event]:
    """The resync requests behind the records of a callback."""
    records = builder.of(stored(json.dumps(payload).encode(), at_ms))
    assert records[0].event_type != RESYNC
    assert {record.event_type for record in records[1:]} <= {RESYNC}
    return [decode(record.value) for record in records[1:]]


def test_many_callbacks_that_name_nobody_are_one_request_and_it_comes_after_all_of_them(
    builder: RecordBuilder,
) -> None:
    first = BEGIN // RESYNC_EVERY_MS * RESYNC_EVERY_MS
    times = (first, first + 1, first + RESYNC_EVERY_MS - 1)
    found = [requests(builder, TREE | {"eventId": f"e{at}"}, at)[0] for at in times]
    [known_as] = {(event.source, event.id) for event in found}
    assert known_as[0] == f"/dingtalk/{CORP}/default"
    [due] = {event.time.timestamp() * 1000 for event in found}
    assert due == first + RESYNC_EVERY_MS + SETTLED_MS
    assert found[0].type == RESYNC_REQUESTED
    assert (found[0].data["part"], found[0].partitionkey) == ("contacts", f"{CORP}:resync")
    [later] = {event.id for event in requests(builder, TREE, first + RESYNC_EVERY_MS)}
    assert later != known_as[1]


def test_each_company_and_part_has_its_own(builder: RecordBuilder, suite: RecordBuilder) -> None:
    task = {"EventType": "bpms_task_change", "type": "start", "createTime": BEGIN, "corpId": CORP}
    payloads = (TREE, TREE | {"CorpId": "dingcorp2"}, task, TREE | {"CorpId": ""})
    found = [requests(suite, payload)[0] for payload in payloads]
    assert len({(event.source, event.id) for event in found}) == 4
    assert [event.data["part"] for event in found] == ["contacts", "contacts", "approvals", "contacts"]
    one, same = (requests(builder, payload)[0] for payload in (TREE, TREE | {"CorpId": ""}))
    assert (one.source, one.id) == (same.source, same.id), "an app of one company asks once"


@pytest.mark.parametrize(
    "more",
    [
        {"deptId": [7]},
        {"EventType": "org_change"},
        {"EventType": "chat_disband"},  # nobody keeps a copy
        {"EventType": "org_dept_brand_new"},
        {"EventType": "user_add_org", "userId": ["u1"]},
    ],
)
def test_a_callback_that_names_somebody_or_is_about_nobody_asks_for_nothing(
    builder: RecordBuilder, more: dict[str, object]
) -> None:
    assert requests(builder, TREE | more) == []


def test_of_the_captures_those_ask_that_name_nobody(suite: RecordBuilder) -> None:
    for golden in load_captured():
        records = suite.of(stored(golden.body, via=golden.via))
        parts = {decode(one.value).data["part"] for one in records if one.event_type == RESYNC}
        assert parts == set(golden.document["compare"])


def test_a_push_that_names_another_company_is_unclassified_with_its_bytes(builder: RecordBuilder) -> None:
    """It was answered `success` and goes on its way, but no consumer gets it."""
    content = json.dumps(TREE | {"CorpId": "dingcorp2"}).encode()
    (record,) = builder.of(stored(content))
    assert (record.event_type, record.fault) == (None, "other-company")
    event = decode(record.value)
    assert (event.data_bytes, event.corp_id) == (content, CORP)


def test_the_companies_are_those_of_now() -> None:
    """The apps file is read again while the ingress runs."""
    of_app = {"default": CORP, "hr": "dingcorp2"}
    builder = RecordBuilder(settings(), lambda: Companies(of_app), "j1")

    def corp_of_hr() -> str:
        (record,) = builder.of(stored(b'{"EventType":"org_change"}', app="hr"))
        return dict(record.headers)["dingbridge-corp"].decode()

    assert corp_of_hr() == "dingcorp2"
    of_app["hr"] = "dingcorp30"
    assert corp_of_hr() == "dingcorp30"
    asked = builder.of(stored(ResyncRequest("r", "lost").callback().body, app="", via=CONTROL))
    assert {decode(record.value).corp_id for record in asked} == {CORP, "dingcorp30"}


VALUE = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda some: st.lists(some) | st.dictionaries(st.text(), some),
    max_leaves=3,
)
FIELD = st.sampled_from(["corp_id", "since_ms", "part", "until_ms"])


@given(more=st.dictionaries(FIELD, VALUE))
@hypothesis(suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_a_resync_request_of_a_later_version_makes_consumers_compare_or_is_a_value_error(
    builder: RecordBuilder, more: dict[str, object]
) -> None:
    """Whatever its fields are: ``Publisher`` parks a row that raises."""
    content = json.dumps({"id": "r1", "reason": "why", "app": "x"} | more).encode()
    try:
        records = builder.of(stored(content, via=CONTROL))
    except ValueError:
        return
    assert [decode(record.value).type for record in records] == [RESYNC_REQUESTED]


def test_a_field_that_a_later_version_added_changes_nothing_else(builder: RecordBuilder) -> None:
    content = ResyncRequest("r1", "why", corp_id="dingcorp1", since_ms=5, part="contacts").callback().body
    later = json.dumps(json.loads(content) | {"until_ms": 5}).encode()
    assert builder.of(stored(later, via=CONTROL)) == builder.of(stored(content, via=CONTROL))


def test_drift_is_looked_for_in_one_callback_of_a_type_in_10_s(
    builder: RecordBuilder, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What drifts, drifts in all of them."""
    monkeypatch.setattr(module.time, "monotonic", lambda: now)
    drifted = []
    for now in (100.0, 100.1, 109.9, 110.0, 110.1):
        for event_type in ("check_in", "user_add_org", "a_new_type"):
            [record] = builder.of(stored(body(1, event_type, CorpId=CORP)))
            drifted += [(now, event_type)] if record.drift else []
    assert drifted == [(at, kind) for at in (100.0, 110.0) for kind in ("check_in", "user_add_org")]


# -- Topics: names from outside do not create topics without bounds


def record(builder: RecordBuilder, event_type: str) -> Record:
    return builder.of(stored(body(1, event_type, CorpId=CORP)))[0]


async def test_unknown_types_get_topics_up_to_a_limit_also_over_restarts(
    kafka: FakeKafka, builder: RecordBuilder
) -> None:
    def topic(event_type: str) -> str:
        return router.topic(record(builder, event_type))

    router = TopicRouter(settings(), 2)
    await router.load()
    for _ in range(100):  # one that is refused again and again counts once
        assert topic("brand_new") == "dingtalk.brand_new"
        await router.ensure("dingtalk.brand_new")
    kafka.leaderless = {"dingtalk.brand_new"}
    router = TopicRouter(settings(), 2)
    await router.load()
    await router.ensure(topic("newer_still"))
    assert topic("one_too_many") == "dingtalk.unclassified"
    assert topic("org_change") == "dingtalk.org_change", "the catalogue has it"
    assert topic("brand_new") == "dingtalk.brand_new"
    with pytest.raises(TopicLeaderless):
        await router.ensure("dingtalk.brand_new")
