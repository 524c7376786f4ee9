"""What Kafka refused for itself is tried again: by timer, and when the operator asks, beside what is new.

While a topic has parked records for a reason that holds for the topic as a whole (rights, say), its new
records park behind them, so that nothing is reordered. A task of its own sends them, in the journal's order,
but never unblocks the topic: only the relay's loop does, at a moment when it parks nothing (``hand_over``).
"""

import asyncio
from collections import deque
from collections.abc import Mapping
from contextlib import suppress
from functools import partial

import apsw
import structlog
from aiokafka.errors import KafkaError

from dingbridge.errors import BridgeError, KafkaUnavailable, TopicError
from dingbridge.events import Record
from dingbridge.kafka.client import explain
from dingbridge.settings import IngressSettings
from ingress.errors import JournalDamaged
from ingress.journal.checkpoint import (
    BEFORE_ALL_PARKED,
    DAMAGED,
    Checkpoint,
    Parked,
    ParkedKey,
    SharedCheckpoint,
)
from ingress.relay.batches import NumberedRecord, partition_of
from ingress.relay.delivery import BLOCKING, Refusal
from ingress.relay.messages import MessageBuilder
from ingress.relay.reading import JournalReader
from ingress.relay.sending import Sender
from ingress.relay.status import RelayStatus
from ingress.relay.topics import TopicRouter

log = structlog.get_logger(__name__)

