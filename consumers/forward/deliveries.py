"""The outcome of one event at one system: the record of it in ``<control>deliveries``, written and read.

Pure: no I/O. ``log.py`` writes the records; ``dingbridge forward log`` and the console read them.
"""

from base64 import b64encode
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Annotated, Any, Final, Literal, get_args

from pydantic import Base64Bytes, BaseModel, ConfigDict, Field, ValidationError
from pydantic.alias_generators import to_camel

from dingbridge.events.control import ControlRecord
from dingbridge.events.envelope import CONTENT_TYPE, rfc3339
from dingbridge.events.facts import MAX_TIME_MS
from dingbridge.events.strict_json import dumps
from dingbridge.masking import reveal_bytes
from dingbridge.worker.context import Position

TOPIC: Final = "deliveries"
"""The control topic."""

TYPE: Final = "com.dingbridge.delivery"

Outcome = Literal["taken", "refused", "failed", "unavailable", "filtered"]
OUTCOMES: Final[tuple[str, ...]] = get_args(Outcome)
"""``taken``: any 2xx. ``refused``: the system does not want this event, so it goes to the dead letters.
``failed``: not taken now, perhaps because of this event. ``unavailable``: no connection, or it asked to wait.
``filtered``: the system's declaration excludes this event, so nothing was sent."""

ANSWER_BYTES: Final = 200
"""Bytes that are kept of the body of an answer that did not take the event."""


@dataclass(frozen=True, slots=True)
class Delivery:
    """One attempt of ``consumer`` to deliver an event. ``place`` and ``replay_id`` name the record that was
    tried: a replayed one stands in the consumer's inbox topic. ``attempt`` counts from 1 since the process
    began with this record. ``at`` is when the attempt ended, ``status`` the HTTP status, None without an
    answer; ``answer`` the first ``ANSWER_BYTES`` of a body that came with another status than 2xx: it may
    hold private data. ``words`` never do."""

    consumer: str
    source: str
    event_id: str
    place: Position
    replay_id: str
    attempt: int
    at: datetime
    outcome: Outcome
    status: int | None = None
    duration_ms: int | None = None
    words: str = ""
    answer: bytes | None = None
    event_type: str = ""

    def record(self, key: str) -> ControlRecord:
        """The record for the topic; ``key`` is the event's partition key."""
        at_ms = round(self.at.timestamp() * 1000)
        where = f"{self.place.topic}/{self.place.partition}/{self.place.offset}"
        envelope: dict[str, Any] = {
            "specversion": "1.0",
            "id": f"{self.consumer}/{where}/{at_ms}/{self.attempt}",
            "source": f"/dingbridge/{self.consumer}",
            "type": TYPE,
            "subject": self.event_id,
            "time": rfc3339(at_ms),
            "datacontenttype": "application/json",
            "dataschema": "urn:dingbridge:delivery:1",
            "partitionkey": key,
            "data": {
                "consumer": self.consumer,
                "source": self.source,
                "id": self.event_id,
                "type": self.event_type,
                **self.place._asdict(),
                "replayId": self.replay_id,
                "attempt": self.attempt,
                "at": at_ms,
                "outcome": self.outcome,
                "status": self.status,
                "durationMs": self.duration_ms,
                "words": self.words,
                "answer": None if self.answer is None else b64encode(self.answer).decode(),
            },
        }
        headers = (("content-type", CONTENT_TYPE), ("dingbridge-type", TYPE.encode()))
        return ControlRecord(key.encode(), dumps(envelope), headers)


def shown_answer(answer: bytes, *, reveal: bool) -> str:
    """``answer`` for a person; its length alone unless ``reveal``, and secrets never."""
    return reveal_bytes(answer).decode("utf-8", "backslashreplace") if reveal else f"***({len(answer)})"


_Text = Annotated[str, Field(max_length=2_000)]
_Number = Annotated[int, Field(ge=0, lt=1 << 63)]


class _Data(BaseModel):
    model_config = ConfigDict(strict=True, alias_generator=to_camel)

    consumer: Annotated[str, Field(pattern=r"^[a-z0-9-]{1,100}$")]
    source: str
    id: str
    type: _Text
    topic: _Text
    partition: Annotated[int, Field(ge=0, lt=1 << 31)]
    offset: _Number
    replay_id: _Text
    attempt: _Number
    at: Annotated[int, Field(ge=0, le=MAX_TIME_MS)]
    outcome: Outcome
    status: Annotated[int, Field(ge=100, le=999)] | None
    duration_ms: _Number | None
    words: _Text
    answer: Base64Bytes | None


class _Envelope(BaseModel):
    type: Literal["com.dingbridge.delivery"]
    data: _Data


def read_delivery(value: bytes | None) -> Delivery | None:
    """The delivery in a record's value; None of whatever else stands there."""
    try:
        data = _Envelope.model_validate_json(value or b"").data
    except ValidationError:
        return None
    return Delivery(
        consumer=data.consumer,
        source=data.source,
        event_id=data.id,
        place=Position(data.topic, data.partition, data.offset),
        replay_id=data.replay_id,
        attempt=data.attempt,
        at=datetime.fromtimestamp(data.at / 1000, UTC),
        outcome=data.outcome,
        status=data.status,
        duration_ms=data.duration_ms,
        words=data.words,
        answer=None if data.answer is None else data.answer[:ANSWER_BYTES],
        event_type=data.type,
    )
