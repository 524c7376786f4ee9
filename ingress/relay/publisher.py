"""The relay's loop: from the journal to Kafka, in order, and the checkpoint behind it.

It reads callbacks in ``seq`` order, normalises them, and sends them in batch sets; the checkpoint moves past
a callback only when Kafka has acknowledged each of its records, or they are durably parked. The producer's
memory is never the storage: whatever fails, it goes on from the checkpoint with a new producer.
"""

import asyncio
import contextlib
import time
from collections import deque
from collections.abc import Collection
from pathlib import Path

import apsw
import structlog
from aiokafka import AIOKafkaProducer
from aiokafka.errors import KafkaError

from dingbridge.errors import KafkaUnavailable
from dingbridge.kafka.client import (
    PRODUCER_MAX_REQUEST_BYTES,
    discard_producer,
    explain,
    producer,
    start_producer,
)
from dingbridge.kafka.health import ensure_answers
from dingbridge.settings import IngressSettings
from dingbridge.tracing import Tracer
from ingress.errors import JournalDamaged, JournalError
from ingress.journal.checkpoint import (
    DAMAGED,
    NO_TOPIC,
    WHOLE_CALLBACK,
    Checkpoint,
    Parked,
    SharedCheckpoint,
)
from ingress.journal.rows import StoredCallback
from ingress.relay.batches import BatchSet, PartialCallback, RecordAccumulator
from ingress.relay.delivery import SendFailed, TopicPartition, acknowledged
from ingress.relay.messages import MessageBuilder
from ingress.relay.parked import ParkedRecords
from ingress.relay.reading import JournalReader
from ingress.relay.spans import begin_span
from ingress.relay.status import RelayStatus
from ingress.relay.topics import TopicRouter

log = structlog.get_logger(__name__)

_CHECKPOINT_EVERY_S = 0.1
_FORGET_EVERY_S = 60.0
_IDLE_S = 0.5
_ANSWERED_WITHIN_S = 5.0
"""On an idle bridge Kafka is asked so often whether it is still there."""
_SET_EVERY_S = 0.02
"""Batch sets that are not full begin no closer together: each costs as much as dozens of records."""
_BACKOFF_S = (0.2, 5.0)
_TURN_ROWS = 32
"""After so many rows the event loop gets its turn: what was sent before must go out meanwhile."""