RETRY_EVERY_S = (1.0, 60.0)
"""Soon after a topic was blocked, then after growing pauses; the first, and the longest."""
_PAGE = 100
"""So many records of one topic are tried before it is another topic's turn."""
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
        self._messages, self._router = messages, router
        self.blocked: dict[str, Refusal] = {}
        self.nearly_done: set[str] = set()
        self._asked = asyncio.Event()
        self._sending = asyncio.Lock()  # one page at a time, by the task or by the loop
        self._sender = Sender(settings, status)  # of its own: a refusal ends that one's producer only

    async def counts(self) -> dict[tuple[str, str], int]:
        """``{(topic, reason): how many}``. Raises ``apsw.Error`` or ``JournalError``."""
        return await self._checkpoint.call(Checkpoint.parked_counts)

    async def load(self) -> None:
        """Learn from the checkpoint which topics are blocked."""
        counts = await self.counts()
        self.blocked |= {topic: Refusal(reason) for topic, reason in counts if reason in BLOCKING}

    def ask(self) -> None:
        """Retry now, not when the timer says."""
        self._asked.set()

    async def forget_damaged(self) -> int:
        """Give up the callbacks that are parked as damaged; how many. Raises ``apsw.Error`` or
        ``JournalError``."""
        forgotten = await self._checkpoint.call(Checkpoint.forget_damaged)
        log.warning("publisher.damaged_forgotten", callbacks=forgotten)
        return forgotten

    async def run(self) -> None:
        """Retry by timer and when asked, until cancelled. Raises ``JournalDamaged``."""
        first_s, most_s = RETRY_EVERY_S
        pause_s, blocked = first_s, set[str]()
        while True:
            with suppress(TimeoutError):
                async with asyncio.timeout(pause_s):
                    await self._asked.wait()
            self._asked.clear()
            pause_s = min(2 * pause_s, most_s) if self.blocked.keys() <= blocked else first_s
            blocked = {*self.blocked}
            try:
                await self.retry()
            except JournalDamaged:
                raise
            except (BridgeError, apsw.Error) as error:
                log.warning("parked.retry_failed", error=type(error).__name__, words=str(error))

    async def retry(self) -> int:
        """Try what is parked, in each topic's order; topics take turns, a page each. Returns how many are
        left that a retry may help.

        Raises ``KafkaUnavailable`` when Kafka as a whole does not take records, ``apsw.Error`` or
        ``JournalError`` when the journal or its checkpoint fails."""
        topics = sorted({topic for topic, reason in await self.counts() if reason != DAMAGED})
        turns = deque([(topic, BEFORE_ALL_PARKED) for topic in topics if await self._is_there(topic)])
        try:
            while turns:
                topic, after = turns.popleft()
                async with self._sending:
                    page = await self._page(topic, after)
                    takes = await self._send(topic, page)
                if takes and len(page) == _PAGE:
                    turns.append((topic, page[-1].key))
                elif takes and topic in self.blocked:
                    self.nearly_done.add(topic)
        finally:
            async with self._sending:
                await self._sender.discard()
        return sum(count for (_, reason), count in (await self.counts()).items() if reason != DAMAGED)

    async def _page(self, topic: str, after: ParkedKey) -> list[Parked]:
        return await self._checkpoint.call(lambda c: c.parked_of_topic(topic, after, _PAGE))

    async def _is_there(self, topic: str) -> bool:
        """Whether it takes records, as far as Kafka's metadata says; it is made if it is missing."""
        try:
            await self._router.ensure(topic, _TOPIC_WITHIN_S, again=True)
        except TopicError as error:
            log.warning("publisher.still_parked", topic=topic, words=str(error))
            return False
        return True

    async def hand_over(self, topic: str) -> None:
        """Send what is still parked of a blocked ``topic``, and unblock it when nothing of it is left. For
        the relay's loop, which meanwhile parks nothing, and holds no parked record that is not saved.

        Raises what ``retry`` raises."""
        self.nearly_done.discard(topic)
        async with self._sending:
            while rest := await self._checkpoint.call(lambda c: c.parked_for(topic, BLOCKING, _PAGE)):
                if not await self._send(topic, rest):
                    return
        self.blocked.pop(topic, None)
        log.info("publisher.topic_unblocked", topic=topic)

    async def _send(self, topic: str, page: list[Parked]) -> bool:
        """Send what these were parked for, and unpark what Kafka takes. Whether it takes records of the topic
        at all. Raises what ``retry`` raises."""
        try:
            async with asyncio.timeout(_ANSWER_S):
                partitions = len(await (await self._sender.connected()).partitions_for(topic))
            for partition, records in (await self._batches(topic, page, partitions)).items():
                refused = await self._sender.find_refused((topic, partition[0]), records, _ANSWER_S)
                sent = {(seq, number) for seq, number, _ in records}
                of_batch = [parked for parked in page if parked.key in sent]
                await self._checkpoint.call(partial(_account, tried=of_batch, refused=refused))
                if refused:
                    reasons = {*refused.values()}
                    log.warning(
                        "publisher.still_parked", topic=topic, records=len(refused), reason=min(reasons)
                    )
                    if reasons & BLOCKING:
                        return False
        except TimeoutError:
            log.warning("publisher.still_parked", topic=topic, reason="no_answer")
            return False
        except KafkaError as error:
            raise KafkaUnavailable(explain(error, self._settings)) from error
        return True

    async def _batches(
        self, topic: str, page: list[Parked], partitions: int
    ) -> dict[tuple[int, ParkedKey | None], list[NumberedRecord]]:
        """The records of ``page``, to be sent together: those of a blocked topic by partition; one that was
        refused for itself alone, since it may be again. What makes no record any more is accounted for."""
        batches: dict[tuple[int, ParkedKey | None], list[NumberedRecord]] = {}
        for parked in page:
            records = self._records(topic, parked)
            if not records:
                reason = {} if records is not None else {parked.key: DAMAGED}
                await self._checkpoint.call(partial(_account, tried=[parked], refused=reason))
            for record in records or ():
                alone = None if parked.reason in BLOCKING else parked.key
                batch = batches.setdefault((partition_of(record.key, partitions), alone), [])
                batch.append((*parked.key, record))
        return batches

    def _records(self, topic: str, parked: Parked) -> list[Record] | None:
        """What it was parked for, none if nobody is to get it any more; ``None``: the disk has changed it."""
        row = self._journal.row(parked.seq)
        messages = self._messages.messages(row)
        inbox = topic if topic.startswith(self._settings.control_prefix) else None
        own = [message.record for message in messages if message.inbox == inbox]
        if not row.intact and not own:
            return None
        # another release, or other RESYNC_CONSUMERS, may make fewer of a callback: which one it was, nobody
        # can tell, and readers drop what they know by its id
        it = [message.record for message in messages[parked.record :][:1] if message.inbox == inbox]
        return it or own


def _account(checkpoint: Checkpoint, tried: list[Parked], refused: Mapping[ParkedKey, str]) -> None:
    """Forget which of those ``tried`` are not ``refused``, and note why the others are, if it is not why they
    were parked."""
    checkpoint.unpark(parked for parked in tried if parked.key not in refused)
    for parked in tried:
        if (reason := refused.get(parked.key, parked.reason)) != parked.reason:
            log.error("publisher.still_parked", topic=parked.topic, seq=parked.seq, reason=reason)
            checkpoint.relabel(parked, reason)
