"""What the model says of ``data`` is what normalising makes of a callback."""

import json
from typing import Any

import pytest

from dev.schemas.files import ROOT
from dingbridge.events import catalogue
from dingbridge.events.catalogue import Form
from dingbridge.schema.model import Property, Shape, model_of, union

EXAMPLE = ROOT / "examples" / "scale" / "connect"
CONNECT = {"int64": "integer", "double": "number", "struct": "object"}


def properties(event_type: str, form: Form | None = None) -> dict[str, Property]:
    spec = catalogue.get(event_type)
    assert spec is not None
    return {found.name: found for found in model_of(spec, form).properties}


def test_a_field_is_required_if_every_generation_has_it() -> None:
    found = properties("bpms_task_change")
    assert found["processInstanceId"].required
    assert not found["eventId"].required  # of today's generation alone
    assert not found["result"].required  # in both, and in both not always
    assert properties("bpms_task_change", "new")["eventId"].required


def test_of_two_spellings_of_one_name_both_are_known() -> None:
    """Approvals of today have ``CorpId`` and ``corpId``: the former stays as it came, beside the latter."""
    found = properties("bpms_instance_change", "new")
    assert (found["corpId"].required, found["CorpId"].required) == (True, False)


def test_what_is_below_the_top_level_is_as_it_was_sent() -> None:
    items = properties("edu_card_update")["body"].shape.properties
    assert {found.name: found.shape.type for found in items}["cardId"] == "integer"
    assert not any(found.required for found in items)


def test_a_form_that_a_type_does_not_have() -> None:
    with pytest.raises(KeyError):
        properties("suite_relieve", "new")


@pytest.mark.parametrize(
    ("one", "other", "both"),
    [
        (Shape("string"), Shape("string"), Shape("string")),
        (Shape("string", "id"), Shape("string"), Shape("string")),
        (Shape("integer"), Shape("number"), Shape("number")),
        (Shape("integer", "ms"), Shape("string"), Shape("any")),
        (
            Shape("array", items=Shape("string")),
            Shape("array", items=Shape("integer")),
            Shape("array", items=Shape("any")),
        ),
    ],
)
def test_union(one: Shape, other: Shape, both: Shape) -> None:
    assert union(one, other) == both == union(other, one)


@pytest.mark.parametrize("table", ["approvals", "contacts"])
def test_the_fields_of_the_examples_for_connect_are_those_of_the_catalogue(table: str) -> None:
    connector = json.loads((EXAMPLE / f"{table}.json").read_text(encoding="utf-8"))
    assert connector["value.converter.schema.content"] == f"${{directory:schemas:{table}.json}}"
    schema = json.loads((EXAMPLE / "schemas" / f"{table}.json").read_text(encoding="utf-8"))
    [data] = (field["fields"] for field in schema["fields"] if field["field"] == "data")
    types = [topic.removeprefix("dingtalk.") for topic in connector["topics"].split(",")]
    known: dict[str, Any] = {}
    for event_type in types:
        known |= properties(event_type)
    for field in data:
        connect = CONNECT.get(field["type"], field["type"])
        assert known[field["field"]].shape.type == connect, field["field"]
