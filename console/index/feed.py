"""Fills the index from the topics, without a group, and passes new events to open tails.

When Kafka or the disk fails, ``state`` has the problem in words; the feed goes on where the index ends.
"""

import asyncio
import contextlib
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import apsw
import structlog
from aiokafka import AIOKafkaConsumer, ConsumerRecord, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.errors import KafkaError

from dingbridge.console.index.records import Entry, EventEntry, IndexedEvent, entry_of, indexed_topics
from dingbridge.console.index.store import DAMAGE, Index, Partition
from dingbridge.console.index.subscription import Subscription
from dingbridge.errors import BridgeError, KafkaUnavailable
from dingbridge.kafka.client import connection, discard_consumer, explain
from dingbridge.kafka.topics import existing_topics
from dingbridge.kafka.undecodable import fetch_past
from dingbridge.logging import place_of
from dingbridge.settings import KafkaSettings

log = structlog.get_logger(__name__)

BATCH_RECORDS = 2_000
"""Records of one commit, at most."""

GATHER_MS = 200
"""How long records are gathered for one commit, in ms, at the topics' end."""

REFRESH_S = 5.0
"""Between two looks for new topics, in s."""

PRUNE_S = 600.0
AGAIN_S = 5.0
"""Until the next attempt, when Kafka or the disk has failed, in s."""
ASKED_AGAIN_S = 1.0


_EPOCH = datetime.fromtimestamp(0, UTC)


class _Rebuilt(Exception):
    """The index is empty: its file was damaged, or a topic was created again, so its offsets mean others."""


@dataclass(frozen=True, slots=True)
class FeedState:
    """How far the index is. ``behind`` records stand in the topics and not yet in it; None: not known, since
    Kafka does not answer. ``problem`` is what is wrong. ``since``: nothing published before is in the index;
    None: nothing was left out."""

    behind: int | None
    problem: BridgeError | None
    since: datetime | None


