"""Writes ``schemas/examples/<EventType>.json``: callbacks of each EventType as DingTalk sends them.

They are for the tests of consumers, in any language: ``dingbridge new-consumer`` and the test kit read them.
From the simulator, which lives a company's life until it has announced some, for the types that it knows; of
any other type one that is filled in by the catalogue, which has DingTalk's documented fields. The same every
time; run ``python -m dev.examples`` after a change of the catalogue or of the simulator.
"""

import itertools
import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from dingbridge.events import URL_CHECKS, EventSpec, Field, catalogue
from dingbridge.simulator.company.events import PlatformEvent
from dingbridge.simulator.company.platform import Platform

FOLDER = Path(__file__).parents[1] / "schemas" / "examples"
BEGIN_MS = 1_764_057_600_000
"""2025-11-25T08:00:00Z."""

MOST = 3
"""Callbacks of one type."""

LIFE = 400
"""Things that happen in the simulated company before we stop to wait for a type."""

_TEXTS = {"ms": str(BEGIN_MS), "id": "{name}-0001", "": "示例"}
_VALUES: dict[str, Any] = {"int": 1, "bool": True, "float": 1.5, "object": {}}


Callbacks = list[dict[str, Any]]


def examples(event_types: Sequence[str]) -> dict[str, Callbacks]:
    """At least one callback of each of ``event_types``, which the catalogue has; in the order in which they
    came."""
    lived = _lived(event_types)
    return {name: lived[name] or [_filled_in(name)] for name in event_types}


def texts() -> dict[str, str]:
    """``{file name: text}`` of all examples."""
    wanted = [event_type for event_type in catalogue if event_type not in URL_CHECKS]
    return {
        f"{event_type}.json": json.dumps(callbacks, ensure_ascii=False, indent=2) + "\n"
        for event_type, callbacks in examples(wanted).items()
    }


def main() -> None:
    FOLDER.mkdir(exist_ok=True)
    wanted = texts()
    for path in FOLDER.glob("*.json"):
        if path.name not in wanted:
            path.unlink()
    for name, text in wanted.items():
        (FOLDER / name).write_text(text, encoding="utf-8")
    print(f"{FOLDER}: {len(wanted)} files")


def _lived(event_types: Sequence[str]) -> dict[str, Callbacks]:
    clock = itertools.count(BEGIN_MS, 1_000)
    company = Platform(seed=5, users=12, departments=4, clock=lambda: next(clock))
    found: dict[str, Callbacks] = {event_type: [] for event_type in event_types}
    kinds: dict[str, set[object]] = {event_type: set() for event_type in event_types}
    for happened in _life(company):
        for event in happened:
            payload = event.payload
            # one of each kind shows more than three alike: started, agreed, refused; old and new form
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


def _value(field: Field, spec: EventSpec, above: str = "") -> Any:
    """``above`` is where the field stands, with a dot at its end: values of such are found by their place."""
    inside = f"{above}{field.name}."
    if spec.subject is not None and field.name == spec.subject.items:
        item = {name: f"{name}-0001" for name in spec.subject.fields}
        if field.nested:
            item = {inner.name: _value(inner, spec, inside) for inner in field.nested}
        return [item | ({spec.subject.item_key: "item-0001"} if spec.subject.item_key else {})]
    if field.nested:
        found = {inner.name: _value(inner, spec, inside) for inner in field.nested}
        return [found] if field.is_list else found
    wire = field.wire
    if field.is_list:
        return [_single(wire.removeprefix("list[").removesuffix("]"), field)]
    known = [*spec.values.get(above + field.name, {})] if wire == "str" else []
    return known[0] if known else _single(wire, field)


def _single(wire: str, field: Field) -> Any:
    if wire == "int":
        return BEGIN_MS if field.mark == "ms" else 1001
    if wire in _VALUES:
        return _VALUES[wire]
    return _TEXTS[field.mark].format(name=field.name)


if __name__ == "__main__":
    main()
