"""Publishes unclassified callbacks again that a newer release can normalise, or that name the app's company
since DINGTALK_CORP_ID or corp_id was mended: from Kafka to Kafka, without a journal.

Each keeps its first time of receipt, and so its id. Records that would be unclassified again are left out. An
interrupted run begins again: the topic still holds all of it.
"""

from collections.abc import Mapping
from typing import Any

from aiokafka import ConsumerRecord

from dingbridge.errors import BridgeError
from dingbridge.events import Event, NotAnEvent, Received, Record, decode, to_dingtalk, to_records
from dingbridge.events.strict_json import dumps
from dingbridge.ingress.metrics import process_registry
from dingbridge.ingress.relay.batches import MAX_RECORDS, partition_of
from dingbridge.ingress.relay.sender import Place, Sender
from dingbridge.ingress.relay.status import NumberedRecord, RelayStatus
from dingbridge.ingress.relay.topics import TopicRouter
from dingbridge.kafka.admin import explaining
from dingbridge.kafka.reader import TopicReader
from dingbridge.kafka.topic_policy import unclassified_topic
from dingbridge.kafka.topics import existing_topics
from dingbridge.settings import IngressSettings
from dingbridge.settings.apps import companies


async def renormalise(settings: IngressSettings) -> dict[str, Any]:
    """Go through the unclassified topic once, from its beginning to its present end. Returns how many records
    were ``read``, how many callbacks are ``published`` again, and how many are ``left``.

    Raises ``KafkaUnavailable``, ``TopicError``, and ``BridgeError`` when Kafka refuses a record."""
    result = {"read": 0, "published": 0, "left": 0}
    of_app = companies(settings).of_app
    again = _Again(settings)
    topic = unclassified_topic(settings)
    try:
        counts = await again.load()
        async with TopicReader(settings) as reader:
            async for record in reader.read(await reader.spans({topic: counts.get(topic, 0)})):
                result["read"] += 1
                records = _records(record, of_app)
                if any(again.router.topic(one) != topic for one in records):
                    await again.add(result["read"], records)
                    result["published"] += 1
                else:
                    result["left"] += 1
        await again.send()
    finally:
        await again.close()
    return result


class _Again:
    """Sends records in sets, in order."""

    def __init__(self, settings: IngressSettings) -> None:
        self._settings = settings
        self.router = TopicRouter(settings, settings.unknown_topics_max)
        self._sender = Sender(settings, RelayStatus(process_registry()))
        self._set: dict[Place, list[NumberedRecord]] = {}
        self._partitions: dict[str, int] = {}

    async def load(self) -> dict[str, int]:
        await self.router.load()
        return await existing_topics(self._settings, [unclassified_topic(self._settings)])

    async def add(self, seq: int, records: list[Record]) -> None:
        for number, record in enumerate(records):
            topic = self.router.topic(record)
            if topic not in self._partitions:
                await self.router.ensure(topic)
                producer = await self._sender.connected()
                self._partitions[topic] = len(await producer.partitions_for(topic))
            partition = topic, partition_of(record.key, self._partitions[topic])
            self._set.setdefault(partition, []).append((seq, number, record))
        if sum(map(len, self._set.values())) >= MAX_RECORDS:
            await self.send()

    async def send(self) -> None:
        with explaining(self._settings):
            refused = await self._sender.send(self._set)
        self._set = {}
        for (_, topic), (reason, _) in refused.items():
            raise BridgeError(f"Kafka refuses a record of {topic} ({reason}); mend that, and call this again")

    async def close(self) -> None:
        await self._sender.discard()


def _records(record: ConsumerRecord, of_app: Mapping[str, str | None]) -> list[Record]:
    """The records that this release makes of an unclassified one; none if somebody else wrote it."""
    try:
        event = decode(record.value or b"")
    except NotAnEvent:
        return []
    received_ms = round(event.received_time.timestamp() * 1000)
    own = of_app.get(event.app)
    return to_records(
        Received(int(event.sequence), event.journal, received_ms, event.app, event.via, _body(event), own)
    )


def _body(event: Event) -> bytes:
    return event.data_bytes if event.data_bytes is not None else dumps(to_dingtalk(event))
