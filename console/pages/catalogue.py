"""Catalogue: what each EventType means, where it goes, what it holds, how often it was seen, who reads it."""

import asyncio
from collections.abc import Mapping, Sequence
from typing import Any, Final

import orjson
from aiohttp import web

from dingbridge.console.app import Console
from dingbridge.console.index.store import Seen
from dingbridge.console.line.window import INGRESS
from dingbridge.console.sources.listeners import Answer, Metrics
from dingbridge.events import EventSpec, Received, catalogue, to_records
from dingbridge.events.examples import example_callbacks
from dingbridge.kafka.topic_policy import event_topic
from dingbridge.worker.consumer import Consumer

DRIFT: Final = "dingbridge_schema_drift_total"
_EXAMPLE_MS: Final = 1_800_000_000_000


def routes(console: Console) -> list[web.RouteDef]:
    async def show_all(request: web.Request) -> web.Response:
        text = request.query.get("text", "").strip()
        seen, metrics, read_by = await _context(console)
        specs = [spec for spec in catalogue.values() if _matches(spec, text)]
        return await console.page(
            request,
            "catalogue.html",
            specs=sorted(specs, key=lambda spec: (spec.family, spec.event_type)),
            families=catalogue.families,
            total=len(catalogue),
            wanted_text=text,
            seen=seen,
            drift={spec.event_type: _drift(metrics, spec.event_type) for spec in specs},
            read_by=read_by,
            problems=[answer for answer in metrics if answer.problem],
            unknown={name: found for name, found in seen.items() if name not in catalogue},
        )

    async def show_one(request: web.Request) -> web.Response:
        event_type = request.match_info["event_type"]
        if event_type not in catalogue:
            raise web.HTTPNotFound(text=event_type[:200])
        spec = catalogue[event_type]
        seen, metrics, read_by = await _context(console)
        return await console.page(
            request,
            "catalogue_type.html",
            spec=spec,
            family=catalogue.families[spec.family],
            topic=event_topic(console.kafka, event_type),
            example=_example(event_type),
            seen=seen.get(event_type),
            drift=_drift(metrics, event_type),
            read_by=read_by.get(event_type, []),
            problems=[answer for answer in metrics if answer.problem],
        )

    return [
        web.get("/catalogue", show_all),
        web.get("/catalogue/{event_type}", show_one),
    ]


async def _context(
    console: Console,
) -> tuple[Mapping[str, Seen], list[Answer[Metrics]], Mapping[str, list[str]]]:
    metrics, seen = await asyncio.gather(
        console.listeners.metrics(INGRESS), asyncio.to_thread(console.index.seen)
    )
    return seen, metrics, _read_by(console.watch.consumers)


def _read_by(consumers: Mapping[str, type[Consumer]]) -> dict[str, list[str]]:
    """Which installed consumers read each EventType."""
    found: dict[str, list[str]] = {}
    for name, consumer in consumers.items():
        for event_type in consumer.topics:
            found.setdefault(event_type, []).append(name)
    return found


def _matches(spec: EventSpec, text: str) -> bool:
    words = (
        f"{spec.event_type} {spec.title.both} {spec.family} {catalogue.families[spec.family].both}".lower()
    )
    return all(part in words for part in text.lower().split())


def _drift(answers: Sequence[Answer[Metrics]], event_type: str) -> float | None:
    """Callbacks since the ingresses began that differ from the catalogue; None if none of them answered."""
    found = [answer.value for answer in answers if answer.value is not None]
    if not found:
        return None
    return sum(metrics.sum(DRIFT, type=event_type) or 0.0 for metrics in found)


def _example(event_type: str) -> str | None:
    """The record of a recorded callback, as JSON; it is of a company that does not exist."""
    try:
        callback = example_callbacks(event_type)[0]
    except KeyError:
        return None
    [record, *_] = to_records(Received(1, "example", _EXAMPLE_MS, "default", "http", orjson.dumps(callback)))
    value: Any = orjson.loads(record.value)
    return orjson.dumps(value, option=orjson.OPT_INDENT_2).decode()