class Feed:
    """``start``, and ``stop``. A record is in ``index`` before its event is passed to subscriptions."""

    def __init__(self, settings: KafkaSettings, index: Index) -> None:
        self._settings, self._index = settings, index
        self.task: asyncio.Task[None] | None = None
        """While it runs; it does not end before ``stop``, but by a fault of ours."""
        self._watching: set[Subscription] = set()
        self._kafka: AIOKafkaConsumer | None = None
        self._at: dict[TopicPartition, int] = {}
        self._ends: dict[TopicPartition, int] = {}
        self._caught_up = False
        self._problem: BridgeError | None = None

    async def start(self) -> None:
        """Begin; does not wait for Kafka."""
        self.task = asyncio.create_task(self._run(), name="that fills the index")

    async def stop(self) -> None:
        """End the reading. It is asked until it ends: aiokafka may take a cancellation for its own."""
        while self.task is not None and not self.task.done():
            self.task.cancel()
            await asyncio.wait([self.task], timeout=ASKED_AGAIN_S)

    @property
    def state(self) -> FeedState:
        behind = None
        if self._kafka is not None and self._at:
            behind = sum(max(0, self._end(partition) - at) for partition, at in self._at.items())
        floor = self._index.floor_ms
        since = datetime.fromtimestamp(floor / 1000, UTC) if floor else None
        return FeedState(behind, self._problem, since)

    @property
    def answered_at(self) -> float | None:
        """When Kafka last answered (epoch s): twice a second, also where nothing comes. None: not yet."""
        if self._kafka is None:
            return None
        polled = (self._kafka.last_poll_timestamp(partition) for partition in self._at)
        last_ms = max((ms for ms in polled if ms is not None), default=None)
        return None if last_ms is None else last_ms / 1000

    @contextlib.contextmanager
    def subscribe(self, matches: Callable[[IndexedEvent], bool]) -> Iterator[Subscription]:
        """The matching events from now on; none while the index catches up."""
        subscription = Subscription(matches)
        self._watching.add(subscription)
        try:
            yield subscription
        finally:
            self._watching.discard(subscription)

    async def _run(self) -> None:
        while True:
            try:
                await self._follow()
            except _Rebuilt:
                continue
            except BridgeError as error:
                self._problem = error
            except (KafkaError, OSError) as error:
                self._problem = KafkaUnavailable(explain(error, self._settings))
            except DAMAGE:
                self._index.damaged = True
                self._problem = BridgeError(f"the index {self._index.path} is damaged: it is rebuilt")
            except apsw.Error as error:
                self._problem = BridgeError(
                    f"the index {self._index.path} cannot be written ({type(error).__name__}: {error}); make "
                    "room on its disk, or stop the console and delete the file: it is rebuilt"
                )
            log.warning("console.feed_waits", problem=str(self._problem))
            await asyncio.sleep(AGAIN_S)

    async def _follow(self) -> None:
        """Read until something fails."""
        origin = await self._origin()
        if self._index.damaged:
            await asyncio.to_thread(self._rebuild, "damaged")
        if await asyncio.to_thread(self._index.belongs_to, origin):
            self._caught_up = False
        self._at.clear()
        kafka = AIOKafkaConsumer(
            **connection(self._settings),
            enable_auto_commit=False,
            auto_offset_reset="earliest",
            isolation_level="read_committed",
        )
        try:
            await kafka.start()
            self._kafka = kafka
            refresh_at = prune_at = 0.0
            while True:
                if time.monotonic() >= refresh_at:
                    await self._refresh(kafka)
                    refresh_at = time.monotonic() + REFRESH_S
                if time.monotonic() >= prune_at:
                    await self._prune(kafka)
                    prune_at = time.monotonic() + PRUNE_S
                await self._batch(kafka)
        finally:
            self._kafka = None
            await discard_consumer(kafka)

    async def _batch(self, kafka: AIOKafkaConsumer) -> None:
        gathered_at = time.monotonic() + GATHER_MS / 1000
        if self._index.damaged:
            raise await asyncio.to_thread(self._rebuild, "damaged")
        batches = await self._fetch(kafka) if self._at else {}
        entries = await asyncio.to_thread(self._keep, batches)
        for partition in batches:
            self._at[partition] = await kafka.position(partition)
        if self._caught_up:
            self._notify(entries)
        elif all(at >= self._ends[partition] for partition, at in self._at.items()):
            self._caught_up, self._problem = True, None
        if not self.state.behind:  # at the end: a commit for each few records would cost more than they do
            await asyncio.sleep(max(0.0, gathered_at - time.monotonic()))

    async def _fetch(self, kafka: AIOKafkaConsumer) -> dict[TopicPartition, list[ConsumerRecord]]:
        try:
            found: dict[TopicPartition, list[ConsumerRecord]]
            found = await kafka.getmany(timeout_ms=GATHER_MS, max_records=BATCH_RECORDS)
            return found
        except UnicodeDecodeError:
            behind = [(partition, at) for partition, at in self._at.items() if at < self._end(partition)]
            return {
                partition: await fetch_past(kafka, partition, at, BATCH_RECORDS) for partition, at in behind
            }

    def _keep(self, batches: Mapping[TopicPartition, list[ConsumerRecord]]) -> list[Entry]:
        """Into the index, as one commit."""
        read: dict[Partition, tuple[int, int]] = {}
        entries: list[Entry] = []
        for partition, records in batches.items():
            if not records:
                continue
            if records[0].offset < self._at[partition]:
                raise self._rebuild(f"the topic {partition.topic} was created again")
            read[partition.topic, partition.partition] = records[0].offset, records[-1].offset + 1
            entries += filter(None, map(self._entry, records))
        if read:
            self._index.add(entries, read)
        return entries

    def _entry(self, record: ConsumerRecord) -> Entry | None:
        """None also for a record that we fail to read: one must not keep the others from the index."""
        try:
            return entry_of(record, self._settings)
        except Exception as error:
            place = {"topic": record.topic, "partition": record.partition, "offset": record.offset}
            log.error("console.record_unread", **place, error=type(error).__name__, place=place_of(error))
            return None

    def _rebuild(self, reason: str) -> _Rebuilt:
        self._caught_up = False  # all records are read again; none is new
        self._index.rebuild(reason)
        return _Rebuilt(reason)

    def _notify(self, entries: Iterable[Entry]) -> None:
        for entry in entries:
            if isinstance(entry, EventEntry):
                for subscription in tuple(self._watching):
                    subscription.offer(entry.event)

    async def _refresh(self, kafka: AIOKafkaConsumer) -> None:
        """Take in topics that are new, and leave out those that are gone."""
        counts = await existing_topics(self._settings)
        names = indexed_topics(self._settings, counts)
        there = {TopicPartition(name, number) for name in names for number in range(counts[name])}
        if there != self._at.keys():
            new = there - self._at.keys()
            at = {partition: at for partition, at in self._at.items() if partition in there}
            begins, ends = await kafka.beginning_offsets(new), await kafka.end_offsets(new)
            self._ends |= ends
            spans = await asyncio.to_thread(self._index.spans)
            for partition in new:
                span = spans.get((partition.topic, partition.partition))
                if span is not None and span.next > ends[partition]:
                    reason = f"the topic {partition.topic} was created again"
                    raise await asyncio.to_thread(self._rebuild, reason)
                at[partition] = max(span.next if span is not None else 0, begins[partition])
            kafka.assign(list(at))
            for partition, offset in at.items():
                kafka.seek(partition, offset)
            self._at = at
        for partition in self._at:  # not known from records: a transaction's end has an offset, too
            self._at[partition] = await kafka.position(partition)
        self._problem = None

    async def _prune(self, kafka: AIOKafkaConsumer) -> None:
        before = max(_EPOCH, datetime.now(UTC) - timedelta(days=self._settings.topic_retention_days))
        begins = await kafka.beginning_offsets(list(self._at)) if self._at else {}
        await asyncio.to_thread(
            self._index.prune, before, {(p.topic, p.partition): begin for p, begin in begins.items()}
        )
        await asyncio.to_thread(self._index.shrink)

    async def _origin(self) -> str:
        """The cluster and the prefixes, as one text. Raises ``KafkaUnavailable``."""
        admin = AIOKafkaAdminClient(**connection(self._settings), request_timeout_ms=10_000)
        try:
            await admin.start()
            cluster = (await admin.describe_cluster()).get("cluster_id")
        except (KafkaError, OSError) as error:
            raise KafkaUnavailable(explain(error, self._settings)) from error
        finally:
            await admin.close()
        return f"{cluster} {self._settings.topic_prefix} {self._settings.control_prefix}"

    def _end(self, partition: TopicPartition) -> int:
        seen = self._kafka.highwater(partition) if self._kafka is not None else None
        return int(seen) if seen is not None else self._ends.get(partition, 0)
