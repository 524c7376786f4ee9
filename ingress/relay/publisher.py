"""The relay's loop: from the journal to Kafka, in order, and the checkpoint behind it.

It reads callbacks in ``seq`` order, makes records of them, and sends these in batch sets (``batches.py``).
A record that Kafka refuses though it is up (too large, no rights, say) is parked: noted beside the
checkpoint and retried later (``parked.py``). The checkpoint moves past a callback only when each of its
records is acknowledged or parked. The producer's memory is never the storage: whatever fails, the relay reads
the journal again from there, with a new producer.
"""

import asyncio
import time
from collections import deque
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import apsw
import structlog
from aiokafka.errors import KafkaError

from dingbridge.errors import BridgeError, KafkaUnavailable
from dingbridge.ingress.errors import JournalError, JournalLocked, JournalOlder
from dingbridge.ingress.journal.checkpoint import (
    DAMAGED,
    NO_TOPIC,
    WHOLE_CALLBACK,
    Checkpoint,
    Parked,
    ParkedKey,
    SharedCheckpoint,
)
from dingbridge.ingress.journal.directory import exclusive_locks, ingress_lock, takes_no_write, twice
from dingbridge.ingress.journal.rows import StoredCallback
from dingbridge.ingress.relay.batches import BatchSet, PartialCallback, RecordAccumulator, begin_span
from dingbridge.ingress.relay.delivery import Refusal, Sender, TopicPartition, failures, refusal
from dingbridge.ingress.relay.messages import MessageBuilder, TopicRouter
from dingbridge.ingress.relay.parked import ParkedRecords
from dingbridge.ingress.relay.reading import JournalReader
from dingbridge.ingress.relay.status import RelayStatus
from dingbridge.kafka.client import explain, hopeless_after_s
from dingbridge.kafka.health import ensure_answers
from dingbridge.settings import IngressSettings
from dingbridge.tracing import Tracer

log = structlog.get_logger(__name__)

_CHECKPOINT_EVERY_S = 0.1
_FORGET_EVERY_S = 60.0
_IDLE_S = 0.5
_ANSWERED_WITHIN_S = 5.0
"""On an idle bridge Kafka is asked this often whether it is still there."""
_SET_EVERY_S = 0.02
"""The least time between batch sets that are not full: each costs as much as dozens of records."""
_BACKOFF_S = (0.2, 5.0)  # first and longest
_UP = "Kafka takes records"
_YIELD_EVERY_ROWS = 32
"""So that the set before goes out while this one is built."""


@dataclass(slots=True)
class Progress:
    """How far the relay has come in the journal, by ``seq``: ``saved`` ≤ ``acknowledged`` ≤ ``read``."""

    saved: int
    """The checkpoint on the disk; -1: unknown, so the next save writes it in any case."""
    acknowledged: int
    """Each record of the callbacks up to here is in Kafka, or parked."""
    read: int
    """The callbacks up to here are read from the journal; those not sent yet are in a set or the backlog."""
    partial: tuple[int, int] = (0, 0)
    """``(seq, n)``: of the next callback, ``seq``, the first ``n`` messages are in Kafka or parked, too."""


