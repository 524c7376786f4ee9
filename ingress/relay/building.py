"""Makes batch sets: of the callbacks that come next in the journal, and of those that are parked.

Here are the topics: which exist, how many partitions each has, and which take nothing just now. A topic is
blocked while callbacks are parked for a reason about the topic as a whole. New callbacks are parked behind
the old ones, so that the order stays.
"""

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Callable, Iterable, Mapping
from typing import Final

import structlog
from aiokafka.errors import KafkaError

from dingbridge.apps.company import Companies
from dingbridge.errors import KafkaUnavailable, TopicError
from dingbridge.ingress.journal.rows import DAMAGED, FAULT, NO_TOPIC, Parked, StoredCallback
from dingbridge.ingress.relay.batches import BatchSet, BlockedTopics, partition_of
from dingbridge.ingress.relay.reading import JournalReader
from dingbridge.ingress.relay.records import RecordBuilder
from dingbridge.ingress.relay.sender import LARGEST_RECORD_BYTES, Refusal, refusal
from dingbridge.ingress.relay.status import NumberedRecord
from dingbridge.ingress.relay.topics import TopicRouter
from dingbridge.logging import place_of
from dingbridge.settings import IngressSettings

log = structlog.get_logger(__name__)

_YIELD_EVERY_ROWS: Final = 32
"""So that callbacks are answered, and the set before goes out, while a set is built."""

_PARKED_READ: Final = 16
"""So many parked callbacks are read at once: the records of one may take 64 MiB."""

Page = tuple[Iterable[str], int, int]
"""``(reasons, limit, after_seq)``: so many of the callbacks that are parked for one of these reasons."""


