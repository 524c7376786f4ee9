"""One record of an event as it is kept in Kafka and in the journal."""

from contextlib import aclosing
from dataclasses import dataclass
from typing import Any, Literal

from aiokafka import ConsumerRecord, TopicPartition

from dingbridge.console.app import Console
from dingbridge.console.index.records import IndexedEvent, event_entry
from dingbridge.errors import KafkaUnavailable
from dingbridge.events.catalogue import UNCLASSIFIED
from dingbridge.events.event import Event, NotAnEvent, decode, to_dingtalk
from dingbridge.events.foreign import whole_number
from dingbridge.ingress.journal.inspect import InspectedCallback
from dingbridge.kafka.reader import Span, TopicReader
from dingbridge.kafka.topics import existing_topics
from dingbridge.settings import KafkaSettings
from dingbridge.worker.context import Position


@dataclass(frozen=True, slots=True)
class KeptRecord:
    """``event`` is what the index has of it, or would have. ``record`` and ``decoded`` are None where Kafka
    has it no more, or (``problem``) does not answer; ``callback`` where no journal of this machine has it,
    by retention or since it is elsewhere."""

    event: IndexedEvent
    record: ConsumerRecord | None = None
    decoded: Event | None = None
    problem: str | None = None
    callback: InspectedCallback | None = None

    @property
    def came_in_s(self) -> float:
        """From receipt to Kafka's timestamp, in s."""
        return (self.event.published_time - self.event.received_time).total_seconds()

    @property
    def dingtalk(self) -> dict[str, Any] | None:
        """The data in DingTalk's spelling; None for what is unclassified."""
        if self.decoded is None or self.decoded.event_type == UNCLASSIFIED:
            return None
        return to_dingtalk(self.decoded)

    @property
    def kept(self) -> Literal["whole", "damaged", "not_here"]:
        """Whether a journal of this machine has the callback: ``whole`` as it came, or ``damaged``."""
        if self.callback is None:
            return "not_here"
        return "whole" if self.callback.row.intact else "damaged"

    @property
    def body(self) -> bytes | None:
        """The callback word for word, from the journal, or the unclassified record that holds it."""
        if self.callback is not None and self.callback.row.intact:
            return self.callback.row.body
        return self.decoded.data_bytes if self.decoded is not None else None


async def kept_record(console: Console, event: IndexedEvent | None, place: Position) -> KeptRecord | None:
    """The record at ``place``; ``event`` is what the index has of it. None if it is not there, and not in the
    index."""
    record, problem = None, None
    try:
        record = await console.ask_kafka(lambda: record_at(console.kafka, place))
    except KafkaUnavailable as error:
        problem = str(error)
    entry = event_entry(record) if record is not None else None
    if entry is not None:
        event = entry.event
    if event is None:
        return None
    decoded = _decoded(record)
    seq = whole_number(decoded.sequence) if decoded is not None else None
    if decoded is None or seq is None:
        return KeptRecord(event, record, decoded, problem)
    callback = await console.journals.callback(decoded.journal, seq)
    return KeptRecord(event, record, decoded, problem, callback)


async def record_at(settings: KafkaSettings, place: Position) -> ConsumerRecord | None:
    """The record there; None where there is none. Raises ``KafkaUnavailable``."""
    counts = await existing_topics(settings, [place.topic])
    if place.partition >= counts.get(place.topic, 0):
        return None
    partition = TopicPartition(place.topic, place.partition)
    async with TopicReader(settings) as reader:
        span = (await reader.spans({place.topic: counts[place.topic]}))[partition]
        if not span.begin <= place.offset < span.end:
            return None
        async with aclosing(reader.read({partition: Span(place.offset, place.offset + 1)})) as records:
            async for record in records:
                return record
    return None


def _decoded(record: ConsumerRecord | None) -> Event | None:
    if record is None:
        return None
    try:
        return decode(record.value or b"")
    except NotAnEvent:
        return None
