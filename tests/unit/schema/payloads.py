"""Callbacks as the catalogue says that they come: for the property tests of the schemas."""

import random
from collections.abc import Iterator
from typing import Any

from hypothesis import strategies as st

from dingbridge.events import EventSpec, Field, catalogue
from dingbridge.events.catalogue import Form

EVERY: list[tuple[EventSpec, Form]] = [(spec, form) for spec in catalogue.values() for form in spec.spellings]
"""Each type in each of its payload generations."""

_texts = st.text(st.characters(codec="utf-8"), max_size=8)
_times = st.integers(1, 253_402_214_400_000)
_numbers = st.integers(-(2**53) + 1, 2**53 - 1)
_anything = st.one_of(st.none(), st.booleans(), _numbers, _texts, st.lists(_numbers, max_size=2))
_SCALARS: dict[str, st.SearchStrategy[Any]] = {
    "str": _texts,
    "int": _numbers,
    "float": st.one_of(st.floats(allow_nan=False, allow_infinity=False), _numbers),
    "bool": st.booleans(),
    "object": st.dictionaries(_texts, _anything, max_size=2),
    "any": _anything,
}


def value_of(field: Field, *, top: bool = True) -> st.SearchStrategy[Any]:
    """What DingTalk may put there, by the catalogue."""
    inner = field.wire.removeprefix("list[").removesuffix("]")
    one = _SCALARS[inner]
    if field.mark == "ms":
        one = _times.map(str) if inner == "str" else _times
    if field.nested:
        one = st.fixed_dictionaries({}, optional={f.name: value_of(f, top=False) for f in field.nested})
    return st.lists(one, max_size=3) if field.is_list else one


@st.composite
def callbacks(draw: st.DrawFn, spec: EventSpec, form: Form) -> dict[str, Any]:
    """A callback of this type and generation: what is optional may be absent, names in any order."""
    fields = spec.spellings[form].fields
    required = {name: value_of(field) for name, field in fields.items() if not field.optional}
    optional = {name: value_of(field) for name, field in fields.items() if field.optional}
    body = draw(st.fixed_dictionaries(required, optional=optional))
    names = [*body, "EventType"]
    draw(st.randoms(use_true_random=False)).shuffle(names)
    return {name: spec.event_type if name == "EventType" else body[name] for name in names}


def damaged(value: Any, rng: random.Random) -> Iterator[Any]:
    """``value`` with one thing in it replaced by what is of another type, or taken away."""
    if isinstance(value, dict) and value:
        name = rng.choice([*value])
        yield {key: inner for key, inner in value.items() if key != name}
        yield from ({**value, name: other} for other in damaged(value[name], rng))
    elif isinstance(value, list) and value:
        at = rng.randrange(len(value))
        yield from ([*value[:at], other, *value[at + 1 :]] for other in damaged(value[at], rng))
    yield from (None, True, "text", 0.5, -1, 2**53, {}, [], [None])
