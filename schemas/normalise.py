"""One spelling for DingTalk's two payload generations, and the way back.

Responsible for: renaming top-level fields to camelCase, giving ids, times and lists one type, and
undoing both exactly. Not responsible for envelopes, or for what a field means.

Forwards, a name changes only if it is exactly the catalogue's spelling for the payload's form and
its camelCase name is free in this payload. Everything below the top level, every other spelling and
every unknown type stay as they came. ``EventType`` leaves the data: the envelope's ``type`` says it.

No two names of the data differ by case alone, since many readers (Spark, Hive, ksqlDB) take no notice
of it. DingTalk does send such names: ``CorpId`` and ``corpId`` in one payload. One of them keeps its
name, whatever the values are. Another of the same value is left out, one of another value is called
``<name>_2``.

Backwards, the catalogue's spelling is restored. What that could not know stands in
``Normalised.verbatim``: ``name`` for one that the payload spelled so by itself, ``name=Spelled`` where
``Spelled`` stood in the payload with the value that is now under ``name``.
"""

import re
from collections.abc import Collection, Iterable
from decimal import Decimal
from typing import Any, NamedTuple
from urllib.parse import quote, unquote

from schemas.catalogue import EventSpec, Field, Form, Spelling
from schemas.door import event_type_name
from schemas.remembered import Names, Remembered
from schemas.strictjson import dumps

_DIGITS = re.compile(r"0|[1-9][0-9]{0,18}")  # as an integer would be written, so that the way back is exact
_NO_SPELLING = Spelling({}, {})


class Normalised(NamedTuple):
    """``data`` is the payload with canonical names and types; ``verbatim`` is what the way back must know,
    in entries without commas (see the module's docstring)."""

    form: Form
    data: dict[str, Any]
    verbatim: tuple[str, ...]


class _Double(NamedTuple):
    """A name that differs from ``winner`` by case alone, and is called ``name`` if their values differ, too.
    ``same`` and ``other`` are what stands in ``verbatim`` in either case."""

    name: str
    winner: str
    same: str
    other: str


class _Plan(NamedTuple):
    """What is done to payloads of one type that hold the same names in the same order: ``names`` are the
    canonical ones of all but the EventType (which is at ``type_at``, if it leaves), ``conversions`` those
    whose values have a canonical type, with that type's class where one look at it is enough."""

    form: Form
    names: tuple[str, ...]
    type_at: int | None
    conversions: tuple[tuple[str, Field, type | None], ...]
    verbatim: tuple[str, ...]
    doubles: tuple[_Double, ...]


def normalise(payload: dict[str, Any], event_type: str, spec: EventSpec | None) -> Normalised:
    """``payload`` as DingTalk sent it (an object that was read by ``strictjson``)."""
    type_name = event_type_name(payload, event_type)
    plan = _plans[spec, type_name, tuple(payload)]
    values = list(payload.values())
    if plan.type_at is not None:
        del values[plan.type_at]
    data = dict(zip(plan.names, values, strict=True))
    for name, field, settled in plan.conversions:
        value = data[name]
        if type(value) is not settled:
            data[name] = convert(value, field)
    if plan.doubles:
        return Normalised(plan.form, data, plan.verbatim + tuple(_settle(data, plan.doubles)))
    return Normalised(plan.form, data, plan.verbatim)


def _make_plan(spec: EventSpec | None, type_name: str, names: Names) -> _Plan:
    form: Form = "unknown" if spec is None else spec.form_of(names)
    spelling = spelling_of(spec, form)
    fields, back = spelling.fields, spelling.back
    taken = frozenset(names)
    canonical: dict[str, str] = {}  # by the payload's name
    verbatim: list[str] = [] if type_name == "EventType" else [type_name]
    for name in names:
        if name == "EventType" == type_name:
            continue
        field = fields.get(name)
        # Where its camelCase name is taken, it keeps its own.
        canonical[name] = name if field is None or field.name in taken else field.name
        if canonical[name] == name and name in back and back[name] not in taken:
            verbatim.append(name)
    doubles = _doubles(canonical, type_name, spelling)
    for name, double in doubles.items():
        canonical[name] = double.name
    conversions: list[tuple[str, Field, type | None]] = []
    for name, to in canonical.items():
        field = fields.get(name)
        # One that kept its own name beside its camelCase one keeps its value, too.
        if field is not None and (field.name == to or name in doubles) and (field.mark or field.is_list):
            conversions.append((to, field, _settled(field)))
    type_at = names.index("EventType") if type_name == "EventType" else None
    return _Plan(
        form,
        tuple(canonical.values()),
        type_at,
        tuple(conversions),
        tuple(verbatim),
        tuple(doubles.values()),
    )


