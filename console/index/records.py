"""What the index keeps of a Kafka record: of an event its ids, type, times and place, none of its content.

Pure: bytes in, entries out. Keeping them is ``store.py``'s, reading topics ``feed.py``'s.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from aiokafka import ConsumerRecord

from dingbridge.events.event import NotAnEvent, decode
from dingbridge.events.foreign import moment as moment
from dingbridge.events.foreign import whole_number
from dingbridge.kafka.topic_policy import CONSUMER_RE
from dingbridge.masking import IDS
from dingbridge.replay.copying import FROM_HEADER, header
from dingbridge.replay.dead_letters import NOTE_HEADER, is_note, noted, read_dead_letter
from dingbridge.settings import KafkaSettings
from dingbridge.worker.context import Position
from dingbridge.worker.delivery import REPLAY_HEADER
from dingbridge.worker.store.inbox import storable

MAX_IDS = 256
"""Ids of one event's data that lead to it, the first ones; a callback may name thousands."""


@dataclass(frozen=True, slots=True)
class IndexedEvent:
    """One record of an event topic. ``type`` is DingTalk's EventType, or ``unclassified``; ``received_time``
    when it came to us first, ``published_time`` Kafka's; texts beyond 512 bytes are their hash."""

    source: str
    id: str
    type: str
    corp_id: str
    subject: str | None
    time: datetime
    received_time: datetime
    published_time: datetime
    via: str
    app: str
    topic: str
    partition: int
    offset: int
    key: str

    @property
    def place(self) -> Position:
        return Position(self.topic, self.partition, self.offset)


@dataclass(frozen=True, slots=True)
class EventEntry:
    """An event, and the ids by which it is found beside its own."""

    event: IndexedEvent
    ids: frozenset[str]


@dataclass(frozen=True, slots=True)
class Letter:
    """A dead letter of ``consumer``: ``first`` is where the record first stood (``place``, if its headers do
    not say), ``place`` where it stands in the dead-letter topic. ``error`` is the exception's type and place;
    ``at`` when it was given up."""

    consumer: str
    first: Position
    place: Position
    error: str
    attempts: int
    at: datetime
    replay_id: str = ""


@dataclass(frozen=True, slots=True)
class Settlement:
    """Dead letters of one partition that a replay (``run``), or ``skipped``, has settled."""

    consumer: str
    topic: str
    partition: int
    offsets: tuple[int, ...]
    run: str
    at: datetime


@dataclass(frozen=True, slots=True)
class Copy:
    """A copy of the record at ``origin`` (or of its dead letter there) in the inbox of ``consumer``."""

    consumer: str
    origin: Position
    replay_id: str
    place: Position
    at: datetime


Entry = EventEntry | Letter | Settlement | Copy


def entry_of(record: ConsumerRecord, settings: KafkaSettings) -> Entry | None:
    """What is kept of ``record``, from any of our topics; None for a record that is not ours."""
    topic: str = record.topic
    if topic.startswith(settings.topic_prefix):
        return event_entry(record)
    rest = topic.removeprefix(settings.control_prefix)
    kind, _, consumer = rest.partition(".")
    if kind == "dlq" and CONSUMER_RE.fullmatch(consumer):
        return _of_dead_letters(record, consumer)
    if kind == "inbox" and CONSUMER_RE.fullmatch(consumer):
        return _copy(record, consumer)
    return None


def indexed_topics(settings: KafkaSettings, names: Iterable[str]) -> list[str]:
    """Those of ``names`` that the index is made of."""
    control = (f"{settings.control_prefix}dlq.", f"{settings.control_prefix}inbox.")
    return sorted(name for name in names if name.startswith((settings.topic_prefix, *control)))


def event_entry(record: ConsumerRecord) -> EventEntry | None:
    """The event in ``record``; None if it is none."""
    try:
        event = decode(record.value or b"")
    except NotAnEvent:
        return None
    key = record.key.decode(errors="replace") if record.key is not None else event.partitionkey
    subject = storable(event.subject) if event.subject is not None else None
    found = IndexedEvent(
        source=storable(event.source),
        id=storable(event.id),
        type=event.event_type,
        corp_id=storable(event.corp_id),
        subject=subject,
        time=moment(epoch_ms(event.time)),
        received_time=moment(epoch_ms(event.received_time)),
        published_time=moment(record.timestamp),
        via=storable(event.via),
        app=storable(event.app),
        topic=record.topic,
        partition=record.partition,
        offset=record.offset,
        key=storable(key),
    )
    ids = ids_in(event.data) | {found.id} | ({subject} if subject else set())
    return EventEntry(found, frozenset(ids - {found.corp_id}))


def ids_in(data: Any) -> set[str]:
    """The values of ``data`` (as from JSON) that ``dingbridge.masking`` knows as ids, at most ``MAX_IDS``."""
    found: set[str] = set()
    rest: list[tuple[bool, Any]] = [(False, data)]
    while rest and len(found) < MAX_IDS:
        is_id, value = rest.pop()
        if isinstance(value, dict):
            rest += [(name.lower() in IDS, inner) for name, inner in reversed(value.items())]
        elif isinstance(value, list):
            rest += [(is_id, inner) for inner in reversed(value)]
        elif is_id and isinstance(value, str | int) and not isinstance(value, bool) and value != "":
            found.add(storable(str(value)))
    return found


def epoch_ms(at: datetime) -> int:
    return round(at.timestamp() * 1000)


def _of_dead_letters(record: ConsumerRecord, consumer: str) -> Letter | Settlement | None:
    at = moment(record.timestamp)
    if is_note(record):
        run = storable(header(record, NOTE_HEADER) or "")
        return Settlement(consumer, record.topic, record.partition, tuple(noted(record)), run, at)
    found = read_dead_letter(record)
    place = Position(record.topic, record.partition, record.offset)
    return Letter(
        consumer,
        _position(found.first) or place,
        place,
        found.error,
        whole_number(found.attempts) or 0,
        at,
        storable(found.replay_id or ""),
    )


def _copy(record: ConsumerRecord, consumer: str) -> Copy | None:
    run, origin = header(record, REPLAY_HEADER), _position((header(record, FROM_HEADER) or "").split("/"))
    if run is None or origin is None:
        return None
    place = Position(record.topic, record.partition, record.offset)
    return Copy(consumer, origin, run, place, moment(record.timestamp))


def _position(parts: Sequence[str]) -> Position | None:
    if len(parts) != 3:
        return None
    partition, offset = whole_number(parts[1]), whole_number(parts[2])
    return None if partition is None or offset is None else Position(parts[0], partition, offset)
