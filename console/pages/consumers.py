"""Consumers: how far each is behind, what it waits for, and which keys are retried."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from aiohttp import web

from console.access.middleware import USER
from console.app import Console, Role
from console.line.model import Part
from console.line.window import Reading
from console.pages.now import told
from console.sources.groups import Group
from console.watch import EACH_S, View
from dingbridge.kafka.topics import dlq_topic, inbox_topic, topics_read
from dingbridge.settings import KafkaSettings
from dingbridge.worker.consumer import Consumer


@dataclass(frozen=True, slots=True)
class TopicRow:
    """How far a consumer is behind in one topic. ``records`` and ``oldest_s`` are its own figures, or those
    of Kafka where it has no listener; None where neither tells."""

    topic: str
    records: float | None
    oldest_s: float | None


@dataclass(frozen=True, slots=True)
class Shown:
    """One consumer. ``instances`` are the answers of its processes, none where it is not configured here."""

    name: str
    parts: Sequence[dict[str, Any]]
    group: Group | None
    instances: Sequence[Reading]
    topics: Sequence[TopicRow]
    paused: Sequence[Mapping[str, Any]]
    records: Sequence[Mapping[str, Any]]
    in_flight: int
    not_shown: int
    dead_letters: str


RETRIED_SHOWN = 100
"""Records that fail, of one consumer, on the page."""


def routes(console: Console) -> list[web.RouteDef]:
    async def show(request: web.Request) -> web.Response:
        view = await console.watch.view()
        is_reader = request[USER].role >= Role.READER
        names = dict.fromkeys(part.consumer for part in view.parts if part.consumer)
        return await console.page(
            request,
            "consumers.html",
            view=view,
            each_s=EACH_S,
            consumers=[_shown(console, view, name, is_reader) for name in names],
        )

    return [web.get("/consumers", show)]


def _shown(console: Console, view: View, name: str, is_reader: bool) -> Shown:
    instances = [reading for reading in view.readings if reading.name == name]
    own: list[Part] = [part for part in view.parts if part.consumer == name]
    held = [reading.in_flight for reading in instances]
    failing = [r for answer in held for r in answer.get("records", ()) if r.get("outcome")]
    return Shown(
        name,
        [told(view, part, is_reader) for part in own],
        view.groups.get(name),
        instances,
        _topics(console.kafka, console.watch.consumers.get(name), name, instances, view.groups.get(name)),
        [pause for answer in held for pause in answer.get("paused", ())],
        failing[:RETRIED_SHOWN],
        sum(answer.get("total", 0) for answer in held),
        max(0, len(failing) - RETRIED_SHOWN),
        dlq_topic(console.kafka, name),
    )


def _topics(
    settings: KafkaSettings,
    consumer: type[Consumer] | None,
    name: str,
    instances: Sequence[Reading],
    group: Group | None,
) -> list[TopicRow]:
    """What it reads, its inbox last."""
    names = [inbox_topic(settings, name)]
    if consumer is not None:
        names = topics_read(settings, consumer.topics, consumer.control_topics) + names
    known = group.topics if group is not None else {}
    names += [topic for topic in known if topic not in names]
    rows = []
    for topic in names:
        labels = {"consumer": name, "topic": topic}
        lags = [s.value for r in instances for s in r.metrics.samples("dingbridge_consumer_lag", **labels)]
        ages = [
            s.value
            for r in instances
            for s in r.metrics.samples("dingbridge_consumer_oldest_seconds", **labels)
        ]
        by_kafka = known.get(topic)
        records = sum(lags) if lags else None if by_kafka is None else by_kafka.records
        oldest = max(ages) if ages else None if by_kafka is None else by_kafka.oldest_s
        rows.append(TopicRow(topic, records, oldest if records else None))
    return rows
