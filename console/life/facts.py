"""Asks the sources what became of an event: Kafka's groups, the consumers' databases, the running workers."""

import asyncio
from collections.abc import Mapping, Sequence
from datetime import datetime

from aiokafka import TopicPartition
from sqlalchemy.exc import SQLAlchemyError

from console.app import Console
from console.index.after import After, after
from console.index.records import IndexedEvent
from console.life.outcome import Facts, held_by
from console.sources.groups import committed_offsets
from dingbridge.errors import BridgeError, KafkaUnavailable
from dingbridge.kafka.topic_policy import topics_read
from dingbridge.worker.consumer import Consumer
from dingbridge.worker.store import inbox


async def facts_of(console: Console, events: Sequence[IndexedEvent]) -> list[Facts]:
    """What is known of each consumer that reads the topics of ``events``, which are the records of one event,
    or has given one of them up."""
    installed = console.watch.consumers
    topics = {event.topic for event in events}
    found = await asyncio.to_thread(after, console.index, [event.place for event in events])
    names = {
        name
        for name, cls in installed.items()
        if not topics.isdisjoint(topics_read(console.kafka, cls.topics, cls.control_topics))
    }
    names |= {letter.consumer for letter in found.letters} | {copy.consumer for copy in found.copies}
    ordered = sorted(names)
    try:
        committed, problem = await committed_offsets(console.kafka, ordered), None
    except KafkaUnavailable as error:
        committed, problem = None, str(error)
    return await asyncio.gather(
        *(_of(console, name, installed.get(name), events[0], found, committed, problem) for name in ordered)
    )


async def _of(
    console: Console,
    name: str,
    consumer: type[Consumer] | None,
    event: IndexedEvent,
    found: After,
    committed: Mapping[str, Mapping[TopicPartition, int]] | None,
    problem: str | None,
) -> Facts:
    rows: dict[str, datetime] = {}
    problems = [problem] if problem else []
    if consumer is None or consumer.uses_database:
        runs = {"", *(copy.replay_id for copy in found.copies if copy.consumer == name)}
        try:
            reader = console.databases.reader(name)
            rows = await inbox.applied_at(reader, name, (event.source, event.id), runs)
        except (BridgeError, SQLAlchemyError, OSError, TimeoutError) as error:
            problems.append(str(error) if isinstance(error, BridgeError) else type(error).__name__)
    answers = await console.listeners.json("/in-flight", name)
    problems += [f"{answer.url} {answer.problem}" for answer in answers if answer.problem]
    state = console.feed.state
    return Facts(
        name,
        installed=consumer is not None,
        inbox=rows,
        committed=None if committed is None else committed[name],
        letters=tuple(letter for letter in found.letters if letter.consumer == name),
        letters_complete=state.behind == 0 and state.problem is None,
        settled=found.settled,
        copies=tuple(copy for copy in found.copies if copy.consumer == name),
        held=held_by(answer.value for answer in answers if isinstance(answer.value, dict)),
        problems=tuple(problems),
    )
