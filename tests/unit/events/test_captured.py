"""What DingTalk was seen to send, by whoever published it: ``golden/captured``."""

import json
import random
from collections import Counter
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dingbridge.events import Received, catalogue, decode, extract_facts, to_dingtalk, to_records
from dingbridge.ingress.stream.frames import new_callback, read
from dingbridge.schema.drift import drift_in
from tests.support.sizes import sized
from tests.unit.events.golden import Golden, compact, load_captured
from tests.unit.events.strategies import texts, values

CAPTURED = load_captured()
STREAM = [golden for golden in CAPTURED if golden.via == "stream"]


def named(goldens: list[Golden]) -> list[str]:
    return [golden.path.stem for golden in goldens]


@pytest.mark.parametrize("golden", CAPTURED, ids=named(CAPTURED))
def test_a_capture_becomes_what_stands_beside_it_without_drift(golden: Golden) -> None:
    found = golden.outcome()
    assert json.dumps(found, indent=1) == json.dumps({n: golden.document[n] for n in found}, indent=1)
    assert [record["fault"] for record in found["after"]] == [None] * len(found["after"])
    # what is put together from a list is not asked for drift, and has none either
    [first, *_] = to_records(Received(1, "j1", 1, "default", "http", golden.body), drift_in)
    assert (first.known, first.drift) == (True, ())


@pytest.mark.parametrize("golden", CAPTURED, ids=named(CAPTURED))
def test_nothing_of_a_capture_is_lost(golden: Golden) -> None:
    received = Received(1, "j1", 1, "default", golden.via, golden.body)
    backs = [to_dingtalk(decode(record.value)) for record in to_records(received)]
    sent = json.loads(golden.body)
    for name, value in sent.items():
        if len(backs) > 1 and isinstance(value, list) and any(back[name] != value for back in backs):
            assert Counter(value) == Counter(entry for back in backs for entry in back[name])
        else:
            assert [back[name] for back in backs] == [value] * len(backs)
    assert all(back.keys() == sent.keys() for back in backs)


@pytest.mark.parametrize("golden", CAPTURED, ids=named(CAPTURED))
def test_who_is_named_is_the_subject_and_nobody_asks_for_a_comparison(golden: Golden) -> None:
    records = [record["value"] for record in golden.document["after"]]
    spec = catalogue[records[0]["type"].removeprefix("com.dingtalk.")]
    nameless = [record for record in records if "subject" not in record]
    assert golden.document["compare"] == ["contacts" for _ in nameless if spec.subject is not None]
    for record in records:
        corp, _, subject = record["partitionkey"].partition(":")
        assert (corp, subject) == (record["source"].split("/")[2], record.get("subject", ""))


KNOWN = {
    name.lower()
    for event_type in catalogue
    for spelling in catalogue[event_type].spellings.values()
    for wire, field in spelling.fields.items()
    for name in (wire, field.name)
}
unknown_fields = st.dictionaries(texts.filter(lambda name: name.lower() not in KNOWN), values, max_size=3)


@settings(max_examples=sized(80, 2_000))
@given(st.sampled_from(CAPTURED), unknown_fields, st.randoms(use_true_random=False))
def test_another_order_and_fields_that_nobody_knows_change_nothing_else(
    golden: Golden, more: dict[str, Any], rng: random.Random
) -> None:
    payload = json.loads(golden.body)
    items = list((more | payload).items())
    rng.shuffle(items)
    changed = compact(dict(items)).encode()
    assert extract_facts(changed) == extract_facts(golden.body)

    def facts(body: bytes) -> list[tuple[Any, ...]]:
        found = []
        for record in to_records(Received(1, "j1", 1_731_000_000_000, "default", golden.via, body)):
            event = decode(record.value)
            data = {name: value for name, value in event.data.items() if name not in more or name in payload}
            named = event.id if ":" in event.id else None  # else it is a hash of the bytes
            found.append(
                (event.type, event.subject, event.time, event.form, record.resync, record.key, named, data)
            )
        return found

    assert facts(changed) == facts(golden.body)


@pytest.mark.parametrize("golden", STREAM, ids=named(STREAM))
def test_a_frame_that_is_pushed_again_is_the_same_event(golden: Golden) -> None:
    first, again = (golden.frame("m1", 1_731_000_000_400), golden.frame("m2", 1_731_000_060_400))
    (entry, facts), (repeated, _) = (new_callback(read(frame), "default") for frame in (first, again))
    assert (entry.body, entry.key) == (repeated.body, repeated.key)
    assert entry.signature_key is None
    headers = golden.document["headers"]
    assert (facts.event_type, facts.corp_id) == (headers["eventType"], headers["eventCorpId"])
    assert (facts.event_id, facts.time_ms) == (headers["eventId"], int(headers["eventBornTime"]))
    kept = json.loads(entry.body)
    assert {"EventType", "CorpId", "EventTime", "eventId"} <= kept.keys()
    assert golden.document["data"].items() <= kept.items()


def test_each_says_where_it_is_from_and_what_was_filled_in() -> None:
    for golden in CAPTURED:
        document = golden.document
        assert golden.path.stem.startswith(f"{document['source']}-{document['year']}-")
        assert isinstance(document["filled"], list)
    assert len(CAPTURED) >= 25 + 3
    assert {golden.via for golden in CAPTURED} == {"http", "stream", "failed-list"}
