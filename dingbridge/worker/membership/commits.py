"""Commits a member's offsets, and decides where it begins to read.

Offsets are kept twice, in Kafka and in the consumer's database. So a database that goes back in time takes
its offsets back with it (docs/decisions/0080).

Each commit first moves the row in the database (``store/offsets.py``) to its next version, and then Kafka's
offset, whose note (``queues/note.py``) names the database and that version. So Kafka never has a version that
the database has not had: a lower one there, or none, means that the database went back.
"""

import asyncio
import time
from collections.abc import AsyncIterator, Collection, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any, Final, NamedTuple

import structlog
from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.structs import OffsetAndMetadata
from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncConnection

from dingbridge.kafka.group_offsets import committed_offsets
from dingbridge.kafka.reader import Span, TopicReader
from dingbridge.settings import KafkaSettings
from dingbridge.worker.attempts.executor import Executor
from dingbridge.worker.consumer import Consumer
from dingbridge.worker.metrics import WorkerMetrics
from dingbridge.worker.queues.note import NO_NOTE, Attempts, Note, read_note, write_note
from dingbridge.worker.queues.offset_tracker import OffsetTracker
from dingbridge.worker.store import inbox, offsets
from dingbridge.worker.store.database import ANSWER_TIMEOUT_S, Database
from dingbridge.worker.store.errors import DatabaseDown, answered
from dingbridge.worker.store.offsets import Kept, MovedByAnother
from dingbridge.worker.store.restored import Restored
from dingbridge.worker.store.transaction import Transaction

log = structlog.get_logger(__name__)

OLDER: Final = "the database is older than it was: it went back in time"

LEAST_AHEAD: Final = 1_000
MOST_AHEAD: Final = 20_000
"""How many records may be started beyond those of the last note. More need a commit before they are."""

COMMIT_TIMEOUT_S: Final = 5
"""How long the database, and then Kafka, may take for a commit, in s."""

LOOK_EVERY_S: Final = 5
"""How often a PostgreSQL is asked something while there is nothing to commit, in s. It may have gone back in
time, and without an event nothing else would notice."""


class _State(NamedTuple):
    """What is to be committed of a partition; the last three as in ``Note``."""

    offset: int
    running_to: int | None
    suspect_to: int | None
    failed: tuple[tuple[int, Attempts], ...]


@dataclass(slots=True, eq=False)
class _Place:
    """One partition of this member.

    ``begin``: where it began to read. ``version``: of its row. ``running_to``, ``suspect_to``: as in
    ``Note``. ``committed``: what Kafka has, None if that is not known.
    """

    begin: int
    version: int
    running_to: int
    used: bool
    """Whether Kafka has an offset, or a record came: without either there is nothing to commit."""
    suspect_to: int | None = None
    committed: _State | None = None
    noted_at: int = 0
    """The offset behind the last record when ``running_to`` was set."""


@dataclass(frozen=True, slots=True)
class Begin:
    """Where a partition is read from: ``offset`` is None where neither Kafka nor the database has one.
    ``version``: of its row until now. ``went_back``: the database did. ``other_database``: the member before
    had another one."""

    offset: int | None
    version: int
    went_back: bool = False
    other_database: bool = False


def begin_at(
    committed: OffsetAndMetadata | None, note: Note | None, row: Kept | None, database: str
) -> Begin:
    """What Kafka and the database say of one partition, put together. ``note`` is None if it is not ours:
    then somebody has reset the offset."""
    version = row.version if row is not None else 0
    if committed is None:
        return Begin(None, version)
    if note is None or note.database != database:
        # Kafka's place stands: another member's file knows what it has of the partition
        return Begin(committed.offset, version, other_database=note is not None and note.database != "")
    if version < note.version:
        # Invariant 4: a database that goes back in time takes its offsets back with it
        return Begin(row.offset if row is not None else None, note.version, went_back=True)
    # lower where a member died between the row of a database that went back, and Kafka's offset
    return Begin(committed.offset if row is None else min(committed.offset, row.offset), version)


