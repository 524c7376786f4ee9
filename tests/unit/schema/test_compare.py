"""What breaks readers is said, with the reason; what breaks nobody passes. ``jsoncompat`` judges, too."""

import json
from collections.abc import Callable
from copy import deepcopy
from typing import Any

import jsoncompat
import jsonschema
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dev.schemas.compare import Change, Contract, compare
from dev.schemas.files import ROOT
from dev.schemas.subset import differences
from tests.support.sizes import sized

DOCUMENT = json.loads((ROOT / "schemas/asyncapi.json").read_bytes())
CATALOGUE = json.loads((ROOT / "schemas/catalogue.json").read_bytes())
SUBJECTS = {name: entry.get("subject") for name, entry in CATALOGUE["events"].items()}
TYPE = "bpms_instance_change"
EVENTS = sorted(CATALOGUE["events"])
Json = dict[str, Any]


def small(*names: str) -> Json:
    """The committed document with these channels alone."""
    channels = {name: DOCUMENT["channels"][name] for name in names}
    operations = {
        name: operation
        for name, operation in DOCUMENT["operations"].items()
        if operation["channel"]["$ref"].removeprefix("#/channels/") in names
    }
    return deepcopy({**DOCUMENT, "channels": channels, "operations": operations})


def message(document: Json, name: str = TYPE) -> Json:
    found: Json = next(iter(document["channels"][name]["messages"].values()))
    return found


def data(document: Json, name: str = TYPE) -> Json:
    found: Json = message(document, name)["payload"]["properties"]["data"]
    return found


def changes(change: Callable[[Json], Any], name: str = TYPE) -> list[Change]:
    """What is said of the committed contract once ``change`` was made to it."""
    new = small(name)
    change(new)
    return compare(Contract(small(name), SUBJECTS), Contract(new, SUBJECTS))


def field(name: str, schema: Json) -> Callable[[Json], None]:
    return lambda document: data(document)["properties"].__setitem__(name, schema)


def header(name: str) -> Callable[[Json], Any]:
    def change(document: Json) -> None:
        schema = message(document)["headers"]
        del schema["properties"][name]
        schema["required"].remove(name)

    return change


def key(document: Json) -> None:
    message(document)["bindings"]["kafka"]["key"]["description"] = "`<corpId>:<user>`, in UTF-8."


def raise_version(document: Json) -> None:
    schema = message(document)["payload"]["properties"]["dataschema"]
    schema["examples"] = [f"urn:dingbridge:{TYPE}:2"]


BREAKS: dict[str, tuple[Callable[[Json], Any], str, str]] = {
    "a field is removed": (lambda d: data(d)["properties"].pop("title"), "data.title", "finds nothing"),
    "a field is retyped": (field("title", {"type": "integer"}), "data.title", "decode"),
    "a field has no type any more": (field("title", {}), "data.title", "decode"),
    "a required field is optional": (
        lambda d: data(d)["required"].remove("processInstanceId"),
        "data.processInstanceId",
        "absent",
    ),
    "a time may be beyond what JavaScript reads": (
        field("createTime", {"type": "integer", "minimum": 0}),
        "data.createTime",
        "room",
    ),
    "an enum has grown": (
        lambda d: message(d)["payload"]["properties"]["form"]["enum"].append("newer"),
        "form",
        "closed list",
    ),
    "a constant is another": (
        lambda d: message(d)["payload"]["properties"]["type"].update(const="com.dingtalk.x"),
        "type",
        "closed list",
    ),
    "a time is written otherwise": (
        lambda d: message(d)["payload"]["properties"]["time"].pop("format"),
        "time",
        "form",
    ),
    "the envelope lacks an attribute": (
        lambda d: message(d)["payload"]["properties"].pop("sequence"),
        "sequence",
        "finds nothing",
    ),
    "the key is another": (key, "key", "order"),
    "a header is removed": (header("dingbridge-corp"), "header dingbridge-corp", "finds nothing"),
    "the topic is another": (
        lambda d: d["channels"][TYPE].update(address="events.approvals"),
        "topic",
        "gets nothing",
    ),
    "the topic is gone": (lambda d: d["channels"].clear(), "topic", "gets nothing"),
    "the content type is another": (
        lambda d: message(d).update(contentType="application/avro"),
        "content type",
        "parser",
    ),
    "a keyword that we do not know": (
        field("title", {"type": "string", "not": {"const": ""}}),
        "data.title",
        "nobody can say",
    ),
}


