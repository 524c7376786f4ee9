"""The contract, file by file: callbacks of each family, and those that DingTalk was seen to send."""

import json
import random
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dingbridge.events import Received, catalogue, decode, extract_facts, to_records
from dingbridge.ingress.stream.frames import new_callback, read
from dingbridge.schema.drift import drift_in
from tests.support.sizes import sized
from tests.unit.events.golden import Golden, compact, load_all, load_captured
from tests.unit.events.strategies import texts, values

CAPTURED = load_captured()
GOLDENS = load_all() + CAPTURED
STREAM = [golden for golden in CAPTURED if golden.via == "stream"]


def name_of(golden: Golden) -> str:
    return golden.path.stem


@pytest.mark.parametrize("golden", GOLDENS, ids=name_of)
def test_golden(golden: Golden) -> None:
    # Compared as text: 1 and 1.0 and True are equal in Python, and not to a reader.
    found = golden.outcome()
    assert json.dumps(found, indent=1) == json.dumps({n: golden.document[n] for n in found}, indent=1)
    if golden in CAPTURED:
        assert [record["fault"] for record in found["after"]] == [None] * len(found["after"])
        # what is put together from a list is not asked for drift, and has none either
        [first, *_] = to_records(Received(1, "j1", 1, "default", "http", golden.body), drift_in)
        assert (first.known, first.drift) == (True, ())


def test_the_form_of_the_content_hash_is_fixed() -> None:
    """Changing it would make every stored dedupe key and inbox row miss its repeat on upgrade."""
    golden = next(g for g in GOLDENS if g.path.stem == "contact.old-org_change")
    assert golden.body == b'{"EventType":"org_change","TimeStamp":"1731000000123","CorpId":"dingcorp01"}'
    value = golden.outcome()["after"][0]["value"]
    assert value["id"] == "f4747745d2fb6e691ac275a15677b099db083a8df1c77b83c51c52d59a07747c"


KNOWN = {
    name.lower()
    for event_type in catalogue
    for spelling in catalogue[event_type].spellings.values()
    for wire, field in spelling.fields.items()
    for name in (wire, field.name)
}
unknown_fields = st.dictionaries(texts.filter(lambda name: name.lower() not in KNOWN), values, max_size=3)


@settings(max_examples=sized(80, 2_000, quick=30))
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


@pytest.mark.parametrize("golden", STREAM, ids=name_of)
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
