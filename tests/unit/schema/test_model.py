"""What the model says of ``data`` is what normalising makes of a callback."""

from typing import Any

import pytest

from dingbridge.events import catalogue
from dingbridge.events.catalogue import Form
from dingbridge.events.normalise import normalise
from dingbridge.schema.model import Property, Shape, forms_of, model_of, union
from tests.support.cases import of_each

SAMPLES: dict[str, Any] = {"str": "x", "int": 7, "float": 0.5, "bool": True, "object": {}, "any": None}


def sent(wire: str, mark: str) -> Any:
    """A value as DingTalk sends it."""
    if wire.startswith("list["):
        return [sent(wire.removeprefix("list[").removesuffix("]"), mark)]
    return "1731000000000" if (wire, mark) == ("str", "ms") else SAMPLES[wire]


def fits(value: Any, shape: Shape) -> bool:
    if shape.type == "array":
        return isinstance(value, list) and all(
            shape.items is None or fits(item, shape.items) for item in value
        )
    python = {"string": str, "integer": int, "number": (int, float), "boolean": bool, "object": dict}
    return shape.type == "any" or isinstance(value, python[shape.type])  # type: ignore[arg-type]


def properties(event_type: str, form: Form | None = None) -> dict[str, Property]:
    spec = catalogue.get(event_type)
    assert spec is not None
    return {found.name: found for found in model_of(spec, form).properties}


@of_each(catalogue)
def test_a_documented_callback_is_normalised_to_what_the_model_says(event_type: str) -> None:
    spec = catalogue.get(event_type)
    assert spec is not None
    for form in forms_of(spec):
        payload = {name: sent(f.wire, f.mark) for name, f in spec.spellings[form].fields.items()}
        normalised = normalise({"EventType": event_type} | payload, event_type, spec)
        assert normalised.form == form
        of_form, of_all = properties(event_type, form), properties(event_type)
        assert {name for name, found in of_form.items() if found.required} <= normalised.data.keys()
        for name, value in normalised.data.items():
            assert fits(value, of_form[name].shape), (name, value, of_form[name])
            assert fits(value, of_all[name].shape), (name, value, of_all[name])


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
