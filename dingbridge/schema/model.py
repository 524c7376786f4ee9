"""What a type's ``data`` holds once it is normalised.

Responsible for: the properties of ``data``, of one payload generation or of all that a type has, after
``dingbridge.events.normalise`` renamed and converted them. Not responsible for how that is written down
(``dev/schemas/json_schema.py``), or for checking data (``drift``).

Two rules. What is below the top level is as DingTalk sends it, so a nested id may be a number. And a
property is required if every generation has it and none says that callbacks come without it; below the top
level nothing is, since DingTalk documents examples there and no promise.
"""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from itertools import chain
from typing import Final, Literal

from dingbridge.events.catalogue import EventSpec, Field, Form, Spelling, Words

JsonType = Literal["string", "integer", "number", "boolean", "object", "array", "any"]
"""JSON Schema's names; ``any`` is what has no one type."""

Mark = Literal["ms", "id", ""]
"""``ms`` are epoch milliseconds, ``id`` an identifier."""

MAX_INTEGER: Final = 2**53 - 1
"""The largest integer that every language reads exactly: JavaScript's numbers end there."""

_TYPES: dict[str, JsonType] = {
    "str": "string",
    "int": "integer",
    "float": "number",
    "bool": "boolean",
    "object": "object",
    "any": "any",
}
_MARKS: dict[str, Mark] = {"ms": "ms", "id": "id", "": ""}


@dataclass(frozen=True, slots=True)
class Shape:
    """The type of a value. ``items`` is the shape of an array's entries; ``properties`` are those of an
    object, empty where they are not known. ``mark`` of an array stands on its entries."""

    type: JsonType
    mark: Mark = ""
    items: "Shape | None" = None
    properties: "tuple[Property, ...]" = ()


@dataclass(frozen=True, slots=True)
class Property:
    """One property of an object. ``required``: data without it drifts from the catalogue. ``values`` are
    those whose meaning is known; DingTalk may add more."""

    name: str
    shape: Shape
    required: bool
    values: tuple[tuple[str, Words], ...] = ()


@dataclass(frozen=True, slots=True)
class DataModel:
    """The ``data`` of one EventType: of the generations ``forms``."""

    event_type: str
    version: int
    forms: tuple[Form, ...]
    properties: tuple[Property, ...]


def forms_of(spec: EventSpec) -> tuple[Form, ...]:
    """The payload generations of a type, today's first."""
    order: tuple[Form, ...] = ("new", "old")
    return tuple(form for form in order if form in spec.spellings)


def model_of(spec: EventSpec, form: Form | None = None) -> DataModel:
    """What ``data`` of this type holds: in one form, or (``None``) in whichever it comes.

    Raises ``KeyError`` for a form that the type does not have.
    """
    forms = forms_of(spec) if form is None else (form,)
    merged: dict[str, Property] = {}
    for count, one in enumerate(forms):
        here = _properties(spec, spec.spellings[one])
        for name, found in here.items():
            known = merged.get(name)
            if known is not None:
                required = known.required and found.required
                merged[name] = replace(known, shape=union(known.shape, found.shape), required=required)
            else:  # what an earlier form had not is not in all of them
                merged[name] = replace(found, required=found.required and count == 0)
        for name in merged.keys() - here.keys():
            merged[name] = replace(merged[name], required=False)
    return DataModel(spec.event_type, spec.version, forms, tuple(merged.values()))


def union(one: Shape, other: Shape) -> Shape:
    """The narrowest shape that both are of."""
    if one == other:
        return one
    if {one.type, other.type} == {"integer", "number"}:
        return Shape("number")
    if one.type != other.type:
        return Shape("any")
    if one.items is not None and other.items is not None:
        return Shape("array", items=union(one.items, other.items))
    if one.type == "object":
        return Shape("object", properties=together(one.properties, other.properties))
    return Shape(one.type, one.mark if one.mark == other.mark else "")


def least_integer(shape: Shape) -> int:
    """The smallest integer that a value of this shape may be; the largest is ``MAX_INTEGER``."""
    return 0 if shape.mark == "ms" else -MAX_INTEGER


def together(*objects: Iterable[Property]) -> tuple[Property, ...]:
    """The properties of all these objects, each with the narrowest shape that all its values are of."""
    merged: dict[str, Property] = {}
    for found in chain.from_iterable(objects):
        known = merged.get(found.name, found)
        merged[found.name] = replace(known, shape=union(known.shape, found.shape))
    return tuple(merged.values())


def _properties(spec: EventSpec, spelling: Spelling) -> dict[str, Property]:
    found: dict[str, Property] = {}
    for field in spelling.fields.values():
        required = not field.optional
        if field.name in found:
            # ``EventTime`` beside ``eventTime``: the former has the name unless both are sent; then it stays
            # as it is spelled, value and all.
            before = spelling.back[field.name]
            found[before] = Property(before, _as_sent(spec, before, spelling.fields[before]), False)
            required = required or found[field.name].required
        shape = _converted(_as_sent(spec, field.name, field), field)
        found[field.name] = Property(field.name, shape, required, _values(spec, field.name))
    return found


def _converted(sent: Shape, field: Field) -> Shape:
    """After ``normalise``: times are integers, ids texts."""
    if not field.mark:
        return sent
    mark = _MARKS[field.mark]
    scalar = Shape("integer" if mark == "ms" else "string", mark)
    return Shape("array", items=scalar) if field.is_list else scalar


def _as_sent(spec: EventSpec, path: str, field: Field) -> Shape:
    if field.is_list:
        inner = field.wire.removeprefix("list[").removesuffix("]")
        return Shape("array", items=_scalar(spec, path, inner, field))
    return _scalar(spec, path, field.wire, field)


def _scalar(spec: EventSpec, path: str, wire: str, field: Field) -> Shape:
    inside = ((f"{path}.{inner.name}", inner) for inner in field.nested)
    properties = tuple(
        Property(inner.name, _as_sent(spec, where, inner), False, _values(spec, where))
        for where, inner in inside
    )
    return Shape(_TYPES[wire], _MARKS[field.mark], properties=properties)


def _values(spec: EventSpec, path: str) -> tuple[tuple[str, Words], ...]:
    return tuple(spec.values.get(path, {}).items())