class Commits:
    """The offsets of one member's partitions."""

    def __init__(
        self,
        consumer: Consumer,
        settings: KafkaSettings,
        executor: Executor,
        metrics: WorkerMetrics,
    ) -> None:
        self._consumer, self._settings, self._executor = consumer, settings, executor
        self._database, self._metrics = executor.database, metrics
        self._tracker = OffsetTracker()
        self._places: dict[TopicPartition, _Place] = {}
        self._lock = asyncio.Lock()
        self._database_id = ""
        self.went_back = asyncio.Event()
        """Set when a new connection shows an older database: the membership is to begin anew."""
        self._older = False  # since then, until ``take_over`` has put that right
        self._versions: dict[TopicPartition, int] = {}  # of all members' rows, as last seen
        self._putting_right: asyncio.Task[Any] | None = None
        self._looked_at = 0.0

    async def begin_on(self, database: Database, database_id: str) -> None:
        """Before anything else is done, when the tables are there: watch ``database``, and call
        ``Consumer.restored`` if it went back while no member ran. The next assignment calls it again. Raises
        ``KafkaUnavailable``, ``DatabaseDown``."""
        self._database_id = database_id
        database.check = self._check_connection
        if type(self._consumer).restored is Consumer.restored:
            return
        committed = await committed_offsets(self._settings, self._consumer.name)
        notes = {p: read_note(c.offset, c.metadata) for p, c in committed.items()}
        async with self._before_others(), database.transaction() as tx:
            async with answered(ANSWER_TIMEOUT_S):
                rows = await offsets.locked(tx, self._consumer.name, committed)
            begins = {p: begin_at(c, notes[p], rows.get(p), self._database_id) for p, c in committed.items()}
            if any(begin.went_back for begin in begins.values()):
                counts: dict[str, int] = {}
                for topic, number in committed:
                    counts[topic] = max(counts.get(topic, 0), number + 1)
                async with TopicReader(self._settings) as reader:
                    spans = await reader.spans(counts)
                await self._restored(tx, begins, spans)

    async def take_over(
        self, kafka: AIOKafkaConsumer, assigned: Collection[TopicPartition], tracker: OffsetTracker
    ) -> None:
        """Decide where ``assigned`` are read from, and note that they are; ``tracker`` is theirs. Raises
        ``KafkaUnavailable``, ``KafkaError``, ``DatabaseDown``, or what ``Consumer.restored`` raises: then
        nothing may be read."""
        self._places.clear()
        self._tracker = tracker
        if not assigned and not self._older:
            return
        committed = await committed_offsets(self._settings, self._consumer.name, assigned)
        notes = {p: read_note(c.offset, c.metadata) for p, c in committed.items()}
        earliest = await kafka.beginning_offsets(list(assigned))
        if self._database is None:
            begins = {p: begin_at(committed.get(p), notes.get(p), None, "") for p in assigned}
        else:
            begins = await self._keep(self._database, kafka, committed, notes, earliest)
        for partition, begin in begins.items():
            first = earliest[partition]
            if begin.offset is not None and begin.offset < first:
                self._skipped(partition, first - begin.offset)
            offset = first if begin.offset is None else max(begin.offset, first)
            if partition in committed and committed[partition].offset != offset:
                kafka.seek(partition, offset)
            used = begin.offset is not None
            version = 0 if self._database is None else begin.version + 1
            self._begin(partition, offset, version, notes.get(partition) or NO_NOTE, used=used)
        self._executor.forget_applied(self._executor.applied_lately())
        self._older = False
        self.went_back.clear()
        await self.commit(kafka, assigned)

    async def _keep(
        self,
        database: Database,
        kafka: AIOKafkaConsumer,
        committed: Mapping[TopicPartition, OffsetAndMetadata],
        notes: Mapping[TopicPartition, Note | None],
        earliest: Mapping[TopicPartition, int],
    ) -> dict[TopicPartition, Begin]:
        """Compare with the rows of the database, and write them: no other member moves them from now on."""
        name = self._consumer.name
        async with self._before_others(), database.transaction() as tx:
            async with answered(ANSWER_TIMEOUT_S):
                rows = await offsets.locked(tx, name, earliest)
            begins = {
                p: begin_at(committed.get(p), notes.get(p), rows.get(p), self._database_id) for p in earliest
            }
            if others := sorted(
                f"{p.topic}-{p.partition}" for p, begin in begins.items() if begin.other_database
            ):
                log.info("consumer.other_database", consumer=name, partitions=others)
            if back := [p for p, begin in begins.items() if begin.went_back]:
                ends = await kafka.end_offsets(back)
                await self._restored(tx, begins, {p: Span(earliest[p], ends[p]) for p in back})
            kept = {
                p: Kept(earliest[p] if begin.offset is None else begin.offset, begin.version + 1)
                for p, begin in begins.items()
            }
            async with answered(ANSWER_TIMEOUT_S):
                await offsets.put(tx, name, kept)
        return begins

    async def _restored(
        self, tx: Transaction, begins: Mapping[TopicPartition, Begin], spans: Mapping[TopicPartition, Span]
    ) -> None:
        back = {p: begin.offset for p, begin in begins.items() if begin.went_back and p in spans}
        ends: dict[str, dict[str, int]] = {}
        for partition in back:
            ends.setdefault(partition.topic, {})[str(partition.partition)] = spans[partition].end
        lost = any((offset or 0) < spans[partition].begin for partition, offset in back.items())
        log.warning(
            "consumer.database_went_back",
            consumer=self._consumer.name,
            partitions={f"{p.topic}-{p.partition}": offset for p, offset in sorted(back.items())},
            lost=lost,
            meaning="the database is older than the offsets in Kafka: events are read again from the place "
            "that it knows, and those that it has are skipped"
            + ("; Kafka no longer holds all of them, so compare with DingTalk" if lost else ""),
        )
        at_ms = await offsets.latest_ms(tx, self._consumer.name)
        await self._consumer.restored(Restored(at_ms, ends, lost), tx)

    def _skipped(self, partition: TopicPartition, records: int) -> None:
        self._metrics.skipped(partition.topic, records)
        log.error(
            "consumer.offsets_skipped",
            consumer=self._consumer.name,
            topic=partition.topic,
            partition=partition.partition,
            records=records,
            meaning="Kafka deleted them, by the topic's retention, before this consumer read them; compare "
            "with DingTalk",
        )

    def _begin(self, partition: TopicPartition, offset: int, version: int, note: Note, *, used: bool) -> None:
        running_to = offset + LEAST_AHEAD if used else offset
        place = _Place(offset, version, running_to, used, noted_at=offset)
        if note.suspect_to is not None and note.suspect_to > offset:
            place.suspect_to = note.suspect_to
            if note.running_to is not None:  # a second member in a row ended before it had finished all
                self._tracker.careful_to[partition] = note.suspect_to
        elif note.running_to is not None:
            place.suspect_to = note.running_to
        self._places[partition] = place
        self._tracker.recall(partition, note.failed)

    def beyond(self, ends: Mapping[TopicPartition, int]) -> bool:
        """Whether records below ``ends`` go beyond what is noted, so that they may not be started yet."""
        late = False
        for partition, end in ends.items():
            place = self._places.get(partition)
            if place is None:
                continue
            if end > place.running_to:
                self._run_ahead(place, end)
            if place.committed is None or end > (place.committed.running_to or 0):
                place.used = late = True
        return late

    async def commit(
        self, kafka: AIOKafkaConsumer, partitions: Collection[TopicPartition], *, last: bool = False
    ) -> None:
        """Commit what has changed of ``partitions``; ``last``: they are handed over. Raises ``KafkaError``,
        ``TimeoutError`` (of Kafka), ``DatabaseDown``, ``MovedByAnother``."""
        async with self._lock:
            if self._older:
                raise MovedByAnother(OLDER)
            places = {p: self._places[p] for p in partitions if p in self._places}
            states = {p: self._now(p, place, last) for p, place in places.items() if place.used}
            changed = {p: now for p, now in states.items() if now != places[p].committed}
            if not changed:
                await self._look()
                return
            if self._database is not None:
                applied = self._executor.applied_lately()
                # Invariant 4: first the row, so that Kafka is never ahead of the database
                async with answered(COMMIT_TIMEOUT_S), self._database.transaction() as tx:
                    rows = [(p, now.offset, places[p].version) for p, now in changed.items()]
                    await offsets.move(tx, self._consumer.name, rows)
                for partition in changed:
                    places[partition].version += 1
                self._executor.forget_applied(applied)
            notes = {
                p: Note(self._database_id, places[p].version, now.running_to, now.suspect_to)
                for p, now in changed.items()
            }
            async with asyncio.timeout(COMMIT_TIMEOUT_S):
                await kafka.commit(
                    {
                        p: (now.offset, write_note(now.offset, notes[p], now.failed))
                        for p, now in changed.items()
                    }
                )
            for partition, now in changed.items():
                places[partition].committed = now

    async def _look(self) -> None:
        now, database = time.monotonic(), self._database
        if database is None or database.dialect == "sqlite" or now - self._looked_at < LOOK_EVERY_S:
            return
        self._looked_at = now
        async with answered(COMMIT_TIMEOUT_S), database.transaction() as tx:
            await tx.scalar(select(1))

    def _now(self, partition: TopicPartition, place: _Place, last: bool) -> _State:
        committable = self._tracker.committable_offset(partition)
        offset = place.begin if committable is None else committable
        fetched = self._tracker.next_offset(partition) or offset
        if place.running_to - fetched < LEAST_AHEAD // 2:
            self._run_ahead(place, fetched)
        if place.suspect_to is not None and offset >= place.suspect_to:
            place.suspect_to = None
        failed = tuple(self._tracker.failed(partition))
        if last:
            return _State(offset, None, None, failed)
        return _State(offset, place.running_to, place.suspect_to, failed)

    def _run_ahead(self, place: _Place, fetched: int) -> None:
        place.running_to = fetched + min(max(2 * (fetched - place.noted_at), LEAST_AHEAD), MOST_AHEAD)
        place.noted_at = fetched

    def forget(self) -> None:
        """The partitions are another member's now."""
        self._places.clear()

    async def _check_connection(self, connection: AsyncConnection) -> None:
        """A standby that was promoted lacks what it had not received. Raises ``DatabaseDown`` on a new
        connection where a row is older than it was, until ``take_over`` has put that right."""
        if self._putting_right is asyncio.current_task():
            return
        rows = await connection.execute(offsets.of_consumer(self._consumer.name))
        versions = {TopicPartition(row.topic, row.partition): int(row.version) for row in rows}
        mine = {partition: place.version for partition, place in self._places.items()}
        older = any(versions.get(p, 0) < version for p, version in (self._versions | mine).items())
        # these rows are as old as the last commit, so an effect since then is looked for, too
        applied = self._executor.applied_lately()
        if older or len(await inbox.attempts_of(connection, applied)) < len(applied):
            self.notice()
        if self._older:
            raise DatabaseDown(OLDER)
        self._versions = versions

    def notice(self) -> None:
        """The database is older than it was: nothing is written to it until ``take_over`` was here."""
        if not self._older:
            self._older = True
            self.went_back.set()

    @asynccontextmanager
    async def _before_others(self) -> AsyncIterator[None]:
        """Nothing else may use a database that went back until ``Consumer.restored`` was called."""
        self._putting_right = asyncio.current_task()
        try:
            yield
        finally:
            self._putting_right = None
            self._versions.clear()