def _doubles(canonical: dict[str, str], type_name: str, spelling: Spelling) -> dict[str, _Double]:
    """Those names of a payload that differ from another by case alone, once they are canonical: all but one
    of each kind. That one is the EventType's, else the camelCase of an own spelling (as the envelope's
    ``corpId``), else a documented name, else the first in code point order."""

    def rank(name: str) -> tuple[bool, bool, bool, str]:
        to = canonical[name]
        field = spelling.fields.get(to)
        return name != type_name, to not in spelling.back, field is None or field.name != to, to

    kinds: dict[str, list[str]] = {}
    for name, to in canonical.items():
        kinds.setdefault(to.casefold(), []).append(name)
    found: dict[str, _Double] = {}
    taken = {name.casefold() for names in (kinds, spelling.fields, spelling.back) for name in names}
    for kind in [names for names in kinds.values() if len(names) > 1]:
        first, *others = sorted(kind, key=rank)
        winner, number = canonical[first], 1
        for name in others:
            number += 1
            while f"{winner}_{number}".casefold() in taken:
                number += 1
            free = f"{winner}_{number}"
            same, other = (f"{_escape(stands)}={_escape(name)}" for stands in (winner, free))
            found[name] = _Double(free, winner, same, other)
    return found


def _settle(data: dict[str, Any], doubles: Iterable[_Double]) -> Iterable[str]:
    """Leave out each double of the same value; what ``verbatim`` says of each."""
    for double in doubles:
        one, another = data[double.winner], data[double.name]
        # Compared as they would be written: 1, 1.0 and true are equal in Python, and not to a reader.
        if one is another or (type(one) is type(another) and dumps(one) == dumps(another)):
            del data[double.name]
            yield double.same
        else:
            yield double.other


def _escape(name: str) -> str:
    """A name as it may stand in ``verbatim``, which is one text of entries between commas."""
    return quote(name, safe="")


_plans: Remembered[tuple[EventSpec | None, str, Names], _Plan] = Remembered(_make_plan)


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
    plain, doubles = _read_verbatim(verbatim)
    doubled = {spelled for names in doubles.values() for spelled in names}
    payload: dict[str, Any] = {}
    if not any(name.lower() == "eventtype" for name in plain):
        payload["EventType"] = event_type
    for name, value in data.items():
        others = doubles.get(name, ())
        if not any(_is_other(name, spelled) for spelled in others):
            spelled = spelling.back.get(name)
            if spelled is None or spelled in data or spelled in doubled or name in plain:
                spelled = name
            field = spelling.fields.get(spelled)
            payload[spelled] = value if field is None or field.name != name else restore(value, field)
        for spelled in others:
            field = spelling.fields.get(spelled)
            payload[spelled] = value if field is None else restore(value, field)
    return payload


def _read_verbatim(entries: Iterable[str]) -> tuple[set[str], dict[str, list[str]]]:
    """The names that stand for themselves, and by name in the data those that stood for it, too."""
    plain: set[str] = set()
    doubles: dict[str, list[str]] = {}
    for entry in entries:
        name, is_double, spelled = entry.partition("=")
        if is_double:
            doubles.setdefault(unquote(name), []).append(unquote(spelled))
        else:
            plain.add(name)
    return plain, doubles


def _is_other(name: str, spelled: str) -> bool:
    """Is ``name`` one that was made up for ``spelled`` (``corpId_2``), and stood in no payload?"""
    return name.casefold() != spelled.casefold()


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
        return [_id(item) for item in value] if isinstance(value, list) else _id(value)
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
