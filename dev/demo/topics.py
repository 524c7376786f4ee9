"""Reading all topics from outside: no consumer group, no commit, nothing of our own consumers.

Hands every record on once, by offset, and returns how far the consumers' groups have come.
"""

from collections.abc import Callable, Iterable
from typing import Self, TypeAlias

from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.errors import KafkaError
from aiokafka.structs import ConsumerRecord

from dingbridge.errors import KafkaUnavailable
from dingbridge.kafka.client import connection, explain
from dingbridge.kafka.topic_policy import unclassified_topic
from dingbridge.kafka.topics import existing_topics
from dingbridge.settings import KafkaSettings

Record: TypeAlias = ConsumerRecord[bytes, bytes]


class TopicReader:
    """``async with``; each ``catch_up`` hands the event topics' new records to ``on_record``.

    Every method raises ``KafkaUnavailable`` when Kafka does not answer.
    """

    def __init__(self, settings: KafkaSettings, on_record: Callable[[Record], None]) -> None:
        self._settings = settings
        self._on_record = on_record
        self._next: dict[TopicPartition, int] = {}
        self._consumer = AIOKafkaConsumer(
            **connection(settings), group_id=None, enable_auto_commit=False, auto_offset_reset="earliest"
        )
        self.counts: dict[str, int] = {}
        """Records read of each event topic."""
        self.dead_letters = 0
        self.latest: dict[str, Record] = {}
        """The last record of each event topic that has any."""

    async def __aenter__(self) -> Self:
        try:
            await self._consumer.start()
        except (KafkaError, OSError) as error:
            await self._consumer.stop()
            raise KafkaUnavailable(explain(error, self._settings)) from error
        return self

    async def __aexit__(self, *exc: object) -> None:
        await self._consumer.stop()

    async def catch_up(self) -> None:
        """Read what is in the topics when this is called."""
        settings = self._settings
        existing = await existing_topics(settings)
        events = {t: n for t, n in existing.items() if t.startswith(settings.topic_prefix)}
        dead_letter_topics = [t for t in existing if t.startswith(f"{settings.control_prefix}dlq.")]
        partitions = [TopicPartition(t, p) for t, count in events.items() for p in range(count)]
        dead_letter_partitions = [
            TopicPartition(t, p) for t in dead_letter_topics for p in range(existing[t])
        ]
        if not partitions:
            return
        try:
            if set(partitions) != self._next.keys():
                for partition in partitions:
                    self._next.setdefault(partition, 0)
                self._consumer.assign(partitions)
                for partition, offset in self._next.items():
                    self._consumer.seek(partition, offset)
            ends = await self._consumer.end_offsets([*partitions, *dead_letter_partitions])
            self.dead_letters = sum(ends[p] for p in dead_letter_partitions)
            self.counts |= {topic: self.counts.get(topic, 0) for topic in events}
            while behind := [p for p in partitions if self._next[p] < ends[p]]:
                for partition, records in (await self._consumer.getmany(*behind, timeout_ms=500)).items():
                    self._take(partition, records)
        except (KafkaError, OSError) as error:
            raise KafkaUnavailable(explain(error, settings)) from error

    def _take(self, partition: TopicPartition, records: list[Record]) -> None:
        for record in records:
            if record.offset < self._next[partition]:
                continue
            self._next[partition] = record.offset + 1
            self.counts[partition.topic] += 1
            self.latest[partition.topic] = record
            self._on_record(record)

    async def lag(self, groups: Iterable[str]) -> int:
        """Records that have been read here and that a group which reads their topic has not committed; those
        of a topic that none of ``groups`` reads count too."""
        admin = AIOKafkaAdminClient(**connection(self._settings), request_timeout_ms=10_000)
        lag, read_by_some = 0, set()
        try:
            await admin.start()
            for group in groups:
                for partition, committed in (await admin.list_consumer_group_offsets(group)).items():
                    if partition in self._next:
                        read_by_some.add(partition)
                        lag += max(0, self._next[partition] - committed.offset)
        except (KafkaError, OSError) as error:
            raise KafkaUnavailable(explain(error, self._settings)) from error
        finally:
            await admin.close()
        unclassified = unclassified_topic(self._settings)
        unread = [p for p in self._next if p not in read_by_some and p.topic != unclassified]
        return lag + sum(self._next[p] for p in unread)
