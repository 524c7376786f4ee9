"""A Kafka record's delivery: its position, and whether it was sent again."""

import hashlib
from collections.abc import Callable
from dataclasses import dataclass

from aiokafka import ConsumerRecord

from dingbridge.events.event import Event
from dingbridge.worker.context import NOWHERE, Position
from dingbridge.worker.store.inbox import EventId

REPLAY_HEADER = "dingbridge-replay-id"
"""Set on records that are copied into a consumer's inbox topic: applied again, once per value."""


@dataclass(slots=True)
class Delivery:
    """How an event came. ``replay_id`` is empty for an ordinary record. ``again`` decodes the event anew: a
    handler may change what it is given."""

    position: Position = NOWHERE
    replay_id: str = ""
    again: Callable[[], Event] | None = None

    @classmethod
    def of(cls, record: ConsumerRecord) -> "Delivery":
        position = Position(record.topic, record.partition, record.offset)
        for name, value in record.headers:
            if name == REPLAY_HEADER and value:
                return cls(position, bytes(value).decode(errors="replace"))
        return cls(position)


def identity(record: ConsumerRecord, event: Event | None) -> EventId:
    """What the inbox table knows ``record`` by: its event's source and id; of one that is no event, position
    and hash."""
    if event is not None:
        return event.source, event.id
    digest = hashlib.sha256(record.value or b"").hexdigest()[:16]
    return "no-event", f"{record.topic}/{record.partition}/{record.offset}/{digest}"


def hash_key(key: bytes | None) -> str:
    """Names a key in logs: the same for the same key, and the user id in it cannot be read off."""
    return hashlib.sha256(key or b"").hexdigest()[:12]