class Publisher:
    """Publishes one journal: call ``run``, ``wake`` when a callback was kept, and ``stop`` at the end."""

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

        Raises ``JournalDamaged``; ``JournalError`` for files of another version or journal; ``apsw.Error``
        when the disk fails otherwise."""
        self._settings, self._status, self._tracer = settings, status, tracer
        self._until_empty = until_empty
        self._journal = JournalReader(folder)
        checkpoint = twice(lambda: _checked(_opened(folder, self._journal.id)))
        self._checkpoint = SharedCheckpoint(checkpoint)
        self._progress = Progress(begin := checkpoint.seq(), begin, begin)
        self._messages = MessageBuilder(settings, self._journal.id)
        self._router = router = TopicRouter(settings, settings.unknown_topics_max)
        self._sender = Sender(settings, status)
        self.parked = ParkedRecords(settings, self._checkpoint, self._journal, self._messages, router, status)
        self._accumulator = RecordAccumulator(router, self.parked.blocked)
        self._backlog: deque[StoredCallback] = deque()  # read, and not in a batch set yet
        self._partial: PartialCallback | None = None  # the first of the backlog, if it is in a set in part
        self._unsaved_parked: list[Parked] = []  # to be written with the checkpoint
        self._saved_at = self._forgot_at = self._answered_at = 0.0
        self._awake = asyncio.Event()
        self._asked = asyncio.Event()  # by the operator: only that cuts a back-off short
        self._stopping = False

    def wake(self) -> None:
        """Something new is in the journal."""
        self._awake.set()

    def retry_parked(self) -> None:
        """Retry at once what is parked."""
        self.parked.ask()
        self._asked.set()
        self._awake.set()

    def stop(self) -> None:
        """End ``run`` once the sets under way are acknowledged; all others stay in the journal."""
        self._stopping = True
        self._asked.set()
        self._awake.set()

    async def run(self) -> None:
        """Publish until ``stop``, or with ``until_empty`` until nothing waits. No failure of Kafka ends it,
        nor a full disk.

        Raises ``JournalDamaged``; ``JournalError`` when the disk fails otherwise: after a failed fsync no
        open handle may be trusted, and a new process has none; with ``until_empty``, ``BridgeError`` when
        records stay parked that a retry may help."""
        try:
            await self._run()
            await self._save()
            if not self._stopping:
                await self._try_parked_once()
        except apsw.Error as error:
            words = f"the journal or its checkpoint fails ({type(error).__name__}: {error})"
            raise JournalError(f"{words}; free or repair the disk") from error
        finally:
            with suppress(apsw.Error, JournalError):
                await self._save()
            await self._sender.discard(0.1)
            self._journal.close()
            await self._checkpoint.call(Checkpoint.close)

    async def _run(self) -> None:
        backoff = _BACKOFF_S[0]
        while not self._stopping:
            before = self._progress.acknowledged
            try:
                await self._connect()
                await self._publish()
                return
            except (KafkaError, KafkaUnavailable, TimeoutError) as error:
                self._status.error(error)
                self._status.turn("down", explain(error, self._settings))
            except apsw.Error as error:
                if not isinstance(error, apsw.BusyError) and not takes_no_write(error):
                    raise
                self._status.error(error)
                words = f"the checkpoint cannot be written ({error}); free the disk, end a back-up that hangs"
                self._status.turn("down", words)
            self._begin_again()
            # long enough for the producer to send what it holds, or to let it expire
            await self._sender.discard(2 * self._settings.kafka_request_timeout_s + 5)
            backoff = _BACKOFF_S[0] if self._progress.acknowledged > before else backoff
            await self._pause(self._asked, backoff)
            backoff = min(backoff * 2, _BACKOFF_S[1])

    async def _try_parked_once(self) -> None:
        left = await self.parked.retry()
        log.info("publisher.drained", parked=left)
        if left:
            raise BridgeError(
                f"{left} record(s) stay parked; see `dingbridge journal stats` for why, and call this again "
                "when that is repaired"
            )

    async def _connect(self) -> None:
        # the checkpoint is written before anything is sent: on a disk that takes no write, Kafka would
        # otherwise get the same records after each attempt
        self._progress.saved = -1
        self._accumulator.use(await self._sender.connected())
        await self._router.load()
        await self.parked.load()
        self._answered_at = time.monotonic()

    def _begin_again(self) -> None:
        """Read the journal again behind what is surely in Kafka, or parked."""
        self._backlog.clear()
        self._partial = None
        self._progress.read = self._progress.acknowledged

    # -- batch sets

    async def _publish(self) -> None:
        current: BatchSet | None = None
        while not self._stopping:
            if current is None:  # nothing is sent and unanswered, and no set is being built
                await self._save_sometimes()
                if self.parked.due:
                    await self._save()
                    await self.parked.turn()
                current = await self._build()
            if current is None:
                if self._until_empty:
                    return
                if not self.parked.due:
                    await self._idle()
                continue
            # Invariant 3: the set before this one is settled
            futures, sent_at = await self._send(current), time.monotonic()
            current = await self._settle_and_build(current, futures)
            await self._save_sometimes()
            if current is None or not current.full:
                await asyncio.sleep(max(0.0, sent_at + _SET_EVERY_S - time.monotonic()))
                if not self.parked.due:
                    current = await self._build(current)

    async def _settle_and_build(
        self, current: BatchSet, futures: dict[TopicPartition, "asyncio.Future[object]"]
    ) -> BatchSet | None:
        """Build the next set while Kafka answers for ``current``, then settle that. An error of the journal
        while building is raised only afterwards, so that what Kafka acknowledged counts. When parked records
        are due, no set is built, so that their turn comes next."""
        failed, following = await asyncio.gather(
            failures(self._settings, self._status, futures),
            asyncio.sleep(0) if self.parked.due else self._build(),
            return_exceptions=True,
        )
        if isinstance(failed, BaseException):
            raise failed
        await self._settle(current, failed)
        if isinstance(following, BaseException):
            raise following
        return None if failed else following

    async def _idle(self) -> None:
        if time.monotonic() - self._answered_at >= _ANSWERED_WITHIN_S:
            await ensure_answers(self._settings)
            self._answered_at = time.monotonic()
        self._status.turn("up", _UP)
        saved = self._progress.acknowledged == self._progress.saved
        await self._pause(self._awake, _IDLE_S if saved else _CHECKPOINT_EVERY_S)

    async def _build(self, batches: BatchSet | None = None) -> BatchSet | None:
        """The next set, or more into this one; ``None`` when nothing waits."""
        batches = batches or BatchSet()
        while not batches.full:
            if not self._backlog:
                chunk = self._journal.read(self._progress.read)
                if chunk.end == self._progress.read:
                    break
                self._backlog.extend(chunk.rows)
                self._progress.read = chunk.end
                continue
            callback = self._partial or self._callback(self._backlog[0], batches)
            if not await self._accumulator.add(batches, callback):
                self._partial = callback
                batches.partial = (callback.seq, callback.added)
                break
            self._partial = None
            self._backlog.popleft()
            batches.finish(callback)
            if len(batches.done) % _YIELD_EVERY_ROWS == 0:
                await asyncio.sleep(0)
        return batches if batches.records or batches.done else None

    def _callback(self, row: StoredCallback, batches: BatchSet) -> PartialCallback:
        received_ms = row.received_ms
        if not row.intact:
            received_ms = int(time.time() * 1000)
            log.error("publisher.damaged", seq=row.seq)
            batches.parked.append(Parked(row.seq, WHOLE_CALLBACK, NO_TOPIC, DAMAGED, received_ms))
        seq, added = self._progress.partial
        messages = self._messages.messages(row)
        return PartialCallback(row.seq, received_ms, messages, added if seq == row.seq else 0)

    async def _send(self, batches: BatchSet) -> dict[TopicPartition, "asyncio.Future[object]"]:
        connected = await self._sender.connected()
        futures = {}
        for partition, batch in batches.batches.items():
            end = None if self._tracer is None else begin_span(self._tracer, batch)
            future = await connected.send_batch(batch.builder, partition[0], partition=partition[1])
            if end is not None:
                future.add_done_callback(end)
            futures[partition] = future
        return futures

    async def _settle(self, batches: BatchSet, failed: dict[TopicPartition, BaseException]) -> None:
        """Kafka has answered for the set, and these batches have ``failed``: find and park the records that
        it refuses, and send the others of those batches again. Then all of the set counts as acknowledged.
        Raises an error that is not about records or topics: then nothing of the set does."""
        for error in failed.values():
            if refusal(error) is None:
                raise error
            self._status.error(error)
        if failed:
            await self._sender.discard()  # a producer is not used again after a failed send
        for partition, error in failed.items():
            refused: dict[ParkedKey, Refusal]
            batch, limit_s = batches.batches[partition], hopeless_after_s(self._settings)
            if (reason := refusal(error)) is Refusal.NO_LEADER:  # waited for already
                refused = {(seq, number): reason for seq, number, _ in batch.records}
            else:
                refused = await self._sender.find_refused(partition, batch.records, limit_s)
            if not refused and reason is Refusal.TOO_LARGE:
                self._accumulator.limit_batches(partition[0], batch.size // 2)
            self._accumulator.park(batches, partition[0], refused)
        for partition in batches.batches.keys() - failed.keys():
            self._status.published(record for _, _, record in batches.batches[partition].records)
        self._unsaved_parked += batches.parked
        if batches.done:
            # Invariant 2: only here, when each record of these callbacks is acknowledged or parked
            self._progress.acknowledged = batches.done[-1]
            self._status.lagged(time.time() - (batches.since_ms or 0) / 1000)
        self._progress.partial = batches.partial
        if failed:
            self._begin_again()
            self._accumulator.use(await self._sender.connected())
        if batches.batches:
            self._answered_at = time.monotonic()
            self._status.turn("up", _UP)

    # -- the checkpoint

    async def _save_sometimes(self) -> None:
        if self._unsaved_parked or time.monotonic() - self._saved_at >= _CHECKPOINT_EVERY_S:
            await self._save()

    async def _save(self) -> None:
        position, parked = self._progress.acknowledged, self._unsaved_parked
        if position == self._progress.saved and not parked:
            return
        await self._checkpoint.call(lambda c: c.commit(position, parked))
        self._progress.saved, self._unsaved_parked = position, []
        self._saved_at = time.monotonic()
        if self._saved_at - self._forgot_at >= _FORGET_EVERY_S:
            self._forgot_at = self._saved_at
            before_ms = int((time.time() - self._settings.journal_retention_hours * 3600) * 1000)
            await self._checkpoint.call(lambda c: c.forget_acked(before_ms))

    async def _pause(self, event: asyncio.Event, most_s: float) -> None:
        """Wait for ``event``, ``most_s`` at most."""
        with suppress(TimeoutError):
            async with asyncio.timeout(most_s):
                await event.wait()
        event.clear()


def _opened(folder: Path, journal: str) -> Checkpoint:
    """The checkpoint, brought up from an older version where no ingress runs. Beside an ingress it is of that
    one's version already, or that is an older ingress, which reads it and must go on doing so.

    Raises ``JournalOlder`` beside an older ingress, and all that ``Checkpoint`` does."""
    try:
        return Checkpoint(folder, journal)
    except JournalOlder as older:
        try:
            with exclusive_locks(ingress_lock(folder.parent)):
                return Checkpoint(folder, journal, bring_up=True)
        except JournalLocked:
            raise older from None


def _checked(checkpoint: Checkpoint) -> Checkpoint:
    """Read the checkpoint to its end at the start: an unreadable row would end each relay that came to it."""
    try:
        checkpoint.check()
    except BaseException:
        checkpoint.close()
        raise
    return checkpoint
