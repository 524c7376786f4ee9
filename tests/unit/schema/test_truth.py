"""What the catalogue says and what the bridge publishes agree: payloads of both generations, made up from the
catalogue, become valid records without drift; the relay's quick check says what a JSON Schema judge says."""

import json
import random
from functools import cache
from types import SimpleNamespace
from typing import Any

import jsonschema
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from dev.schemas.json_schema import data_schema, record_schema
from dingbridge.events import EventSpec, catalogue, to_records
from dingbridge.events.catalogue import Form
from dingbridge.events.envelope import Drift, Received, Record
from dingbridge.events.examples import example_callbacks
from dingbridge.events.normalise import Layout
from dingbridge.schema.drift import drift_in, drift_of
from tests.support import validation
from tests.support.cases import of_each
from tests.support.sizes import sized
from tests.support.validation import NotWhatTheSchemaSays, validate
from tests.unit.events.strategies import encode, received
from tests.unit.schema.payloads import EVERY, callbacks, damaged

EXAMPLES = settings(suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much])


@cache
def of_records(spec: EventSpec) -> jsonschema.Draft7Validator:
    return jsonschema.Draft7Validator(record_schema(spec))


@cache
def of_data(spec: EventSpec, form: Form) -> jsonschema.Draft7Validator:
    return jsonschema.Draft7Validator(data_schema(spec, form))


def published(callback: dict[str, Any], **changes: Any) -> list[Record]:
    return to_records(received(encode(callback), **changes), drift_in)


def drifts(callback: dict[str, Any], **changes: Any) -> set[tuple[str, str]]:
    return {tuple(found) for record in published(callback, **changes) for found in record.drift}


@settings(EXAMPLES, max_examples=sized(60, 1_000, quick=20))
@given(st.data(), st.sampled_from(EVERY))
def test_what_the_catalogue_describes_becomes_valid_records_without_drift(
    data: st.DataObject, one: tuple[EventSpec, Form]
) -> None:
    spec, form = one
    callback = data.draw(callbacks(spec, form))
    for record in published(callback):
        assert record.fault is None
        envelope = json.loads(record.value)
        of_records(spec).validate(envelope)
        if envelope["form"] == form:  # a payload with hardly a name may pass for the other one
            of_data(spec, form).validate(envelope["data"])
            assert record.drift == ()
    assert form in ("old", "new")


@of_each(EVERY, lambda one: f"{one[0].event_type}, {one[1]}")
def test_the_form_is_recognised_by_all_of_its_names(one: tuple[EventSpec, Form]) -> None:
    spec, form = one
    assert spec.form_of(spec.spellings[form].fields) == form


@settings(EXAMPLES, max_examples=sized(60, 1_000, quick=20))
@given(st.data(), st.sampled_from(EVERY), st.randoms(use_true_random=False))
def test_the_quick_check_says_what_a_judge_says(
    data: st.DataObject, one: tuple[EventSpec, Form], rng: random.Random
) -> None:
    """The judge calls data invalid that lacks something or has another type there. The quick check is asked
    twice: it remembers what follows from the names."""
    spec, form = one
    [record, *_] = published(data.draw(callbacks(spec, form)))
    whole = json.loads(record.value)["data"]
    for found in [whole, *damaged(whole, rng), {**whole, "brandNew": 1}]:
        if isinstance(found, dict):
            drift = drift_of(spec, form, found)
            layout = Layout(spec, form, tuple(found))
            assert drift_in(layout, found) == drift_in(layout, found) == drift
            serious = [one for one in drift if one.kind != "unknown_field"]
            assert (not serious) == of_data(spec, form).is_valid(found), (serious, found)


def test_each_kind_is_named_with_its_place() -> None:
    item = {"userId": 5, "checkTime": "x", "nickName": "x", "latitude": 1}
    attendance = {"EventType": "attendance_check_record", "DataList": [item, item, None]}
    assert drifts(attendance) == {
        ("type", "dataList[]"),
        ("type", "dataList[].checkTime"),
        ("type", "dataList[].userId"),
        ("unknown_field", "dataList[].nickName"),
    }
    user = {"EventType": "user_add_org", "TimeStamp": "yesterday", "CorpId": "c", "Colour": "red"}
    assert drifts(user) == {("type", "timeStamp"), ("unknown_field", "Colour"), ("missing", "userId")}
    assert drifts({**user, "TimeStamp": "5", "UserId": "u1"}) == {("unknown_field", "Colour")}


