"""Callbacks as DingTalk might send them, and as it never should: for the property tests."""

import json
from typing import Any

from hypothesis import strategies as st

from dingbridge.events import Received, catalogue

USUAL = st.sampled_from(
    [
        *("user_add_org", "org_dept_modify", "label_user_change", "attendance_check_record"),
        "attendance_schedule_change",
        *("bpms_task_change", "chat_add_member", "edu_card_update", "agoal_objective_add", "brand_new_event"),
    ]
) | st.sampled_from(sorted(catalogue))

texts = st.text(st.characters(codec="utf-8"), max_size=12)
integers = st.one_of(
    st.integers(-10, 10),
    st.integers(0, 2**33),
    st.integers(-(2**63), 2**64),
    st.integers(2**64, 10**40),
    st.integers(1_600_000_000_000, 1_900_000_000_000),
)
scalars = st.one_of(
    st.none(),
    st.booleans(),
    integers,
    integers.map(str),
    texts,
    st.floats(allow_nan=False, allow_infinity=False),
)
values = st.recursive(
    scalars,
    lambda inner: st.one_of(st.lists(inner, max_size=4), st.dictionaries(texts, inner, max_size=4)),
    max_leaves=8,
)
_items = st.lists(
    st.dictionaries(
        st.sampled_from(["bizId", "userId", "userid", "userIds", "USERIDS", "corpId", "checkTime"]),
        scalars | st.lists(scalars | st.sampled_from(["u1", "u2"]), max_size=5),
        max_size=5,
    ),
    max_size=4,
)


def _spellings(event_type: str) -> list[str]:
    spec = catalogue.get(event_type)
    if spec is None:
        return ["CorpId", "TimeStamp", "userId"]
    names: set[str] = set()
    for spelling in spec.spellings.values():
        for spelled, field in spelling.fields.items():
            names |= {spelled, field.name, spelled.lower(), spelled.upper()}
    return sorted(names)


@st.composite
def payloads(draw: st.DrawFn, event_types: st.SearchStrategy[str] | None = None) -> dict[str, Any]:
    """An object with an EventType: names in every spelling of its type, some of its own, any values."""
    event_type = draw(USUAL if event_types is None else event_types)
    names = st.one_of(st.sampled_from(_spellings(event_type)), texts)
    body: dict[str, Any] = draw(st.dictionaries(names, values, max_size=10))
    for name in [name for name in body if name.lower() == "datalist"]:
        body[name] = draw(_items)
    type_name = draw(st.sampled_from(["EventType", "EventType", "EventType", "eventType", "EVENTTYPE"]))
    for name in [name for name in body if name.lower() == "eventtype"]:
        del body[name]
    body[type_name] = event_type
    if draw(st.booleans()):
        body["eventType" if type_name == "EventType" else "EventType"] = draw(
            st.one_of(st.none(), st.just("other"))
        )
        if type_name != "EventType":
            body["EventType"] = None
    return dict(draw(st.permutations(list(body.items()))))


def encode(payload: Any) -> bytes:
    """As DingTalk sends it: no blanks, UTF-8."""
    return json.dumps(payload, ensure_ascii=False, separators=(",", ":")).encode()


def received(body: bytes, **changes: Any) -> Received:
    values: dict[str, Any] = {
        "seq": 7,
        "journal": "0f3c",
        "received_ms": 1731000000456,
        "app": "default",
        "via": "http",
    }
    return Received(**(values | changes), body=body)
