"""What Kafka refused for itself is tried again: by timer, and when the operator asks, beside what is new.

While a topic has parked records for a reason that holds for the topic as a whole (rights, say), its new
records park behind them, so that nothing is reordered. A task of its own sends them, in the journal's order,
but never unblocks the topic: only the relay's loop does, at a moment when it parks nothing (``hand_over``).
"""

import asyncio
from collections import deque
from contextlib import suppress

import apsw
import structlog
from aiokafka import AIOKafkaProducer
from aiokafka.errors import KafkaError

from dingbridge.errors import BridgeError, KafkaUnavailable, TopicError
from dingbridge.kafka.client import (
    PRODUCER_MAX_REQUEST_BYTES,
    discard_producer,
    explain,
    producer,
    start_producer,
)
from dingbridge.settings import IngressSettings
from ingress.journal.checkpoint import (
    BEFORE_ALL_PARKED,
    DAMAGED,
    Checkpoint,
    Parked,
    ParkedKey,
    SharedCheckpoint,
)
from ingress.relay.batches import BATCH_BYTES, Batch, BatchSet, partition_of
from ingress.relay.delivery import BLOCKING, Refusal, refusal, unexplained
from ingress.relay.messages import Message, MessageBuilder
from ingress.relay.reading import JournalReader
from ingress.relay.status import RelayStatus
from ingress.relay.topics import InboxMissing, TopicRouter

log = structlog.get_logger(__name__)

RETRY_EVERY_S = 60.0
_PAGE = 100
"""So many records of one topic are tried before it is another topic's turn."""
_HAND_OVER_PAGES = 10
"""So much may have been parked of a topic since the task was through with it; the loop waits meanwhile."""
_TOPIC_WITHIN_S = 2.0
_ANSWER_S = 5.0
"""Where Kafka is well, an acknowledgement takes milliseconds."""


