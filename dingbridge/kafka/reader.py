"""Reads topics once, to the end that was seen at the start, as one stream ordered by timestamp.

A stream: of each partition only what one fetch brought is in memory. Joins no group and commits nothing.
"""

import heapq
import time
from collections import deque
from collections.abc import AsyncGenerator, Iterable, Mapping
from dataclasses import dataclass
from types import TracebackType
from typing import Self

from aiokafka import AIOKafkaConsumer, ConsumerRecord, TopicPartition

from dingbridge.errors import KafkaUnavailable
from dingbridge.kafka.admin import explaining
from dingbridge.kafka.client import connection, discard_consumer
from dingbridge.kafka.undecodable import fetch_past
from dingbridge.settings import KafkaSettings

FETCH_RECORDS = 500
"""Records of one partition that wait in memory, beside what the client fetched ahead."""

FETCH_WAIT_MS = 50
"""How long the broker may wait for more, in ms: what is read stands there already."""

SILENCE_S = 60
"""How long no record may come before Kafka counts as away, in s."""


@dataclass(frozen=True, slots=True)
class Span:
    """Offsets of one partition, ``end`` not included."""

    begin: int
    end: int


Spans = Mapping[TopicPartition, Span]


class TopicReader:
    """``async with TopicReader(settings) as reader``, one reading at a time. Every method raises
    ``KafkaUnavailable`` when Kafka does not answer."""

    def __init__(self, settings: KafkaSettings) -> None:
        self._settings = settings
        self._kafka = AIOKafkaConsumer(
            **connection(settings),
            enable_auto_commit=False,
            auto_offset_reset="earliest",
            isolation_level="read_committed",
            fetch_max_wait_ms=FETCH_WAIT_MS,
        )

    async def __aenter__(self) -> Self:
        try:
            with explaining(self._settings):
                await self._kafka.start()
        except BaseException:  # also of somebody who waits no longer
            await discard_consumer(self._kafka)
            raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await discard_consumer(self._kafka)

    async def spans(self, topics: Mapping[str, int]) -> dict[TopicPartition, Span]:
        """All that ``topics`` (name → partition count) hold now."""
        partitions = [TopicPartition(name, number) for name in topics for number in range(topics[name])]
        if not partitions:
            return {}
        with explaining(self._settings):
            begins = await self._kafka.beginning_offsets(partitions)
            ends = await self._kafka.end_offsets(partitions)
        return {p: Span(begins[p], ends[p]) for p in partitions}

    async def first_since(
        self, partitions: Iterable[TopicPartition], at_ms: int
    ) -> dict[TopicPartition, tuple[int, int] | None]:
        """Offset and timestamp (epoch ms) of the first record of each that is not older than ``at_ms``; None
        where there is none."""
        wanted = dict.fromkeys(partitions, max(0, at_ms))
        if not wanted:
            return {}
        with explaining(self._settings):
            found = await self._kafka.offsets_for_times(wanted)
        return {p: (at.offset, at.timestamp) if at is not None else None for p, at in found.items()}

    async def read(self, spans: Spans) -> AsyncGenerator[ConsumerRecord, None]:
        """The records of ``spans``, merged by timestamp; those of one partition stay in their order, also
        where their timestamps do not."""
        ends = {p: span.end for p, span in spans.items() if span.begin < span.end}
        if not ends:
            return
        with explaining(self._settings):
            self._kafka.assign(list(ends))
            for partition in ends:
                self._kafka.seek(partition, spans[partition].begin)
            async for record in self._merged(ends):
                yield record

    async def _merged(self, ends: Mapping[TopicPartition, int]) -> AsyncGenerator[ConsumerRecord, None]:
        numbers = {partition: number for number, partition in enumerate(ends)}
        waiting: dict[TopicPartition, deque[ConsumerRecord]] = {p: deque() for p in ends}
        heads: list[tuple[int, int, ConsumerRecord]] = []
        for partition in ends:
            await self._push(heads, 0, numbers, waiting[partition], partition, ends[partition])
        while heads:
            at, _, record = heapq.heappop(heads)
            yield record
            partition = TopicPartition(record.topic, record.partition)
            await self._push(heads, at, numbers, waiting[partition], partition, ends[partition])

    async def _push(
        self,
        heads: list[tuple[int, int, ConsumerRecord]],
        after: int,
        numbers: Mapping[TopicPartition, int],
        waiting: deque[ConsumerRecord],
        partition: TopicPartition,
        end: int,
    ) -> None:
        """The next record of ``partition`` joins the heads, none if it is read to its end."""
        if not waiting:
            waiting.extend(await self._fetch(partition, end))
        if waiting:
            record = waiting.popleft()
            heapq.heappush(heads, (max(after, record.timestamp), numbers[partition], record))

    async def _fetch(self, partition: TopicPartition, end: int) -> list[ConsumerRecord]:
        silent_since = time.monotonic()
        while await self._kafka.position(partition) < end:
            before = await self._kafka.position(partition)
            try:
                batches = await self._kafka.getmany(partition, timeout_ms=1_000, max_records=FETCH_RECORDS)
            except UnicodeDecodeError:
                batches = {partition: await fetch_past(self._kafka, partition, before, FETCH_RECORDS)}
            records = [r for r in batches.get(partition, ()) if r.offset < end]
            if records:
                return records
            if not batches and time.monotonic() - silent_since > SILENCE_S:
                raise KafkaUnavailable(
                    f"Kafka gave nothing of {partition.topic} for {SILENCE_S} s; check the broker, and run "
                    "the command again: it goes on where it stopped"
                )
        # a partition at its end would make the broker wait for more, and delay the others
        self._kafka.pause(partition)
        return []
