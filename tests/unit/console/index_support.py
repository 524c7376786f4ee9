"""Records of our topics for the index's tests, and all that an index holds, to compare."""

from pathlib import Path
from typing import Any

import orjson
from aiokafka import ConsumerRecord

from dingbridge.console.index.records import Entry, entry_of
from dingbridge.console.index.store import Index
from dingbridge.events.envelope import Received, to_records
from dingbridge.settings import KafkaSettings

SETTINGS = KafkaSettings(topic_prefix="t.", control_prefix="ctl.")

CONTENT = {
    "events": "SELECT source, id, type, corp_id, subject, time_ms, received_ms, published_ms, via, app, "
    'topic, partition, "offset", key FROM events',
    "ids": 'SELECT value, ids.received_ms, topic, partition, "offset" FROM ids JOIN events USING (n)',
    "orphans": "SELECT value FROM ids WHERE n NOT IN (SELECT n FROM events)",
    "types": "SELECT * FROM types",
    "letters": "SELECT * FROM letters",
    "settled": "SELECT * FROM settled",
    "copies": "SELECT * FROM copies",
    "offsets": "SELECT * FROM offsets",
}


def content(index: Index) -> dict[str, list[tuple[Any, ...]]]:
    db = index.connect()
    try:
        return {name: sorted(db.execute(query).fetchall()) for name, query in CONTENT.items()}
    finally:
        db.close()


def kafka_record(
    topic: str, partition: int, offset: int, value: bytes, *, at_ms: int = 0, key: bytes = b"", **headers: str
) -> ConsumerRecord[Any, Any]:
    named = [(name.replace("_", "-"), text.encode()) for name, text in headers.items()]
    return ConsumerRecord(topic, partition, offset, at_ms, 0, key, value, None, len(key), len(value), named)


def event_record(
    event_type: str, event_id: str, user: str, offset: int, *, partition: int = 0, at_ms: int = 0
) -> ConsumerRecord[Any, Any]:
    body = {"EventType": event_type, "eventId": event_id, "CorpId": "ding1", "UserId": [user]}
    received = Received(1, "j1", at_ms, "default", "http", orjson.dumps(body))
    record = to_records(received)[0]
    return kafka_record(f"t.{event_type}", partition, offset, record.value, at_ms=at_ms, key=record.key)


def entries(*records: ConsumerRecord[Any, Any]) -> list[Entry]:
    return [entry for record in records if (entry := entry_of(record, SETTINGS)) is not None]


def opened(folder: Path) -> Index:
    index = Index(folder / "index.db")
    index.open()
    return index
