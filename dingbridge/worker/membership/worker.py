"""The Kafka side of a consumer: its group, what is fetched, the handover of partitions, committed offsets.

Between fetch and commit a record is ``scheduler.py``'s, which has the consumer's handler run by
``executor.py``. The process around it (settings, database, signals) is ``service.py``'s.

*Inbox* has two meanings. The inbox topic of a consumer receives replays and requests to this consumer alone.
The inbox table of its database remembers handled events, so that a repeated record is skipped.
"""

import asyncio
from dataclasses import dataclass, field, replace
from typing import Any

import structlog
from aiokafka import AIOKafkaConsumer, ConsumerRebalanceListener, ConsumerRecord, TopicPartition
from aiokafka.coordinator.assignors.range import RangePartitionAssignor
from aiokafka.errors import CommitFailedError, IllegalStateError, KafkaError

from dingbridge.error_location import error_location
from dingbridge.errors import KafkaUnavailable, TopicError
from dingbridge.kafka.client import connection, discard_consumer, explain
from dingbridge.retry import delay
from dingbridge.settings import ConsumerSettings
from dingbridge.tasks import TaskEnded, end
from dingbridge.worker.attempts.executor import Executor
from dingbridge.worker.consumer import Consumer
from dingbridge.worker.dead_letters import DeadLetters, DeadLetterWriter
from dingbridge.worker.membership.blocked_loop import sleep_and_watch
from dingbridge.worker.membership.commits import OLDER, Commits
from dingbridge.worker.membership.database_wait import NO_PARTITION, DatabaseWait
from dingbridge.worker.membership.topics import ConsumerTopics
from dingbridge.worker.membership.undecodable import fetch_one_by_one
from dingbridge.worker.metrics import Measures, WorkerMetrics
from dingbridge.worker.outcomes import Conflict, DependencyUnavailable
from dingbridge.worker.queues.offset_tracker import Limits, OffsetTracker
from dingbridge.worker.scheduling.scheduler import Scheduler
from dingbridge.worker.store.database import Database
from dingbridge.worker.store.offsets import MovedByAnother
from dingbridge.worker.supervise import cancel_on

log = structlog.get_logger(__name__)

FETCH_WAIT_MS = 200
"""How long the broker may wait for records before it answers, in ms. A partition that was just read joins the
next request only, so this is also the longest delay of a single record."""

POLL_MS = 1_000
"""How long one fetch waits for records, in ms; a stop interrupts it."""

WINDOW_WITHOUT_DATABASE = 10_000
"""``Limits.window`` of a consumer without an inbox table: a crash makes it handle this many records again."""

LEAVE_TIMEOUT_S = 5
"""How long leaving the group may take when Kafka does not answer, in s."""

HANDOVER_GRACE_S = 5
"""How long a handler may go on at a rebalance, in s; the whole group waits for it. Then it is cancelled."""

REBALANCE_TIMEOUT_MS = 60_000
"""How long the group waits for a member, in ms: above what a handover and the next assignment may take, which
is ``HANDOVER_GRACE_S``, the cancellation, a commit, and the attempts that are recalled."""

COMMIT_TOO_LATE = (CommitFailedError, IllegalStateError)
"""The group gives the partitions to another member, or has done so."""

TOO_LATE_S = 0.2
"""How long to wait then, in s, before what comes next; the rebalance interrupts it."""


@dataclass(frozen=True, slots=True)
class WorkerOptions:
    """What only tests set."""

    commit_interval_s: float = 1
    session_timeout_ms: int = 10_000
    heartbeat_interval_ms: int = 3_000
    poll_records: int = 500
    limits: Limits = field(default_factory=Limits)