@pytest.mark.parametrize("case", BREAKS)
def test_what_breaks_readers_is_said_with_its_place_and_reason(case: str) -> None:
    change, path, why = BREAKS[case]
    found = changes(change)
    assert [(one.topic, one.path, one.breaks, one.announced) for one in found] == [(TYPE, path, True, False)]
    assert why in found[0].why


PASSES: dict[str, Callable[[Json], Any]] = {
    "nothing is changed": lambda d: None,
    "a new optional field": field("brandNew", {"type": "string"}),
    "a field is promised": lambda d: data(d)["required"].append("title"),
    "an enum has shrunk": lambda d: message(d)["payload"]["properties"]["form"]["enum"].remove("unknown"),
    "narrower limits": field("createTime", {"type": "integer", "minimum": 1, "maximum": 2**52}),
    "words": lambda d: data(d).update(title="Other", description="…", examples=[{}]),
    "one more header": lambda d: message(d)["headers"]["properties"].update(more={"type": "string"}),
    "values that matter": lambda d: data(d)["properties"]["type"].update(examples=["start", "brand-new"]),
}


@pytest.mark.parametrize("case", PASSES)
def test_what_breaks_nobody_passes(case: str) -> None:
    assert [one for one in changes(PASSES[case]) if one.breaks] == []


def test_new_fields_and_topics_are_listed_as_what_they_are() -> None:
    added = changes(PASSES["a new optional field"])
    assert [(one.path, one.words, one.breaks) for one in added] == [("data.brandNew", "added", False)]
    [topic] = compare(Contract(small()), Contract(small(TYPE)))
    assert (topic.topic, topic.path, topic.words, topic.breaks) == (TYPE, "topic", "added", False)


def test_a_new_version_announces_what_breaks_in_data_alone() -> None:
    def both(document: Json) -> None:
        raise_version(document)
        data(document)["properties"].pop("title")
        key(document)

    assert {one.path: one.announced for one in changes(both)} == {"key": False, "data.title": True}


def test_a_new_first_number_of_the_contract_announces_everything() -> None:
    def all_of_it(document: Json) -> None:
        document["info"]["version"] = "2.0.0"
        data(document)["properties"].pop("title")
        key(document)

    assert all(one.announced for one in changes(all_of_it))


def test_a_key_made_of_other_fields_is_another_key_though_it_is_called_the_same() -> None:
    other = {**SUBJECTS, TYPE: {**SUBJECTS[TYPE], "fields": ["businessId"]}}
    [found] = compare(Contract(small(TYPE), SUBJECTS), Contract(small(TYPE), other))
    assert (found.path, found.breaks) == ("key", True)
    assert "businessId" in found.words


# --- what other systems send us: the other way round ---


def todo(document: Json) -> Json:
    """The schema of a to-do's data, which other systems send."""
    found: Json = document["channels"]["outbound"]["messages"]["todo.desired"]["payload"]
    inner: Json = found["properties"]["data"]
    return inner


SENDERS_BREAK: dict[str, Callable[[Json], Any]] = {
    "a field is refused": lambda d: todo(d)["properties"].pop("dueTime"),
    "a field is required": lambda d: todo(d)["required"].append("dueTime"),
    "a field is retyped": lambda d: todo(d)["properties"].update(dueTime={"type": "string"}),
    "null is refused": lambda d: todo(d)["properties"].update(description={"type": "string"}),
    "a text must be shorter": lambda d: todo(d)["properties"]["subject"].update(maxLength=10),
    "a kind of message is refused": lambda d: d["channels"]["outbound"]["messages"].pop("todo.done"),
}


