"""What a Kafka record says beside its event: its place, its key, and whether somebody sent it again."""

import hashlib
from dataclasses import dataclass

from aiokafka import ConsumerRecord

from dingbridge.events.event import Event
from dingbridge.worker.blocked import BLOCKING_ID_HEADER, LETTER_HEADER
from dingbridge.worker.context import NOWHERE, Position
from dingbridge.worker.dead_letter_writer import FIRST_PLACE
from dingbridge.worker.store.inbox import EventId

REPLAY_HEADER = "dingbridge-replay-id"
"""Set on records that are copied into a consumer's inbox topic: applied again, once per value."""


@dataclass(frozen=True, slots=True)
class Letter:
    """A blocked key's dead letter that comes back. ``offset`` is its own in the dead letters; ``first_place``
    is that of the record that it is a copy of, as text: two letters of one record have the same."""

    blocking_id: str
    offset: int
    first_place: str


@dataclass(frozen=True, slots=True)
class Delivery:
    """How an event came. ``replay_id`` is empty for an ordinary record; ``letter`` is set for a letter of a
    blocked key; ``fetch_sequence`` is the number of the moment when it came, if one was drawn."""

    key: bytes | None = None
    position: Position = NOWHERE
    replay_id: str = ""
    letter: Letter | None = None
    fetch_sequence: int | None = None

    @property
    def given_up_as(self) -> str:
        """The replay id under which the inbox table knows that this very record was given up. A run may send
        an event again, from another place, so a copy is given up for its own place alone."""
        if not self.replay_id:
            return ""
        return "/".join((self.replay_id, *map(str, self.position)))

    @classmethod
    def of(cls, record: ConsumerRecord, fetch_sequence: int | None = None) -> "Delivery":
        position = Position(record.topic, record.partition, record.offset)
        for name, value in record.headers:
            if name == REPLAY_HEADER and value:
                return cls(record.key, position, _text(value), _letter(record), fetch_sequence)
        return cls(record.key, position, fetch_sequence=fetch_sequence)


def identity(record: ConsumerRecord, event: Event | None) -> EventId:
    """What the inbox table knows ``record`` by: its event's source and id; of one that is no event, place
    and hash."""
    if event is not None:
        return event.source, event.id
    digest = hashlib.sha256(record.value or b"").hexdigest()[:16]
    return "no-event", f"{record.topic}/{record.partition}/{record.offset}/{digest}"


def _letter(record: ConsumerRecord) -> Letter | None:
    headers = {name: _text(value) for name, value in record.headers if value}
    blocking_id, offset = headers.get(BLOCKING_ID_HEADER), headers.get(LETTER_HEADER, "")
    if not blocking_id or not (offset.isascii() and offset.isdigit()):
        return None
    return Letter(blocking_id, int(offset), "/".join(headers.get(name, "") for name in FIRST_PLACE))


def _text(value: bytes) -> str:
    return bytes(value).decode(errors="replace")


def hash_key(key: bytes | None) -> str:
    """Names a key in logs: the same for the same key, and the user id in it cannot be read off."""
    return hashlib.sha256(key or b"").hexdigest()[:12]
