"""What holds the records of the integration tests against their schemas does see a fault."""

import json
from types import SimpleNamespace
from typing import Any

import pytest

from dingbridge.events import Record, catalogue, to_records
from tests.support import validation
from tests.support.validation import NotWhatTheSchemaSays, validate
from tests.unit.events.strategies import encode, received

USER = {"EventType": "user_add_org", "TimeStamp": "1764057600000", "CorpId": "c", "UserId": ["u1"]}


@pytest.fixture(autouse=True)
def _counted_apart(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(validation, "validated", type(validation.validated)())


def read(record: Record, **changes: Any) -> Any:
    """As it would be read, with some of its envelope changed; None: taken away."""
    envelope = {**json.loads(record.value), **changes}
    value = json.dumps({name: part for name, part in envelope.items() if part is not None}).encode()
    return SimpleNamespace(topic="t", partition=0, offset=0, value=value, headers=record.headers)


def published(callback: dict[str, Any], **more: Any) -> Record:
    return to_records(received(encode(callback), **more))[0]


def test_what_is_published_passes_and_is_counted() -> None:
    validate(read(published(USER)), "user_add_org")
    validate(read(published({**USER, "EventType": "brand_new"})), "brand_new")
    validate(read(published({"EventType": "no/name"})), "unclassified")
    validate(read(published({**USER, "UserId": [None]})), "user_add_org")
    validate(read(published({"EventType": "user_add_org"}, via="failed-list")), "user_add_org")
    assert validation.validated == {"user_add_org": 3, "other": 2, "drift": 2}


def test_a_fault_of_the_envelope_or_the_headers_is_seen() -> None:
    record = published(USER)
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
    other = json.loads(published({**USER, "TimeStamp": "x"}).value)["data"]
    for data, found in (
        ({**other, "timeStamp": 5}, drift(catalogue["user_add_org"], "old", other)),
        (other, ()),
    ):
        monkeypatch.setattr(validation, "drift_of", lambda *_, found=found: found)
        with pytest.raises(NotWhatTheSchemaSays):
            validate(read(published(USER), data=data), "user_add_org")