@pytest.mark.parametrize("sent", [-5, 2**53, 2**70, True, 1.5, None, "-5"])
def test_times_that_no_reader_expects(sent: Any) -> None:
    user = {"EventType": "user_add_org", "TimeStamp": sent, "CorpId": "c", "UserId": ["u"]}
    assert drifts(user) == {("type", "timeStamp")}


def test_names_that_are_no_identifiers_are_not_told() -> None:
    user = {"EventType": "user_add_org", "TimeStamp": "5", "CorpId": "c", "UserId": ["u"]}
    assert drifts({**user, "韩梅梅": 1, "13800000000": 2, "x" * 65: 3}) == {("unknown_field", "?")}


def test_drift_stands_on_a_callbacks_first_record() -> None:
    user = {"EventType": "user_add_org", "CorpId": "c", "UserId": ["u1", "u2"]}
    assert [record.drift for record in published(user)] == [(Drift("missing", "timeStamp"),), ()]


def test_an_unknown_type_and_what_we_put_together_ourselves_have_none() -> None:
    assert drifts({"EventType": "brand_new_event", "x": 1}) == set()
    assert drifts({"EventType": "user_add_org"}, via="failed-list") == set()
    assert drifts({"EventType": "user_add_org"}, via="stream") != set()


def test_drift_and_a_fault_of_the_check_change_nothing_that_is_published() -> None:
    def broken(*_: Any) -> tuple[Drift, ...]:
        raise RuntimeError

    row: Received = received(encode({"EventType": "user_add_org", "UserId": [5, None, "u"], "x": 1}))
    plain = to_records(row)
    assert to_records(row, broken) == plain
    checked = to_records(row, drift_in)
    assert checked != plain
    assert [record._replace(drift=()) for record in checked] == plain


def test_the_recorded_callbacks_drift_in_one_place_at_most() -> None:
    """DingTalk's own examples, beside what its tables of fields say."""
    found = {
        (event_type, *drift)
        for event_type in catalogue
        for callback in example_callbacks(event_type)
        for drift in drifts(callback)
    }
    assert found <= {("label_conf_del", "missing", "scope")}


# -- What holds the records of the integration tests against their schemas does see a fault


USER = {"EventType": "user_add_org", "TimeStamp": "1764057600000", "CorpId": "c", "UserId": ["u1"]}


@pytest.fixture(autouse=True)
def _counted_apart(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(validation, "validated", type(validation.validated)())


def read(record: Record, **changes: Any) -> Any:
    """As it would be read, with some of its envelope changed; None: taken away."""
    envelope = {**json.loads(record.value), **changes}
    value = json.dumps({name: part for name, part in envelope.items() if part is not None}).encode()
    return SimpleNamespace(topic="t", partition=0, offset=0, value=value, headers=record.headers)


def record_of(callback: dict[str, Any], **more: Any) -> Record:
    return to_records(received(encode(callback), **more))[0]


def test_what_is_published_passes_and_is_counted() -> None:
    validate(read(record_of(USER)), "user_add_org")
    validate(read(record_of({**USER, "EventType": "brand_new"})), "brand_new")
    validate(read(record_of({"EventType": "no/name"})), "unclassified")
    validate(read(record_of({**USER, "UserId": [None]})), "user_add_org")
    validate(read(record_of({"EventType": "user_add_org"}, via="failed-list")), "user_add_org")
    assert validation.validated == {"user_add_org": 3, "other": 2, "drift": 2}


def test_a_fault_of_the_envelope_or_the_headers_is_seen() -> None:
    record = record_of(USER)
    short = record._replace(headers=record.headers[:-1])
    for of, fault in (
        (record, {"specversion": "0.3"}),
        (record, {"time": None}),
        (record, {"time": "yesterday"}),
        (record, {"sequence": "7"}),
        (record, {"partitionkey": 5}),
        (record, {"form": "newer"}),
        (record, {"type": "com.dingtalk.user_leave_org"}),
        (record, {"dataschema": None}),
        (short, {}),
    ):
        with pytest.raises(NotWhatTheSchemaSays):
            validate(read(of, **fault), "user_add_org")


def test_a_drift_check_that_cries_wolf_or_sleeps_is_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    drift = validation.drift_of
    other = json.loads(record_of({**USER, "TimeStamp": "x"}).value)["data"]
    for data, found in (
        ({**other, "timeStamp": 5}, drift(catalogue["user_add_org"], "old", other)),
        (other, ()),
    ):
        monkeypatch.setattr(validation, "drift_of", lambda *_, found=found: found)
        with pytest.raises(NotWhatTheSchemaSays):
            validate(read(record_of(USER), data=data), "user_add_org")
