"""Drift: where real data differs from its type in the catalogue.

Responsible for finding it. The relay checks every callback, so the check is made once for each type, payload
generation and set of names, and then only compares classes. Not responsible for its consequences: schemas are
open, and drift never changes what is published.

It agrees with the JSON Schemas: data without ``missing`` and ``type`` findings is valid. An ``unknown_field``
is valid, too, and worth a look: DingTalk sends more than the catalogue has.
"""

import re
from collections.abc import Callable, Mapping
from decimal import Decimal
from functools import cache, lru_cache
from typing import Any, Final, NamedTuple

from dingbridge.events.catalogue import EventSpec, Form
from dingbridge.events.envelope import Drift
from dingbridge.events.normalise import Layout
from dingbridge.schema.model import MAX_INTEGER, JsonType, Shape, least_integer, model_of

_NONE: Final[tuple[Drift, ...]] = ()
FIELD: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_-]{0,63}")
"""A name that a field may have (to be matched whole)."""
STRANGE: Final = "?"
"""Stands for a name that is no identifier: keys of a map may be people's names, which are not logged."""

_CLASSES: Final[dict[JsonType, tuple[type, ...]]] = {
    "string": (str,),
    "integer": (int,),
    "number": (float, int, Decimal),
    "boolean": (bool,),
    "object": (dict,),
    "array": (list,),
}

# adds what it finds in a value to a set; the path leads to the value
_Look = Callable[[Any, str, set[Drift]], None]


def drift_of(spec: EventSpec, form: Form, data: Mapping[str, Any]) -> tuple[Drift, ...]:
    """How normalised ``data`` of one payload generation differs from the catalogue; sorted, each
    once, most often empty. Raises ``KeyError`` for a form that the type does not have."""
    properties, required = _properties(spec, form)
    found = {Drift("missing", name) for name in required.difference(data)}
    for name, value in data.items():
        if name not in properties:
            found.add(Drift("unknown_field", _shown(name)))
        else:
            _look(properties[name])(value, name, found)
    return tuple(sorted(found))


def drift_in(layout: Layout, data: Mapping[str, Any]) -> tuple[Drift, ...]:
    """The same, quickly, of what was just normalised. Empty for a type that is not in the catalogue."""
    plan = _plan(layout)
    if plan is None:
        return _NONE if layout.spec is None else drift_of(layout.spec, layout.form, data)
    for value, wanted in zip(data.values(), plan.classes):  # noqa: B905 - of one length; `strict` costs
        if type(value) is not wanted and (
            wanted is not None or type(value) is not int or not 0 <= value <= MAX_INTEGER
        ):
            assert layout.spec is not None  # noqa: S101 - it has a plan
            return drift_of(layout.spec, layout.form, data)
    if not plan.deeper:
        return _NONE
    found: set[Drift] = set()
    for name, look in plan.deeper:
        look(data[name], name, found)
    return tuple(sorted(found))


class _Plan(NamedTuple):
    """For data that holds the same names in the same order: if its values are of these ``classes`` (None: an
    integer of usual size), as they mostly are, only ``deeper`` something may be found. Else it is looked at
    value by value."""

    classes: tuple[type | None, ...]
    deeper: tuple[tuple[str, _Look], ...]


@lru_cache(maxsize=1_000)
def _plan(layout: Layout) -> _Plan | None:
    """None where there is drift in the names already, and for a type that is not in the catalogue."""
    if layout.spec is None:
        return None
    names, (properties, required) = layout.names, _properties(layout.spec, layout.form)
    if not required.issubset(names) or not all(name in properties for name in names):
        return None
    shapes = [(name, properties[name]) for name in names]
    return _Plan(
        tuple(_usual(shape) for _, shape in shapes),
        tuple((name, _look(shape)) for name, shape in shapes if shape.items or shape.properties),
    )


def _usual(shape: Shape) -> type | None:
    if shape.type == "integer":
        return None
    return str if shape.type == "any" else _CLASSES[shape.type][0]


@cache
def _properties(spec: EventSpec, form: Form) -> tuple[Mapping[str, Shape], frozenset[str]]:
    """The shape of each property by its name, and which are required."""
    properties = model_of(spec, form).properties
    shapes = {found.name: found.shape for found in properties}
    return shapes, frozenset(found.name for found in properties if found.required)


@cache  # as many as the catalogue has fields
def _look(shape: Shape) -> _Look:
    """The whole check of a value."""
    classes = frozenset(_CLASSES.get(shape.type, ()))
    is_any, is_integer, least = shape.type == "any", shape.type == "integer", least_integer(shape)
    items = None if shape.items is None else _look(shape.items)
    inner = {found.name: _look(found.shape) for found in shape.properties}

    def look(value: Any, path: str, found: set[Drift]) -> None:
        if is_any:
            return
        if type(value) not in classes or (is_integer and not least <= value <= MAX_INTEGER):
            found.add(Drift("type", path))
        elif items is not None:
            for entry in value:
                items(entry, path + "[]", found)
        elif inner:
            for name, part in value.items():
                if name in inner:
                    inner[name](part, f"{path}.{name}", found)
                else:
                    found.add(Drift("unknown_field", f"{path}.{_shown(name)}"))

    return look


def _shown(name: str) -> str:
    return name if FIELD.fullmatch(name) else STRANGE
