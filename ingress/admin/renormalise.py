"""Puts what could not be normalised back through the journal, after a release that knows better.

It reads the unclassified topic and keeps each record's callback again, past the door's dedupe, with its
first time of receipt, so that its id stays what it was. Records that would only come back are left alone.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.errors import KafkaError

from dingbridge.errors import BridgeError, KafkaUnavailable
from dingbridge.events import Event, NotAnEvent, Received, decode, to_dingtalk, to_records
from dingbridge.events.strict_json import dumps
from dingbridge.kafka.client import connection, explain, hopeless_after_s
from dingbridge.kafka.health import ailing
from dingbridge.kafka.topics import existing_topics, unclassified_topic
from dingbridge.settings import IngressSettings
from ingress.journal.store import NewCallback
from ingress.relay.topics import TopicRouter


@dataclass(slots=True)
class Renormalised:
    """How many records the topic held, how many callbacks were put back, how many still cannot be read."""

    read: int = 0
    put_back: int = 0
    left: int = 0


class Renormaliser:
    """One run at a time: a second beside it would put everything back twice."""

    def __init__(self, settings: IngressSettings, append: Callable[[NewCallback], Awaitable[bool]]) -> None:
        self._settings, self._append = settings, append
        self._running = asyncio.Lock()

    async def run(self) -> Renormalised:
        """As ``renormalise``. Raises ``BridgeError`` while another run is under way."""
        if self._running.locked():
            raise BridgeError("a run is under way, also if whoever asked for it has gone: wait for its end")
        async with self._running:
            return await renormalise(self._settings, self._append)


async def renormalise(
    settings: IngressSettings, append: Callable[[NewCallback], Awaitable[bool]]
) -> Renormalised:
    """Go through the unclassified topic once, from its beginning to its end as it stands now.

    Run twice, it puts back twice: consumers drop the second by (source, id). Raises ``KafkaUnavailable``,
    and what ``append`` raises.
    """
    result = Renormalised()
    router = TopicRouter(settings, settings.unknown_topics_max)
    topic = unclassified_topic(settings)
    try:
        await router.load()
        partitions = (await existing_topics(settings)).get(topic, 0)
        consumer = AIOKafkaConsumer(
            **connection(settings), auto_offset_reset="earliest", enable_auto_commit=False
        )
        try:
            await consumer.start()
            if not partitions and topic in await consumer.topics():
                raise KafkaUnavailable(
                    f"topic {topic} is there, and a partition of it has no leader; start the brokers that "
                    "hold it, and call this again"
                )
            parts = [TopicPartition(topic, number) for number in range(partitions)]
            consumer.assign(parts)
            ends = await consumer.end_offsets(parts)
            begins = await consumer.beginning_offsets(parts)
            for part in parts:
                consumer.seek(part, begins[part])
            left = {part: begins[part] for part in parts if begins[part] < ends[part]}
            moved_at = time.monotonic()
            while left:
                for part, records in (await consumer.getmany(*left, timeout_ms=500)).items():
                    for record in records:
                        if record.offset < ends[part]:
                            await _put_back(record.value or b"", topic, router, append, result)
                before, left = left, {part: await consumer.position(part) for part in left}
                if left != before:
                    moved_at = time.monotonic()
                elif time.monotonic() - moved_at > hopeless_after_s(settings):
                    # a partition that has lost its leader gives nothing for ever, and no error
                    places = [(topic, part.partition) for part in left]
                    why = await ailing(settings, places) or f"no answer for partitions {places}"
                    raise KafkaUnavailable(f"{why}; after {result.put_back} were put back; call this again")
                left = {part: position for part, position in left.items() if position < ends[part]}
        finally:
            await consumer.stop()
    except (KafkaError, OSError) as error:
        raise KafkaUnavailable(explain(error, settings)) from error
    return result


async def _put_back(
    value: bytes,
    topic: str,
    router: TopicRouter,
    append: Callable[[NewCallback], Awaitable[bool]],
    result: Renormalised,
) -> None:
    result.read += 1
    try:
        event = decode(value)
    except NotAnEvent:  # not ours: somebody else writes to this topic
        result.left += 1
        return
    entry = _entry(event)
    again = to_records(Received(0, event.journal, entry.received_ms, entry.app, entry.via, entry.body))
    if all(router.topic(record) == topic for record in again):
        result.left += 1
        return
    await append(entry)
    result.put_back += 1


def _entry(event: Event) -> NewCallback:
    body = event.data_bytes if event.data_bytes is not None else dumps(to_dingtalk(event))
    return NewCallback(
        received_ms=round(event.received_time.timestamp() * 1000),
        app=event.app,
        via=event.via,
        body=body,
        key=b"",
        unconditional=True,
    )