class Worker(ConsumerRebalanceListener):  # type: ignore[misc]
    """One member of the consumer's group. ``run`` returns after ``stop`` was called."""

    def __init__(
        self,
        consumer: Consumer,
        settings: ConsumerSettings,
        executor: Executor,
        metrics: WorkerMetrics,
        options: WorkerOptions | None = None,
    ) -> None:
        self._consumer, self._settings, self._metrics = consumer, settings, metrics
        self._options = options or WorkerOptions()
        self._executor = executor
        self._writer = DeadLetterWriter(settings, consumer.name)
        self._dead_letters = DeadLetters(consumer, executor.database, self._writer)
        self._limits = self._options.limits
        if executor.database is None:
            self._limits = replace(self._limits, window=min(self._limits.window, WINDOW_WITHOUT_DATABASE))
        self._topics = ConsumerTopics(settings, consumer)
        self._measures = Measures(consumer.name, self._topics.all, self._limits.window, metrics)
        self._kafka: AIOKafkaConsumer | None = None
        self._stopping = asyncio.Event()
        self._fetch_otherwise = asyncio.Event()  # other partitions than the fetch under way asks for
        self._settled = asyncio.Event()  # the group has settled
        self._assign(set())
        self._taken_over: Scheduler | None = None  # that of the assignment whose place is decided
        self._held: dict[TopicPartition, list[ConsumerRecord]] = {}  # fetched, and not started yet
        self._trouble: str | None = "starting"  # why it cannot be a member of the group now
        self._database_wait = DatabaseWait(consumer.name)
        self._commits = Commits(consumer, settings, executor, metrics)
        metrics.set("joined", 0)
        metrics.paused(unavailable=0, full=0)

    def _assign(self, partitions: set[TopicPartition]) -> None:
        """Begin anew, with ``partitions``."""
        self._assigned = partitions
        self._scheduler = Scheduler(
            self._consumer,
            self._executor,
            self._dead_letters,
            OffsetTracker(self._limits, partitions),
            self._metrics,
            self._on_paused_change,
            self._topics.foreign,
        )
        self._scheduler.before_careful = self._note_careful

    async def begin_on(self, database: Database, database_id: str) -> None:
        """Before all else, for a consumer with a database, when its tables are there. Raises
        ``DependencyUnavailable``."""
        try:
            await self._commits.begin_on(database, database_id)
        except KafkaUnavailable as error:
            raise DependencyUnavailable(str(error)) from error

    def stop(self) -> None:
        """Ask ``run`` to finish what is being worked on, commit, leave the group and return."""
        self._stopping.set()

    def state(self) -> tuple[bool, dict[str, Any]]:
        """Whether this member takes part, and what an operator wants to know."""
        down = self._down()
        ready = self._settled.is_set() and not down and self._trouble is None
        return ready, {
            "kafka": self._trouble or ("joined" if self._settled.is_set() else "joining the group"),
            "partitions": len(self._assigned),
            "unavailable": down,
        }

    def _down(self) -> dict[str, str]:
        return self._scheduler.down() | self._database_wait.down()

    def in_flight(self) -> dict[str, Any]:
        """What this member has fetched and not finished, and which dependencies that waits for."""
        return self._scheduler.in_flight()

    async def run(self) -> None:
        """Take part in the group until ``stop``; waits for Kafka while it is absent, at start and later.
        Raises ``TaskEnded`` when a task that works on events has ended by a fault of ours."""
        try:
            await cancel_on(self._stopping, self._ensure_topics())
            failures = 0
            while not self._stopping.is_set():
                try:
                    await self._take_part()
                    failures = 0
                except TaskEnded:
                    raise
                except MovedByAnother as error:
                    log.warning("consumer.begins_anew", consumer=self._consumer.name, reason=str(error))
                except Exception as error:  # aiokafka's own faults too: a new membership repairs them
                    failures = 1 if self._taken_over is not None else failures + 1
                    of_database = isinstance(error, DependencyUnavailable | Conflict)
                    if not (of_database or isinstance(error, KafkaError | KafkaUnavailable | OSError)):
                        log.error("consumer.fault", error=error_location(error, "consumers"))
                    words = str(error) if of_database else explain(error, self._settings)
                    await self._wait_out(words, failures)
        finally:
            await self._executor.close()
            await self._writer.close()

    async def _ensure_topics(self) -> None:
        """Make the consumer's topics where missing; compare the numbers of partitions."""
        failures = 0
        while True:
            try:
                aligned = await self._topics.ensure()
                break
            except (KafkaUnavailable, TopicError) as error:
                failures += 1
                await self._wait_out(str(error), failures)
        self._trouble = None
        self._metrics.set("key_queues_aligned", aligned)

    async def _wait_out(self, reason: str, failures: int) -> None:
        wait = delay(failures)
        self._trouble = reason
        log.warning(
            "kafka.unavailable", consumer=self._consumer.name, reason=reason, retry_in_s=round(wait, 1)
        )
        await cancel_on(self._stopping, asyncio.sleep(wait))

    async def _take_part(self) -> None:
        """One membership, from joining to leaving. Raises ``KafkaError`` when it cannot go on."""
        self._commits.went_back.clear()  # that is noticed, and put right by ``take_over``
        self._taken_over = None
        kafka = AIOKafkaConsumer(
            **connection(self._settings),
            group_id=self._consumer.name,
            auto_offset_reset="earliest",  # where a new group begins at the end: kafka/group_start.py
            enable_auto_commit=False,
            isolation_level="read_committed",  # other senders may use transactions
            partition_assignment_strategy=(RangePartitionAssignor,),
            metadata_max_age_ms=30_000,
            fetch_max_wait_ms=FETCH_WAIT_MS,
            session_timeout_ms=self._options.session_timeout_ms,
            heartbeat_interval_ms=self._options.heartbeat_interval_ms,
            rebalance_timeout_ms=REBALANCE_TIMEOUT_MS,
            max_poll_interval_ms=int(self._consumer.handler_timeout_s * 1000) + 300_000,
        )
        kafka.subscribe(self._topics.all, listener=self)
        try:
            await cancel_on(self._stopping, kafka.start())
            if self._stopping.is_set():
                return
            self._kafka = kafka
            self._trouble = None
            await cancel_on(self._stopping, self._fetch_and_commit(kafka))
        finally:
            self._settled.clear()
            await self._hand_over(self._settings.shutdown_timeout_s)
            self._kafka = None
            if not await discard_consumer(kafka, LEAVE_TIMEOUT_S):
                log.info("consumer.left_without_goodbye", consumer=self._consumer.name)

    async def _fetch_and_commit(self, kafka: AIOKafkaConsumer) -> None:
        needed = (self._fetch(kafka), self._commit_regularly(kafka), self._went_back())
        work = [asyncio.create_task(each) for each in needed]
        try:
            done, _ = await asyncio.wait(work, return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                task.result()
        finally:
            await end(*work)

    async def _went_back(self) -> None:
        await self._commits.went_back.wait()
        self._commits.went_back.clear()  # the next membership puts it right
        raise MovedByAnother(OLDER)

    async def _fetch(self, kafka: AIOKafkaConsumer) -> None:
        while True:
            # aiokafka fetches while it calls ``on_partitions_assigned``, so the place is decided here
            await self._settled.wait()
            self._fetch_otherwise.clear()
            self._scheduler.raise_fault()
            step = self._fetch_once if self._decided() else self._take_over
            try:
                await cancel_on(self._fetch_otherwise, step(kafka))
            except UnicodeDecodeError:
                if not self._decided():
                    raise  # of ``Consumer.restored``
                await self._fetch_past_undecodable(kafka)
            except (DependencyUnavailable, Conflict) as error:
                await cancel_on(self._fetch_otherwise, self._database_wait.wait(kafka, str(error)))
            else:
                if not self._fetch_otherwise.is_set():  # else ``step`` may have been cancelled
                    self._database_wait.end()

    def _decided(self) -> bool:
        """Return whether it is decided where the partitions are read from."""
        return self._taken_over is self._scheduler

    async def _fetch_past_undecodable(self, kafka: AIOKafkaConsumer) -> None:
        scheduler = self._scheduler

        async def noted(partition: TopicPartition, end: int) -> bool:
            if self._commits.beyond({partition: end}):
                await self._commits.commit(kafka, [partition])
            return self._scheduler is scheduler and self._settled.is_set()

        await fetch_one_by_one(kafka, scheduler, self._assigned, self._options.poll_records, noted)

    async def _take_over(self, kafka: AIOKafkaConsumer) -> None:
        assigned, scheduler = self._assigned, self._scheduler
        try:
            await self._commits.take_over(kafka, assigned, scheduler.offsets)
        except COMMIT_TOO_LATE:
            log.info("consumer.commit_too_late", consumer=self._consumer.name, partitions=_by_topic(assigned))
            await asyncio.sleep(TOO_LATE_S)  # the group settles anew
            return
        self._taken_over = scheduler

    async def _fetch_once(self, kafka: AIOKafkaConsumer) -> None:
        if not self._held:
            full = self._scheduler.paused()
            # Records of a full partition stay in aiokafka's buffer, which is not filled up further. Its own
            # pause() would drop the buffer, and resuming would wait for the others' long poll.
            partitions = (self._assigned - full) or {NO_PARTITION} if full else ()
            most = self._options.poll_records
            self._held = await kafka.getmany(*partitions, timeout_ms=POLL_MS, max_records=most)
        if not self._held:
            return
        ends = {partition: records[-1].offset + 1 for partition, records in self._held.items()}
        if self._commits.beyond(ends):
            try:
                await self._commits.commit(kafka, ends)
            except COMMIT_TOO_LATE:
                await asyncio.sleep(TOO_LATE_S)  # the group settles anew
                return
        if not self._settled.is_set():  # they came while the partitions were revoked
            self._held = {}
            return
        held, self._held = self._held, {}
        for records in held.values():
            self._scheduler.add(records)
        await asyncio.sleep(0)  # getmany does not yield while it has records

    async def on_partitions_assigned(self, assigned: set[TopicPartition]) -> None:
        """aiokafka calls this when the group has settled; ``_fetch`` decides then where to begin."""
        self._assign(set(assigned))
        self._settled.set()
        self._on_paused_change()
        log.info("consumer.assigned", consumer=self._consumer.name, partitions=_by_topic(assigned))

    async def on_partitions_revoked(self, revoked: set[TopicPartition]) -> None:
        """aiokafka calls this before it rejoins, with all partitions, and fetches nothing until it has."""
        self._settled.clear()
        self._fetch_otherwise.set()
        await self._hand_over(HANDOVER_GRACE_S)

    async def _hand_over(self, grace_s: float) -> None:
        self._held = {}
        if not self._assigned:
            return
        await self._scheduler.close(grace_s)
        try:
            await self._commit(self._assigned, last=True)
        finally:
            self._commits.forget()
            self._assign(set())

    async def _commit_regularly(self, kafka: AIOKafkaConsumer) -> None:
        while True:
            await sleep_and_watch(self._options.commit_interval_s, self._consumer.name)
            if self._settled.is_set() and self._decided():
                await self._commit(self._assigned)
            self._measures.take(kafka, self._assigned, self._scheduler.offsets)
            self._report()

    async def _commit(self, partitions: set[TopicPartition], *, last: bool = False) -> None:
        """Commit what has changed. A failure costs a redelivery, which the inbox table skips. Raises
        ``MovedByAnother``, unless it is the last."""
        if self._kafka is None:
            return
        name = self._consumer.name
        try:
            await self._commits.commit(self._kafka, partitions, last=last)
        except COMMIT_TOO_LATE:
            log.info("consumer.commit_too_late", consumer=name, partitions=_by_topic(partitions))
        except MovedByAnother as error:
            if not last:
                raise
            log.info("consumer.commit_failed", consumer=name, reason=str(error))
        except (KafkaError, OSError, TimeoutError) as error:
            log.warning("consumer.commit_failed", consumer=name, reason=explain(error, self._settings))
        except (DependencyUnavailable, Conflict) as error:
            log.warning("consumer.commit_failed", consumer=name, reason=str(error))

    async def _note_careful(self, partition: TopicPartition) -> None:
        """Note an attempt that may end the process. Raises ``DependencyUnavailable`` where it cannot be."""
        if self._kafka is None:
            return
        try:
            await self._commits.commit(self._kafka, [partition])
        except (KafkaError, OSError, TimeoutError) as error:
            raise DependencyUnavailable(explain(error, self._settings)) from error

    def _on_paused_change(self) -> None:
        """The scheduler may pause other partitions than before."""
        self._report()
        self._fetch_otherwise.set()

    def _report(self) -> None:
        self._metrics.paused(unavailable=len(self._down()), full=len(self._scheduler.paused()))
        self._metrics.set("joined", self._settled.is_set())
        self._metrics.set("paused_seconds", max(self._scheduler.down_for_s(), self._database_wait.for_s()))


def _by_topic(partitions: Any) -> dict[str, list[int]]:
    grouped: dict[str, list[int]] = {}
    for topic, partition in sorted(partitions):
        grouped.setdefault(topic, []).append(partition)
    return grouped