class ParkedRecords:
    """Knows which topics are ``blocked``, and why, and retries what is parked. ``nearly_done`` are blocked
    topics of which the task has sent all that it found: they are the loop's to ``hand_over``."""

    def __init__(
        self,
        settings: IngressSettings,
        checkpoint: SharedCheckpoint,
        journal: JournalReader,
        messages: MessageBuilder,
        router: TopicRouter,
        status: RelayStatus,
    ) -> None:
        self._settings, self._checkpoint, self._journal = settings, checkpoint, journal
        self._messages, self._router, self._status = messages, router, status
        self.blocked: dict[str, Refusal] = {}
        self.nearly_done: set[str] = set()
        self._loaded = False
        self._asked = asyncio.Event()
        self._sending = asyncio.Lock()  # one page at a time, by the task or by the loop
        self._producer: AIOKafkaProducer | None = None

    async def load(self) -> None:
        """Learn from the checkpoint which topics are blocked, once."""
        if self._loaded:
            return
        for topic, reason in await self._count():
            if reason in BLOCKING:
                self.blocked[topic] = Refusal(reason)
        self._loaded = True

    def ask(self) -> None:
        """Retry now, not when the timer says."""
        self._asked.set()

    async def run(self) -> None:
        """Retry by timer and when asked, until cancelled."""
        while True:
            with suppress(TimeoutError):
                async with asyncio.timeout(RETRY_EVERY_S):
                    await self._asked.wait()
            self._asked.clear()
            try:
                await self.retry()
            except (BridgeError, apsw.Error) as error:
                log.warning("parked.retry_failed", error=type(error).__name__, words=str(error))
            except Exception as error:  # a fault of ours must not end the task for good
                log.error("parked.retry_fault", error=type(error).__name__)

    async def retry(self) -> int:
        """Try what is parked, in each topic's order; topics take turns, a page each. Returns how many are
        left that a retry may help.

        Raises ``KafkaUnavailable`` when Kafka as a whole does not take records, ``apsw.Error`` or
        ``JournalError`` when the checkpoint fails."""
        counts = await self._count()
        topics = sorted({topic for topic, reason in counts if reason != DAMAGED})
        turns: deque[tuple[str, ParkedKey]] = deque()
        try:
            turns.extend([(topic, BEFORE_ALL_PARKED) for topic in topics if await self._is_there(topic)])
            while turns:
                topic, after = turns.popleft()
                async with self._sending:
                    next_key = await self._try_page(topic, after)
                if next_key is not None:
                    turns.append((topic, next_key))
        finally:
            async with self._sending:
                await self._discard_producer()
            counts = await self._count()
        return sum(count for (_, reason), count in counts.items() if reason != DAMAGED)

    async def _count(self) -> dict[tuple[str, str], int]:
        counts = await self._checkpoint.call(Checkpoint.parked_counts)
        self._status.parked(counts)
        return counts

    async def _is_there(self, topic: str) -> bool:
        """Whether it takes records, as far as Kafka's metadata says; it is made if it is missing."""
        try:
            await self._router.ensure(topic, _TOPIC_WITHIN_S, again=True)
        except InboxMissing as error:
            log.error("relay.inbox_missing", topic=topic, words=str(error))
            while page := await self._page(topic, BEFORE_ALL_PARKED):
                await self._forget(page)
            self._hand_over_soon(topic)
            return False
        except TopicError as error:
            log.warning("publisher.still_parked", topic=topic, words=str(error))
            return False
        return True

    async def _page(self, topic: str, after: ParkedKey) -> list[Parked]:
        return await self._checkpoint.call(lambda c: c.parked_of_topic(topic, after, _PAGE))

    async def _try_page(self, topic: str, after: ParkedKey) -> ParkedKey | None:
        """Returns behind which record the topic's next turn begins; ``None``: it has no more."""
        page = await self._page(topic, after)
        last = await self._send(topic, page) if page else after
        if last is not None and (not page or (last == page[-1].key and len(page) < _PAGE)):
            self._hand_over_soon(topic)
            return None
        return last

    def _hand_over_soon(self, topic: str) -> None:
        if topic in self.blocked:
            self.nearly_done.add(topic)

    async def hand_over(self, topic: str) -> None:
        """Send what is still parked of a blocked ``topic``, and unblock it if nothing of it is left. For the
        relay's loop, which meanwhile parks nothing, and holds no parked record that is not saved.

        Raises what ``retry`` raises."""
        self.nearly_done.discard(topic)
        async with self._sending:
            for _ in range(_HAND_OVER_PAGES):
                rest = await self._checkpoint.call(lambda c: c.parked_for(topic, BLOCKING, _PAGE))
                if not rest:
                    break
                if await self._send(topic, rest) != rest[-1].key:
                    return
            else:
                return
        if self.blocked.pop(topic, None):
            log.info("publisher.topic_unblocked", topic=topic)
        await self._count()

    async def _send(self, topic: str, page: list[Parked]) -> ParkedKey | None:
        """Send the page; where a batch of it is refused, one by one, until the record is found. Returns
        behind which to go on; ``None``: the topic takes nothing."""
        done: list[Parked] = []
        try:
            try:
                done += await self._send_batches(topic, page)
            except TimeoutError:
                log.warning("publisher.still_parked", topic=topic, seq=page[0].seq, reason="no_answer")
                return None
            taken = {parked.key for parked in done}
            for parked in (parked for parked in page if parked.key not in taken):
                row = self._journal.row(parked.seq)
                messages = self._messages.messages(row)
                if not row.intact and all(message.inbox != topic for message in messages):
                    log.error("publisher.damaged", topic=topic, seq=parked.seq)
                    await self._relabel(parked, DAMAGED)
                    continue
                try:
                    # another release, or other RESYNC_CONSUMERS, may make fewer of a callback: which one it
                    # was, nobody can tell, and readers drop what they know by its id
                    own = [message for message in messages if message.inbox == self._inbox(topic)]
                    it = [message for message in messages[parked.record :][:1] if message in own]
                    for message in it or own:
                        await self._send_one(topic, message)
                except TimeoutError:
                    log.warning("publisher.still_parked", topic=topic, seq=parked.seq, reason="no_answer")
                    return None
                except KafkaError as error:
                    reason = refusal(error) or (Refusal.UNEXPLAINED if unexplained(error) else None)
                    if reason is None:
                        raise KafkaUnavailable(explain(error, self._settings)) from error
                    log.warning("publisher.still_parked", topic=topic, seq=parked.seq, reason=reason)
                    await self._relabel(parked, reason.value)
                    return None if reason.blocks_topic else parked.key
                done.append(parked)
            return page[-1].key
        finally:
            await self._forget(done)

    def _inbox(self, topic: str) -> str | None:
        """As a ``Message`` names it: None for a topic of events."""
        return topic if topic.startswith(self._settings.control_prefix) else None

    async def _relabel(self, parked: Parked, reason: str) -> None:
        if reason != parked.reason:
            await self._checkpoint.call(lambda c: c.relabel(parked, reason))

    async def _forget(self, done: list[Parked]) -> None:
        if done:
            await self._checkpoint.call(lambda c: c.unpark(done))

    async def _send_batches(self, topic: str, page: list[Parked]) -> list[Parked]:
        """Send the page's beginning, as much as fits into one batch for each partition. Returns what Kafka
        has taken; of a refused batch that is nothing.

        Raises ``TimeoutError`` when some of it is not answered, and ``KafkaUnavailable``."""
        batch_set = BatchSet()
        parked_of: dict[tuple[int, int], Parked] = {}
        try:
            connected = await self._connected()
            async with asyncio.timeout(_ANSWER_S):
                partitions = len(await connected.partitions_for(topic))
            for parked in page:
                row = self._journal.row(parked.seq)
                messages = self._messages.messages(row)
                if not row.intact or parked.record >= len(messages):
                    break
                if messages[parked.record].inbox != self._inbox(topic):
                    break
                record = messages[parked.record].record
                partition = (topic, partition_of(record.key, partitions))
                batch = batch_set.batches.get(partition)
                if batch is None:
                    batch = batch_set.batches[partition] = Batch(partition, connected.create_batch())
                if not batch_set.append(batch, parked.seq, parked.record, record, BATCH_BYTES):
                    break
                parked_of[parked.key] = parked
            batches = [batch for batch in batch_set.batches.values() if batch.records]
            futures = [
                await connected.send_batch(b.builder, topic, partition=b.partition[1]) for b in batches
            ]
            _, pending = await asyncio.wait(futures, timeout=_ANSWER_S) if futures else ((), ())
        except KafkaError:
            await self._discard_producer()  # what it means is told record by record
            return []
        except BaseException:
            await self._discard_producer()
            raise
        taken: list[Parked] = []
        for batch, future in zip(batches, futures, strict=True):
            if future not in pending and future.exception() is None:
                taken += [parked_of[seq, number] for seq, number, _ in batch.records]
                self._status.published(record for _, _, record in batch.records)
        if len(taken) < len(parked_of):
            await self._discard_producer()
        if pending:
            await self._forget(taken)
            raise TimeoutError
        return taken

    async def _send_one(self, topic: str, message: Message) -> None:
        connected, record = await self._connected(), message.record
        try:
            async with asyncio.timeout(_ANSWER_S):
                await connected.send_and_wait(
                    topic, record.value, key=record.key, headers=list(record.headers)
                )
        except BaseException:
            await self._discard_producer()
            raise
        self._status.published([record])

    async def _connected(self) -> AIOKafkaProducer:
        """A producer of its own: a refusal ends that one only. Raises ``KafkaUnavailable``."""
        if self._producer is None:
            fresh = producer(self._settings, max_batch_size=PRODUCER_MAX_REQUEST_BYTES)
            await start_producer(fresh, self._settings)
            self._producer = fresh
        return self._producer

    async def _discard_producer(self) -> None:
        dead, self._producer = self._producer, None
        if dead is not None:
            await discard_producer(dead, 1)
