"""Callbacks of one EventType as DingTalk sends them, for the test of a new consumer.

From the simulator, which lives a company's life until it has announced some, for the types that it knows;
of any other type one that is filled in by the catalogue, which has DingTalk's documented fields.
"""

import itertools
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from dingbridge.events import EventSpec, Field, catalogue
from simulator.company.events import PlatformEvent
from simulator.company.platform import Platform

BEGIN_MS = 1_764_057_600_000
"""2025-11-25T08:00:00Z."""

MOST = 3
"""Callbacks of one type."""

LIFE = 400
"""Things that happen in the simulated company before we stop to wait for a type."""

_TEXTS = {"ms": str(BEGIN_MS), "id": "{name}-0001", "": "示例"}
_VALUES: dict[str, Any] = {"int": 1, "bool": True, "float": 1.5, "object": {}}


@dataclass(frozen=True, slots=True)
class Samples:
    """``callbacks`` in the order in which they came; ``origin`` in words."""

    callbacks: list[dict[str, Any]]
    origin: str


def samples(event_types: tuple[str, ...]) -> dict[str, Samples]:
    """At least one callback of each of ``event_types``, which the catalogue has; the same every time."""
    lived = _lived(event_types)
    found = {}
    for event_type in event_types:
        if lived[event_type]:
            found[event_type] = Samples(lived[event_type], "as the simulator sends it")
        else:
            found[event_type] = Samples([_filled_in(event_type)], "by DingTalk's documented fields")
    return found


def _lived(event_types: tuple[str, ...]) -> dict[str, list[dict[str, Any]]]:
    clock = itertools.count(BEGIN_MS, 1_000)
    company = Platform(seed=5, users=12, departments=4, clock=lambda: next(clock))
    found: dict[str, list[dict[str, Any]]] = {event_type: [] for event_type in event_types}
    kinds: dict[str, set[object]] = {event_type: set() for event_type in event_types}
    for happened in _life(company):
        for event in happened:
            payload = event.payload
            # one of each kind tells more than three alike: started, agreed, refused; old and new form
            kind = (payload.get("type"), payload.get("result"), None if "type" in payload else len(payload))
            wanted = kinds.get(event.event_type)
            if wanted is not None and kind not in wanted and len(wanted) < MOST:
                wanted.add(kind)
                found[event.event_type].append(payload)
        if all(len(seen) == MOST for seen in kinds.values()):
            break
    return found


def _life(company: Platform) -> Iterator[list[PlatformEvent]]:
    """First two leaves of absence, one agreed and one refused; then whatever happens."""
    for decision in ("approve", "refuse"):
        started = company.act("start_approval", {"process_code": "PROC-LEAVE"})
        yield started
        instance = started[0].payload["processInstanceId"]
        yield company.act(decision, {"process_instance_id": instance, "instance_first": False})
    for _ in range(LIFE):
        yield company.act_at_random()


def _filled_in(event_type: str) -> dict[str, Any]:
    spec = catalogue.get(event_type)
    if spec is None:
        raise KeyError(event_type)
    form = "new" if "new" in spec.spellings else next(iter(spec.spellings))
    fields = spec.spellings[form].fields
    payload = {name: _value(field, spec) for name, field in fields.items()}
    return {"EventType": event_type, **{n: v for n, v in payload.items() if n != "EventType"}}


def _value(field: Field, spec: EventSpec) -> Any:
    if spec.subject is not None and field.name == spec.subject.items:
        item = {name: f"{name}-0001" for name in spec.subject.fields}
        return [item | ({spec.subject.item_key: "item-0001"} if spec.subject.item_key else {})]
    wire = field.wire
    if field.is_list:
        inner = wire.removeprefix("list").strip("[]") or "str"
        return [_single(inner, field)]
    return _single(wire, field)


def _single(wire: str, field: Field) -> Any:
    if wire == "int":
        return BEGIN_MS if field.mark == "ms" else 1001
    if wire in _VALUES:
        return _VALUES[wire]
    return _TEXTS[field.mark].format(name=field.name)
