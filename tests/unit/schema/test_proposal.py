"""An entry that is proposed for an unknown type fits all that was seen of it."""

import json
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from dev.schemas.proposal import Observed
from dingbridge.events import Catalogue, catalogue, to_records
from dingbridge.events.envelope import Drift
from dingbridge.events.examples import example_callbacks
from dingbridge.events.normalise import normalise
from dingbridge.events.strict_json import loads
from dingbridge.schema.drift import FIELD, drift_of
from tests.support.sizes import sized
from tests.unit.events.strategies import encode, received, values

NAMES = st.sampled_from(
    [
        *("UserId", "userIds", "deptId", "dept_name", "createTime", "FinishTime", "title", "body"),
        *("EventTime", "CorpId", "BizId", "eventId", "corpid", "event_type", "韩梅梅", "a?"),
    ]
)
"""No two of them are spellings of one name: types of such a pair may differ, and an entry has one."""


def drift(entry: dict[str, Any], callback: dict[str, Any]) -> tuple[Drift, ...]:
    """Of a callback, once the catalogue has this entry."""
    document = {"newEnvelope": catalogue.envelope, "families": {}, "fields": {}}
    spec = Catalogue({**document, "events": {"brand_new": json.loads(json.dumps(entry))}}).get("brand_new")
    assert spec is not None
    form, data, *_ = normalise(loads(encode(callback)), "brand_new", spec)
    return drift_of(spec, form, data)


def observed(callbacks: list[dict[str, Any]]) -> Observed:
    seen = Observed()
    for callback in callbacks:
        [record] = to_records(received(encode({"EventType": "brand_new", **callback})))
        seen.add(loads(record.value)["data"])
    return seen


@settings(max_examples=sized(30, 500, quick=10))
@given(st.lists(st.dictionaries(NAMES, values, max_size=8), min_size=1, max_size=5))
def test_what_was_seen_does_not_drift_from_what_is_proposed(callbacks: list[dict[str, Any]]) -> None:
    entry = observed(callbacks).entry()
    for callback in callbacks:
        found = drift(entry, {"EventType": "brand_new", **callback})
        left_out = [name for name in callback if not FIELD.fullmatch(name)]
        assert found == ((Drift("unknown_field", "?"),) if left_out else ())


def test_every_recorded_callback_gets_an_entry_that_it_fits() -> None:
    for event_type in catalogue:
        bodies = [{k: v for k, v in c.items() if k != "EventType"} for c in example_callbacks(event_type)]
        entry = observed(bodies).entry()
        for body in bodies:
            assert drift(entry, {"EventType": "brand_new", **body}) == (), event_type


def test_an_entry_is_what_a_person_would_have_written() -> None:
    head = {"EventTime": 1764057600000, "CorpId": "c", "BizId": "b", "eventId": "e"}
    one = {**head, "userIds": ["u1", "u2"], "createTime": "1764057600000", "level": 3, "rate": 0.5}
    other = {**head, "userIds": ["u3"], "createTime": "1764057600001", "level": 4, "rate": 1}
    more = {"body": {"taskId": "t", "done": True, "at": 1764057600000}, "list": [{"a": 1}, {"b": [1, 2]}]}
    assert observed([{**one, **more}, other]).entry() == {
        "title": {"zh": "", "en": ""},
        "family": "",
        "page": "",
        "new": {
            "userIds": "list[str] id",
            "createTime": "str ms",
            "level": "int",
            "rate": "float",
            "body?": {"taskId": "str id", "done": "bool", "at": "int ms"},
            "list?": [{"a": "int", "b": "list[int]"}],
        },
    }


def test_what_is_keyed_by_people_is_no_list_of_fields() -> None:
    by_name, by_number = {"韩梅梅": 1, "a": 2}, {f"u{n}": n for n in range(300)}
    entry = observed([{"scores": by_name, "users": by_number, "13800000000": 1}]).entry()
    assert entry["old"] == {"scores": "object", "users": "object"}


def test_only_the_names_that_todays_head_always_has_make_it_todays_form() -> None:
    head = {"EventTime": 1764057600000, "CorpId": "c", "BizId": "b", "eventId": "e"}
    old = observed([head, {"eventId": "e"}]).entry()["old"]
    assert old.keys() == {"EventTime?", "CorpId?", "BizId?", "eventId"}
    assert observed([head]).entry()["new"] == {}
    assert observed([head, {name: head[name] for name in head if name != "BizId"}]).entry()["new"] == {}