class Publisher:
    """Publishes one journal. ``run`` until ``stop``; ``wake`` when something new was kept."""

    def __init__(
        self,
        settings: IngressSettings,
        folder: Path,
        status: RelayStatus,
        *,
        until_empty: bool = False,
        tracer: Tracer | None = None,
    ) -> None:
        """``until_empty``: end when nothing waits.

        Raises ``JournalError``, or ``apsw.Error``, when the journal or its checkpoint cannot be opened."""
        self._settings, self._status, self._tracer = settings, status, tracer
        self._until_empty = until_empty
        self._journal = JournalReader(folder)
        try:
            checkpoint = Checkpoint(folder, self._journal.id)
        except BaseException:
            self._journal.close()
            raise
        self._position = self._saved = self._read_seq = checkpoint.seq()
        self._checkpoint = SharedCheckpoint(checkpoint)
        self._router = TopicRouter(settings, settings.unknown_topics_max)
        self._messages = MessageBuilder(settings, self._journal.id)
        self.parked = ParkedRecords(
            settings, self._checkpoint, self._journal, self._messages, self._router, status
        )
        self._accumulator = RecordAccumulator(self._router, self.parked.blocked)
        self._producer: AIOKafkaProducer | None = None
        self._backlog: deque[StoredCallback] = deque()
        self._partial: PartialCallback | None = None
        self._unsaved_parked: list[Parked] = []
        self._saved_at = self._forgot_at = self._answered_at = 0.0
        self._awake = asyncio.Event()
        self._stopping = False
        self.left = 0
        """How many records were still parked when all else was published, and may be retried."""

    # -- what others call

    def wake(self) -> None:
        """Something new is in the journal."""
        self._awake.set()

    def stop(self) -> None:
        """End ``run`` soon; what is under way is awaited for a moment, the rest stays in the journal."""
        self._stopping = True
        self._awake.set()

    def retry_parked(self) -> None:
        """Try what is parked now."""
        self.parked.ask()

    async def forget_damaged(self) -> int:
        """Give up the callbacks that are parked as damaged; how many. Raises ``apsw.Error`` or
        ``JournalError``."""
        forgotten = await self._checkpoint.call(Checkpoint.forget_damaged)
        self._status.parked(await self._checkpoint.call(Checkpoint.parked_counts))
        log.warning("publisher.damaged_forgotten", callbacks=forgotten)
        return forgotten

    async def run(self) -> None:
        """Publish until ``stop``, or to the end if it drains; no failure of Kafka or of the disk ends it."""
        retrying = None if self._until_empty else asyncio.create_task(self.parked.run())
        try:
            await self._run()
        finally:
            if retrying is not None:
                retrying.cancel()
                await asyncio.gather(retrying, return_exceptions=True)
            with contextlib.suppress(apsw.Error, JournalError):
                await self._save()
            await self._discard_producer()
            self._journal.close()
            self._checkpoint.close()

    async def _run(self) -> None:
        backoff = _BACKOFF_S[0]
        while not self._stopping:
            before = self._position
            try:
                await self._connect()
                await self._publish()
                return
            except SendFailed as failed:
                for error in failed.errors:
                    self._status.error(type(error).__name__)
                if failed.only_refusals:
                    await self._discard_producer()
                    continue
                self._status.down(explain(failed.worst, self._settings))
            except KafkaUnavailable as error:
                self._status.error(type(error).__name__)
                self._status.down(str(error))
            except KafkaError as error:
                self._status.error(type(error).__name__)
                self._status.down(explain(error, self._settings))
            except (apsw.Error, JournalError) as error:
                self._status.error(type(error).__name__)
                self._status.down(
                    f"the journal or its checkpoint fails ({type(error).__name__}: {error}); free or replace "
                    "the disk; `dingbridge journal stats` tells what still waits"
                )
                if isinstance(error, JournalDamaged):
                    raise
                await self._reopen()
            await self._discard_producer()
            if self._position > before:
                backoff = _BACKOFF_S[0]
            await self._pause(backoff)
            backoff = min(backoff * 2, _BACKOFF_S[1])

    async def _reopen(self) -> None:
        """Read and write by new handles: after a failed fsync no open one may be trusted."""
        self._journal.reopen()
        with contextlib.suppress(apsw.Error, JournalError):  # then the next use fails, and leads here again
            await self._checkpoint.call(Checkpoint.reopen)

    # -- the connection

    async def _connect(self) -> None:
        if self._producer is not None:
            return
        fresh = producer(self._settings, max_batch_size=PRODUCER_MAX_REQUEST_BYTES)
        await start_producer(fresh, self._settings)
        self._producer = fresh
        self._accumulator.use(fresh)
        await self._router.load()
        await self.parked.load()
        self._answered_at = time.monotonic()

    async def _discard_producer(self) -> None:
        """Throw the producer away, and go back to behind the last callback that is surely in Kafka."""
        self._backlog.clear()
        self._partial = None
        self._read_seq = self._position
        dead, self._producer = self._producer, None
        if dead is None:
            return
        # it may flush what it holds first; while Kafka is away, until that has expired
        await discard_producer(dead, 1 if self._stopping else 2 * self._settings.kafka_request_timeout_s + 5)

    # -- batch sets

    async def _publish(self) -> None:
        current: BatchSet | None = None
        while not self._stopping:
            if current is None:
                await self._save_sometimes()
                await self._unblock()
                current = await self._build()
            if current is None:
                if self._until_empty:
                    await self._end()
                    return
                await self._idle()
                continue
            futures, sent_at = await self._send(current), time.monotonic()
            # a topic is unblocked between two sets, while no callback is in parts
            unblock = bool(self.parked.nearly_done) and self._partial is None
            following = await self._meanwhile(current, futures, build=not unblock)
            await self._save_sometimes()
            if not unblock and (following is None or not following.full):
                await asyncio.sleep(max(0.0, sent_at + _SET_EVERY_S - time.monotonic()))
                following = await self._build(following)
            current = following

    async def _meanwhile(
        self, current: BatchSet, futures: dict[TopicPartition, "asyncio.Future[object]"], *, build: bool
    ) -> BatchSet | None:
        """While ``current`` is on its way, ``build`` the next one, to be sent when this one is there. A disk
        that fails now does not change what is known of this one."""
        following, settled = await asyncio.gather(
            self._build() if build else _nothing(), self._settle(current, futures), return_exceptions=True
        )
        for outcome in (settled, following):
            if isinstance(outcome, BaseException):
                raise outcome
        assert not isinstance(following, BaseException)  # noqa: S101 - raised above
        return following

    async def _unblock(self) -> None:
        """Nothing is on its way, and nothing being built: once what was parked is saved, a topic of which all
        is sent then is unblocked."""
        for topic in sorted(self.parked.nearly_done):
            await self._save()
            await self.parked.hand_over(topic)

    async def _idle(self) -> None:
        if self._position != self._saved:
            await self._pause(_CHECKPOINT_EVERY_S)
            return
        if time.monotonic() - self._answered_at >= _ANSWERED_WITHIN_S:
            await ensure_answers(self._settings)
            self._answered_at = time.monotonic()
        self._status.up()
        await self._pause(_IDLE_S)

    async def _build(self, batches: BatchSet | None = None) -> BatchSet | None:
        """The next set, or more into this one; ``None`` when nothing waits."""
        batches = batches or BatchSet()
        while not batches.full:
            if not self._backlog:
                try:
                    chunk = self._journal.read(self._read_seq)
                except (apsw.Error, JournalError):
                    if batches.done:
                        break  # what was read before is sent, and the next read tells
                    raise
                if chunk.end == self._read_seq:
                    break
                self._backlog.extend(chunk.rows)
                self._read_seq = chunk.end
                continue
            callback = self._partial or self._callback(self._backlog[0])
            if not await self._accumulator.add(batches, callback):
                self._partial = callback
                break
            self._partial = None
            self._backlog.popleft()
            batches.finish(callback)
            if len(batches.done) % _TURN_ROWS == 0:
                await asyncio.sleep(0)
        return batches if batches.records or batches.done else None

    def _callback(self, row: StoredCallback) -> PartialCallback:
        now_ms = int(time.time() * 1000)
        messages = self._messages.messages(row)
        if row.intact:
            return PartialCallback(row.seq, row.received_ms, messages)
        log.error("publisher.damaged", seq=row.seq)
        parked = [Parked(row.seq, WHOLE_CALLBACK, NO_TOPIC, DAMAGED, now_ms)]
        return PartialCallback(row.seq, now_ms, messages, parked=parked)

    async def _send(self, batches: BatchSet) -> dict[TopicPartition, "asyncio.Future[object]"]:
        assert self._producer is not None  # noqa: S101 - connected before
        futures = {}
        for partition, batch in batches.batches.items():
            end = None if self._tracer is None else begin_span(self._tracer, batch)
            future = await self._producer.send_batch(batch.builder, partition[0], partition=partition[1])
            if end is not None:
                future.add_done_callback(end)
            futures[partition] = future
        return futures

    async def _settle(
        self, batches: BatchSet, futures: dict[TopicPartition, "asyncio.Future[object]"]
    ) -> None:
        """Wait until every batch is acknowledged or has failed. Raises ``SendFailed`` if one has, and
        ``KafkaUnavailable`` when one does neither for too long."""
        if not await acknowledged(self._settings, self._status, futures, lambda: self._stopping):
            raise SendFailed([KafkaUnavailable("stopped before Kafka had acknowledged")])
        failed = {key: error for key, future in futures.items() if (error := future.exception()) is not None}
        self._pass(batches, failed)
        self._accumulator.acknowledged(batches.batches.keys() - failed.keys(), position=self._position)
        if not failed:
            self._answered_at = time.monotonic()
            self._status.up()
            return
        for key, error in failed.items():
            self._accumulator.learn(batches.batches[key], error)
        raise SendFailed(list(failed.values()))

    def _pass(self, batches: BatchSet, failed: Collection[TopicPartition]) -> None:
        """The checkpoint may stand behind all that is in Kafka or parked; what follows is sent again."""
        seq = batches.passable(failed)
        for batch in batches.batches.values():
            there = (r for at, _, r in batch.records if not failed or (seq is not None and at <= seq))
            self._status.published(there)
        if seq is None:
            return
        self._position = seq
        if batches.since_ms is not None:
            self._status.lagged(max(0.0, time.time() - batches.since_ms / 1000))
        self._unsaved_parked += [p for p in batches.parked if p.seq <= seq]
        for parked in batches.parked:
            self._accumulator.passed(parked)

    async def _end(self) -> None:
        """All is read. What is parked is tried once more, in order, since nothing comes behind it."""
        await self._save()
        self.left = await self.parked.retry()
        log.info("publisher.drained", parked=self.left)

    # -- the checkpoint

    async def _save_sometimes(self) -> None:
        if self._unsaved_parked or time.monotonic() - self._saved_at >= _CHECKPOINT_EVERY_S:
            await self._save()

    async def _save(self) -> None:
        if self._position == self._saved and not self._unsaved_parked:
            return
        position, parked = self._position, list(self._unsaved_parked)
        await self._checkpoint.call(lambda c: c.commit(position, parked))
        self._saved, self._saved_at = position, time.monotonic()
        del self._unsaved_parked[: len(parked)]
        self._status.parked_also(parked)  # counting them all takes the longer the more there are
        if self._saved_at - self._forgot_at >= _FORGET_EVERY_S:
            self._forgot_at = self._saved_at
            before_ms = int((time.time() - self._settings.journal_retention_hours * 3600) * 1000)
            await self._checkpoint.call(lambda c: c.forget_acked(before_ms))

    async def _pause(self, seconds: float) -> None:
        if self._stopping:
            return
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._awake.wait()
        self._awake.clear()


async def _nothing() -> None:
    pass
