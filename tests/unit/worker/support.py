"""Events, Kafka records and consumers for the tests of the runtime."""

from typing import Any

import orjson
from aiokafka import ConsumerRecord
from sqlalchemy import Column, Integer, MetaData, String, Table

from dingbridge import Consumer, Event, Transaction
from dingbridge.events.envelope import Received, Record, to_records

metadata = MetaData()
effects = Table(
    "effects",
    metadata,
    Column("n", Integer, primary_key=True, autoincrement=True),
    Column("event_id", String, nullable=False),
    Column("subject", String),
)


def record(event_id: str = "e1", user: str = "u1", event_type: str = "user_modify_org") -> Record:
    """The record that the bridge publishes for one contact event."""
    body = {
        "EventType": event_type,
        "eventId": event_id,
        "CorpId": "dingcorp1",
        "TimeStamp": "1700000000000",
        "UserId": [user],
    }
    return to_records(
        Received(
            seq=1, journal="j1", received_ms=1700000000500, app="default", via="http", body=orjson.dumps(body)
        )
    )[0]


def kafka_record(
    topic: str,
    partition: int,
    offset: int,
    *,
    key: bytes | None,
    value: bytes | None,
    headers: tuple[tuple[str, bytes], ...] = (),
) -> ConsumerRecord[Any, Any]:
    return ConsumerRecord(
        topic=topic,
        partition=partition,
        offset=offset,
        timestamp=1700000000500,
        timestamp_type=0,
        key=key,
        value=value,
        checksum=None,
        serialized_key_size=len(key or b""),
        serialized_value_size=len(value or b""),
        headers=headers,
    )


class Recording(Consumer):
    """Writes one row for each event it handles."""

    name = "recording"
    topics = ("user_modify_org",)
    metadata = metadata
    retry_first_s = 0.001
    retry_max_s = 0.002
    max_attempts = 3

    async def handle(self, event: Event, tx: Transaction, prepared: Any) -> None:
        await tx.execute(effects.insert().values(event_id=event.id, subject=event.subject))