class BatchSetBuilder:
    """Builds for one ``Publisher``."""

    def __init__(
        self,
        settings: IngressSettings,
        companies: Callable[[], Companies],
        reader: JournalReader,
    ) -> None:
        self._reader = reader
        self.records = RecordBuilder(settings, companies)
        self._router = TopicRouter(settings, settings.unknown_topics_max)
        self.blocked = BlockedTopics()
        self._backlog: deque[StoredCallback] = deque()  # read, and not in a batch set yet
        self._read = 0

    def begin(self, acked: int) -> None:
        """Read the journal behind ``acked``: all up to there is in Kafka, or parked."""
        self._backlog.clear()
        self._read = acked

    async def connect(self) -> None:
        """Ask Kafka for its topics. Raises ``KafkaUnavailable``."""
        await self._router.load()

    async def build(self, batches: BatchSet | None = None) -> BatchSet | None:
        """Fill a set with the next callbacks; ``None`` if there is none. Raises as ``JournalReader``, and
        ``KafkaError`` or ``KafkaUnavailable`` where a topic is new."""
        batches = batches or BatchSet(self._read - len(self._backlog))
        while not batches.full:
            if not self._backlog:
                if not (rows := await self._reader.read(self._read)):
                    break
                self._backlog.extend(rows)
                self._read = rows[-1].seq
            row = self._backlog[0]
            await self._add(batches, row)
            self._backlog.popleft()
            batches.last = row.seq
            batches.callbacks += 1
            if batches.since_ms is None and row.intact:
                batches.since_ms = row.received_ms
            if batches.callbacks % _YIELD_EVERY_ROWS == 0:
                await asyncio.sleep(0)
        return batches if batches.callbacks else None

    async def _add(self, batches: BatchSet, row: StoredCallback) -> None:
        """Add the records of ``row``, or park it."""
        if not row.intact:
            batches.park(row.seq, NO_TOPIC, DAMAGED)
        try:
            records = self.records.of(row)
        except Exception as error:  # a fault of ours concerns this callback alone
            log.error("relay.fault", seq=row.seq, error=type(error).__name__, place=place_of(error))
            batches.park(row.seq, NO_TOPIC, FAULT)
            return
        for number, record in enumerate(records):
            topic = self._router.topic(record)
            # Invariant 3: while older callbacks of a topic are parked, newer ones are parked behind
            found = self.blocked.reason(topic) or self._router.partitions.get(topic)
            _place(batches, (row.seq, number, record), topic, found or await self._look_up(topic))

    async def _look_up(self, topic: str) -> int | Refusal:
        """How many partitions ``topic`` has, which is made if it is missing; or why it is refused."""
        try:
            return await self._router.ensure(topic)
        except TopicError as error:
            log.warning("relay.topic_refused", topic=topic, words=str(error))
            reason = refusal(error) or Refusal.TOPIC_MISSING
            self.blocked.block(topic, reason)
            return reason

    # -- parked callbacks

    async def ready(self, topics: Iterable[str]) -> list[str]:
        """Those of the blocked ``topics`` that may take records, by Kafka's metadata; others are due
        later."""
        ready = []
        try:
            await self._router.load()
            for topic in topics:
                try:
                    await self._router.ensure(topic)
                    ready.append(topic)
                except TopicError as error:
                    self.blocked.block(topic, refusal(error) or Refusal.TOPIC_MISSING)
        except (KafkaError, KafkaUnavailable):  # what is new will show it
            for topic in topics:
                self.blocked.block(topic, self.blocked.reason(topic) or Refusal.NO_LEADER)
            return []
        return ready

    async def build_parked(
        self, wanted: Mapping[str | None, Page], acked: int
    ) -> tuple[BatchSet, list[Parked], dict[str | None, int]]:
        """A set of a page of the parked callbacks of each topic, or of all (None). Returns it, what it is
        made of, and the last ``seq`` of each that may have more."""
        batches, tried, more = BatchSet(acked), list[Parked](), dict[str | None, int]()
        for topic, (reasons, limit, after_seq) in wanted.items():
            count = 0
            async for parked, row in self._parked(topic, reasons, after_seq):
                if count == limit or (count and batches.full):
                    more[topic] = tried[-1].seq
                    break
                tried.append(parked)
                await self._add_parked(batches, parked, row)
                count += 1
        return batches, tried, more

    async def _parked(
        self, topic: str | None, reasons: Iterable[str], after_seq: int
    ) -> AsyncIterator[tuple[Parked, StoredCallback]]:
        while page := await self._reader.parked(topic, reasons, after_seq, _PARKED_READ):
            for one in page:
                yield one
            after_seq = page[-1][0].seq

    async def _add_parked(self, batches: BatchSet, parked: Parked, row: StoredCallback) -> None:
        """Add what is parked of ``row``; what cannot be sent stays parked."""
        try:
            records = list(enumerate(self.records.of(row)))
        except Exception as error:
            log.error("relay.fault", seq=row.seq, error=type(error).__name__, place=place_of(error))
            batches.park(row.seq, parked.topic, FAULT)
            return
        of_topic = [(number, one) for number, one in records if self._router.topic(one) == parked.topic]
        if not row.intact and not of_topic:  # its records are resync requests, which go to another topic
            batches.park(row.seq, parked.topic, DAMAGED)
        chosen = [(number, one) for number, one in of_topic if number in parked.records] or of_topic
        # another release may make other records of this callback: then send all; readers drop the known ones
        for number, record in chosen or records:
            topic = parked.topic if chosen else self._router.topic(record)
            blocked = None if topic == parked.topic else self.blocked.reason(topic)
            _place(batches, (row.seq, number, record), topic, blocked or await self._look_up(topic))


def _place(batches: BatchSet, numbered: NumberedRecord, topic: str, found: int | Refusal) -> None:
    """Add a record to the batch of its partition, of which ``topic`` has so many, or park its callback."""
    seq, number, record = numbered
    if isinstance(found, Refusal):
        batches.park(seq, topic, found.value)
    elif len(record.value) + len(record.key) > LARGEST_RECORD_BYTES:
        batches.park(seq, topic, Refusal.TOO_LARGE.value, (number,))
    else:
        batches.add((topic, partition_of(record.key, found)), numbered)
