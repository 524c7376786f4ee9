"""Asks the sources for the outcomes of events: Kafka's groups, the consumers' databases, running workers."""

import asyncio
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from aiokafka import TopicPartition
from sqlalchemy.exc import SQLAlchemyError

from dingbridge.console.app import Console
from dingbridge.console.index.after import After, after
from dingbridge.console.index.records import IndexedEvent
from dingbridge.console.life.outcome import Facts, in_flight_of
from dingbridge.errors import BridgeError, KafkaUnavailable
from dingbridge.kafka.group_lag import committed_offsets
from dingbridge.kafka.topic_policy import topics_read
from dingbridge.worker.consumer import Consumer
from dingbridge.worker.context import Position
from dingbridge.worker.store import inbox

Records = Sequence[IndexedEvent]
"""The records of one event."""

Rows = Mapping[tuple[inbox.EventId, str], inbox.Applied]


async def facts_of(console: Console, events: Records) -> list[Facts]:
    """What is known of each consumer that reads the topics of ``events``, which are the records of one event,
    or has given one of them up; by name."""
    return (await _facts(console, [events]))[0]


async def facts_of_each(console: Console, events: Iterable[IndexedEvent]) -> dict[Position, list[Facts]]:
    """``facts_of`` for each of ``events`` alone, by place. However many they are, Kafka, each consumer's
    database and each worker are asked once."""
    records = list(events)
    found = await _facts(console, [[event] for event in records])
    return {event.place: facts for event, facts in zip(records, found, strict=True)}


async def _facts(console: Console, events: Sequence[Records]) -> list[list[Facts]]:
    if not events:
        return []
    known = await asyncio.to_thread(after, console.index, events)
    names = [_names(console, records, found) for records, found in zip(events, known, strict=True)]
    committed: Mapping[str, Mapping[TopicPartition, int]] | None
    everybody = sorted(set().union(*names))
    try:
        committed = await console.ask_kafka(lambda: committed_offsets(console.kafka, everybody))
        problem = None
    except KafkaUnavailable as error:
        committed, problem = None, str(error)
    of_consumers = await asyncio.gather(
        *(
            _of(
                console,
                name,
                [(e, a) for e, a, asked in zip(events, known, names, strict=True) if name in asked],
                None if committed is None else committed[name],
                problem,
            )
            for name in everybody
        )
    )
    by_name = {name: iter(facts) for name, facts in zip(everybody, of_consumers, strict=True)}
    return [[next(by_name[name]) for name in sorted(asked)] for asked in names]


def _names(console: Console, records: Records, found: After) -> set[str]:
    topics = {event.topic for event in records}
    reading = {
        name
        for name, cls in console.watch.consumers.items()
        if not topics.isdisjoint(topics_read(console.kafka, cls.topics, cls.control_topics))
    }
    letters = {letter.consumer for letter in found.letters}
    return reading | letters | {copy.consumer for copy in found.copies}


async def _of(
    console: Console,
    name: str,
    events: Sequence[tuple[Records, After]],
    committed: Mapping[TopicPartition, int] | None,
    problem: str | None,
) -> list[Facts]:
    """What is known of the consumer ``name``, of each of ``events``."""
    consumer: type[Consumer] | None = console.watch.consumers.get(name)
    rows: Rows = {}
    problems = [problem] if problem else []
    keeps_rows = consumer is None or consumer.uses_database
    if keeps_rows:
        try:
            rows = await inbox.applied(
                console.databases.reader(name),
                name,
                [(_known_as(records), run) for records, found in events for run in _runs(name, found)],
            )
        except (BridgeError, SQLAlchemyError, OSError, TimeoutError) as error:
            problems.append(str(error) if isinstance(error, BridgeError) else type(error).__name__)
    answers = await console.listeners.json("/in-flight", name)
    problems += [f"{answer.url} {answer.problem}" for answer in answers if answer.problem]
    in_flight: dict[Position, Mapping[str, Any]] = in_flight_of(
        answer.value for answer in answers if isinstance(answer.value, dict)
    )
    return [
        Facts(
            name,
            installed=consumer is not None,
            keeps_rows=keeps_rows,
            inbox={
                run: rows[known] for run in _runs(name, found) if (known := (_known_as(records), run)) in rows
            },
            committed=committed,
            letters=tuple(letter for letter in found.letters if letter.consumer == name),
            settled=found.settled,
            copies=tuple(copy for copy in found.copies if copy.consumer == name),
            in_flight=in_flight,
            problems=tuple(problems),
        )
        for records, found in events
    ]


def _known_as(records: Records) -> inbox.EventId:
    return records[0].source, records[0].id


def _runs(consumer: str, found: After) -> list[str]:
    return ["", *{copy.replay_id for copy in found.copies if copy.consumer == consumer}]