@pytest.mark.parametrize("case", SENDERS_BREAK)
def test_what_is_refused_of_those_who_send_us_breaks_them(case: str) -> None:
    found = changes(SENDERS_BREAK[case], "outbound")
    assert len({one.path for one in found}) == 1
    assert all(one.breaks for one in found)


@pytest.mark.parametrize(
    "change",
    [
        lambda d: todo(d)["properties"].update(colour={"type": "string"}),
        lambda d: todo(d)["required"].remove("url"),
        lambda d: todo(d)["properties"]["subject"].update(maxLength=5000),
        lambda d: d["channels"]["outbound"]["messages"].update(more=d["channels"]["outbound"]["messages"]),
    ],
    ids=["one more field", "a field is optional", "a longer text", "one more kind of message"],
)
def test_what_is_taken_besides_breaks_no_sender(change: Callable[[Json], Any]) -> None:
    assert [one for one in changes(change, "outbound") if one.breaks] == []


# --- the independent judge ---

SCALARS: list[Json] = [
    {"type": "string"},
    {"type": "boolean"},
    {"type": "number"},
    {"type": "integer", "minimum": 0, "maximum": 2**53 - 1},
    {"type": "integer", "minimum": -5, "maximum": 5},
    {"type": "string", "enum": ["a", "b"]},
    {"type": "string", "enum": ["a"]},
    {"type": "string", "const": "a"},
    {"type": "string", "maxLength": 8},
    {"type": "array", "items": {"type": "string"}},
    {"type": "array", "items": {"type": "integer"}, "maxItems": 3},
    {"type": "object", "properties": {"x": {"type": "string"}}, "additionalProperties": True},
    {"anyOf": [{"type": "string"}, {"type": "null"}]},
    {},
]


@st.composite
def changed(draw: st.DrawFn) -> tuple[Json, Json]:
    """The schema of a type's whole record as it is, and after up to three changes."""
    old = message(small(name := draw(st.sampled_from(EVENTS))), name)["payload"]
    new = deepcopy(old)
    for _ in range(draw(st.integers(0, 3))):
        owner = draw(st.sampled_from([new, new["properties"].get("data", new)]))
        names = sorted(owner.get("properties", {"made": {}}))
        target = draw(st.sampled_from(names))
        what = draw(st.sampled_from(["remove", "retype", "add", "require", "loosen"]))
        properties = owner.setdefault("properties", {})
        required = owner.setdefault("required", [])
        if what == "remove" and target != "data":
            properties.pop(target, None)
        elif what == "retype" and target != "data":
            properties[target] = draw(st.sampled_from(SCALARS))
        elif what == "add":
            properties[f"new_{target}"] = draw(st.sampled_from(SCALARS))
        elif what == "require" and target not in required:
            required.append(target)
        elif what == "loosen" and target in required:
            required.remove(target)
    return old, new


@settings(max_examples=sized(60, 500, quick=20))
@given(changed())
def test_jsoncompat_agrees_on_what_breaks_readers(pair: tuple[Json, Json]) -> None:
    old, new = pair
    # It looks at formats and patterns only beside an enum, and we do always.
    ours = [found for found in differences(new, old) if found.kind != "form"]
    assert jsoncompat.check_compat(formless(old), formless(new), "serializer") is (ours == []), ours


def formless(schema: Json) -> str:
    def without(found: Json) -> Json:
        return {k: v for k, v in found.items() if k not in ("format", "pattern") or isinstance(v, dict)}

    return json.dumps(json.loads(json.dumps(schema), object_hook=without))


@given(changed(), st.data())
def test_a_record_that_the_old_schema_refuses_was_no_surprise(
    pair: tuple[Json, Json], chosen: st.DataObject
) -> None:
    old, new = pair
    record = json.loads(jsoncompat.generate_value(json.dumps(new), 4))
    if not jsonschema.Draft7Validator(old).is_valid(record):
        assert [*differences(new, old)] != []
