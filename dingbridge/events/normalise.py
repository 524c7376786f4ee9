"""One spelling for DingTalk's two payload generations, and the way back.

Responsible for: renaming top-level fields to camelCase, giving ids, times and lists one type, and
undoing both exactly. Not responsible for envelopes, or for what a field means.

Forwards, a name changes only if it is exactly the catalogue's spelling for the payload's form and
its camelCase name is free in this payload. Everything below the top level, every other spelling and
every unknown type stay as they came. ``EventType`` leaves the data: the envelope's ``type`` says it.

Backwards, the catalogue's spelling is restored. A name for which that would be wrong, because the
payload used the camelCase name by itself, is remembered in ``Normalised.verbatim``.
"""

import re
from collections.abc import Collection
from dataclasses import dataclass
from decimal import Decimal
from functools import lru_cache
from typing import Any, NamedTuple

from dingbridge.events.catalogue import EventSpec, Field, Form, Spelling
from dingbridge.events.facts import Names, event_type_name

_DIGITS = re.compile(r"0|[1-9][0-9]{0,18}")  # as an integer would be written, so that the way back is exact
_NO_SPELLING = Spelling({}, {})


@dataclass(frozen=True, slots=True, eq=False)
class Layout:
    """The canonical ``names`` of payloads that are normalised alike, in their order: one object for all of
    them, by which can be remembered what follows from the names."""

    spec: EventSpec | None
    form: Form
    names: Names


class Normalised(NamedTuple):
    """``form`` is DingTalk's payload generation; ``data`` is the payload with canonical names and types;
    ``verbatim`` names those of its keys that must not be respelled on the way back."""

    form: Form
    data: dict[str, Any]
    verbatim: tuple[str, ...]
    layout: Layout


class _Plan(NamedTuple):
    """What is done to payloads of one type that hold the same names in the same order: ``names`` are the
    canonical ones in that order (empty: all are already), with the ``EventType`` also where it ``leaves``;
    ``conversions`` those whose values have a canonical type, with that type's class where one look at it is
    enough."""

    names: Names
    leaves: bool
    conversions: tuple[tuple[str, Field, type | None], ...]
    verbatim: tuple[str, ...]
    layout: Layout


def normalise(payload: dict[str, Any], event_type: str, spec: EventSpec | None) -> Normalised:
    """``payload`` as DingTalk sent it (an object that was read by ``strict_json``)."""
    usual = payload.get("EventType") == event_type
    type_name = "EventType" if usual else event_type_name(payload, event_type)
    plan = _plan(spec, type_name, tuple(payload))
    # both are of one length, and `strict` costs
    data = dict(zip(plan.names, payload.values())) if plan.names else payload.copy()  # noqa: B905
    if plan.leaves:
        del data["EventType"]
    for name, field, settled in plan.conversions:
        value = data[name]
        if type(value) is not settled:
            data[name] = convert(value, field)
    return Normalised(plan.layout.form, data, plan.verbatim, plan.layout)


@lru_cache(maxsize=1_000)
def _plan(spec: EventSpec | None, type_name: str, names: Names) -> _Plan:
    form: Form = "unknown" if spec is None else spec.form_of(names)
    spelling = spelling_of(spec, form)
    fields, back = spelling.fields, spelling.back
    taken = frozenset(names)
    canonical: list[str] = []
    conversions: list[tuple[str, Field, type | None]] = []
    verbatim: list[str] = [] if type_name == "EventType" else [type_name]
    for name in names:
        if name == "EventType" == type_name:
            canonical.append(name)
            continue
        field = fields.get(name)
        if field is not None and field.name != name and field.name in taken:
            canonical.append(name)  # its camelCase name is taken: it keeps its own, value and all
            continue
        canonical.append(name if field is None else field.name)
        if field is not None and (field.mark or field.is_list):
            conversions.append((field.name, field, _settled(field)))
        if canonical[-1] == name and name in back and back[name] not in taken:
            verbatim.append(name)
    leaves = type_name == "EventType"
    layout = Layout(spec, form, tuple(name for name in canonical if not (leaves and name == "EventType")))
    renamed = () if tuple(canonical) == names else tuple(canonical)
    return _Plan(renamed, leaves, tuple(conversions), tuple(verbatim), layout)


def _settled(field: Field) -> type | None:
    """The class whose instances ``convert`` leaves as they are; None where it looks into all of them."""
    if field.is_list:
        return None if field.mark else list
    return str if field.mark == "id" else int


def denormalise(
    data: dict[str, Any], event_type: str, spec: EventSpec | None, form: Form, verbatim: Collection[str]
) -> dict[str, Any]:
    """The inverse: DingTalk's names exactly, ``EventType`` first, types as the catalogue gives them."""
    spelling = spelling_of(spec, form)
    payload: dict[str, Any] = {}
    if not any(name.lower() == "eventtype" for name in verbatim):
        payload["EventType"] = event_type
    for name, value in data.items():
        spelled = spelling.back.get(name)
        if spelled is not None and spelled not in data and name not in verbatim:
            payload[spelled] = restore(value, spelling.fields[spelled])
            continue
        field = spelling.fields.get(name)
        payload[name] = restore(value, field) if field is not None and field.name == name else value
    return payload


def spelling_of(spec: EventSpec | None, form: Form) -> Spelling:
    """The spelling of a form; one that changes nothing where the catalogue has none."""
    return _NO_SPELLING if spec is None else spec.spellings.get(form, _NO_SPELLING)


def convert(value: Any, field: Field) -> Any:
    """A wire value to its canonical type; what does not fit is left as it is."""
    if field.is_list and value is not None and not isinstance(value, list):
        value = [value]
    if not field.mark:
        return value
    if field.mark == "id":
        return list(map(_id, value)) if isinstance(value, list) else _id(value)
    if isinstance(value, str) and _DIGITS.fullmatch(value):
        return int(value)
    return value


def restore(value: Any, field: Field) -> Any:
    """A canonical value to the type that the catalogue gives for the wire."""
    if field.mark == "id":
        if field.wire == "list[int]" and isinstance(value, list):
            return [_integer(item) for item in value]
        return _integer(value) if field.wire == "int" else value
    if field.mark == "ms" and field.wire == "str" and isinstance(value, int) and not isinstance(value, bool):
        return str(value) if 0 <= value < 10**19 else value  # exactly what ``convert`` made an int of
    return value


def _id(value: Any) -> Any:
    """Identifiers are text everywhere: DingTalk sends one and the same as 61056035232 and as
    "61056035232", and JavaScript's numbers end at 2**53."""
    if isinstance(value, str):
        return value
    if isinstance(value, int) and not isinstance(value, bool):
        return str(value)
    if isinstance(value, Decimal) and value == value.to_integral_value() and value.as_tuple().exponent == 0:
        return str(value)
    return value


def _integer(value: Any) -> Any:
    if isinstance(value, str) and len(value) <= 4000 and re.fullmatch(r"-?[1-9][0-9]*|0", value):
        return int(value)
    return value
