"""Retries parked records, which Kafka refused though it was up: by timer, and when the operator asks.

A topic is blocked while it has records that are parked for a reason about the whole topic (rights, say): its
new records are parked behind them, so that the order stays. Between two batch sets, when nothing is
unanswered and all parked records are saved, the publisher calls ``turn``: it sends a page of one topic's
parked records, and unblocks the topic when none is left.
"""

import asyncio
import time
from collections import deque
from collections.abc import Mapping
from functools import partial

import structlog
from aiokafka.errors import KafkaError

from dingbridge.errors import TopicError
from dingbridge.events import Record
from dingbridge.ingress.journal.checkpoint import (
    BEFORE_ALL_PARKED,
    DAMAGED,
    Checkpoint,
    Parked,
    ParkedGroup,
    ParkedKey,
    SharedCheckpoint,
)
from dingbridge.ingress.journal.rows import StoredCallback
from dingbridge.ingress.relay.batches import partition_of
from dingbridge.ingress.relay.delivery import BLOCKING, NumberedRecord, Refusal, Sender
from dingbridge.ingress.relay.messages import MessageBuilder, TopicRouter
from dingbridge.ingress.relay.reading import JournalReader
from dingbridge.ingress.relay.status import RelayStatus
from dingbridge.settings import IngressSettings

log = structlog.get_logger(__name__)

RETRY_EVERY_S = (1.0, 60.0)
"""The pause before a round: the first after a topic was blocked, and the longest."""
_PAGE, _SMALL_PAGE = 100, 10
"""How many parked records one turn sends of a blocked topic, and of any other: there each record was refused
for its own sake, and each further refusal costs a new producer."""
_TOPIC_WITHIN_S = 2.0
_ANSWER_S = 5.0
"""Where Kafka is well, an acknowledgement takes milliseconds."""


class ParkedRecords:
    """Knows which topics are ``blocked``, and why, and retries parked records in rounds. In a round topics
    take turns, a page each; one that is still blocked has no more turns before the next round."""

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
        self._turns: deque[tuple[str, ParkedKey]] = deque()  # left in this round: topic, and its last record
        self._blocked_before, self._pause_s = set[str](), RETRY_EVERY_S[0]
        self._due_at = time.monotonic() + self._pause_s
        self._sender = Sender(settings, status)  # apart: a refusal must not cost the publisher its producer

    @property
    def due(self) -> bool:
        """Whether it is time for ``turn``."""
        return bool(self._turns) or time.monotonic() >= self._due_at

    def ask(self) -> None:
        """Retry now, not when the timer says."""
        self._due_at = 0.0

    async def load(self) -> None:
        """Learn from the checkpoint which topics are blocked."""
        self.blocked |= {g.topic: Refusal(g.reason) for g in await self.groups() if g.reason in BLOCKING}

    async def groups(self) -> list[ParkedGroup]:
        """What is parked, by topic and reason. Raises ``apsw.Error`` or ``JournalError``."""
        return await self._checkpoint.call(Checkpoint.parked_groups)

    async def forget_damaged(self) -> int:
        """Give up the callbacks that are parked as damaged. Returns how many. Raises ``apsw.Error`` or
        ``JournalError``."""
        forgotten = await self._checkpoint.call(Checkpoint.forget_damaged)
        log.warning("publisher.damaged_forgotten", callbacks=forgotten)
        return forgotten

    async def retry(self) -> int:
        """A whole round. Returns how many records stay parked, without damaged ones. Raises as ``turn``."""
        await self.turn()
        while self._turns:
            await self.turn()
        return sum(group.records for group in await self.groups() if group.reason != DAMAGED)

    async def turn(self) -> None:
        """Send a page of one topic's parked records. Call it only while no batch set is unanswered and every
        parked record is saved.

        Raises ``KafkaUnavailable`` when Kafka as a whole takes no records, ``apsw.Error`` or
        ``JournalError`` when the journal or its checkpoint fails."""
        try:
            if not self._turns:
                await self._begin_round()
            if self._turns:
                await self._try_page(*self._turns.popleft())
        except BaseException:
            self._turns.clear()
            raise
        finally:
            if not self._turns:
                await self._sender.discard()

    async def _begin_round(self) -> None:
        first_s, most_s = RETRY_EVERY_S
        newly = self.blocked.keys() - self._blocked_before
        self._pause_s = first_s if newly else min(2 * self._pause_s, most_s)
        self._due_at, self._blocked_before = time.monotonic() + self._pause_s, {*self.blocked}
        for topic in sorted({group.topic for group in await self.groups() if group.reason != DAMAGED}):
            try:
                await self._router.ensure(topic, _TOPIC_WITHIN_S, again=True)
            except TopicError as error:
                log.warning("publisher.still_parked", topic=topic, words=str(error))
            else:
                self._turns.append((topic, BEFORE_ALL_PARKED))

    async def _try_page(self, topic: str, after: ParkedKey) -> None:
        """Send the parked records of ``topic`` behind ``after``, and unpark those that Kafka takes. If there
        are more, and the topic is not still blocked, it gets another turn in this round."""
        limit = _PAGE if topic in self.blocked else _SMALL_PAGE
        page = await self._checkpoint.call(lambda c: c.parked_of_topic(topic, after, limit))
        refused: dict[ParkedKey, str] = {}
        waiting = {parked.key for parked in page}
        try:
            await self._send(topic, page, refused, waiting)
        except (TimeoutError, KafkaError) as error:  # if Kafka is away, what is new will show it
            log.warning("publisher.still_parked", topic=topic, reason=type(error).__name__)
        tried = [parked for parked in page if parked.key not in waiting]
        await self._checkpoint.call(partial(_account, tried=tried, refused=refused))
        if waiting:
            return
        if reasons := BLOCKING.intersection(refused.values()):
            log.warning("publisher.still_parked", topic=topic, reason=min(reasons))
        elif len(page) == limit:
            self._turns.append((topic, page[-1].key))
        elif topic in self.blocked:
            del self.blocked[topic]
            log.info("publisher.topic_unblocked", topic=topic)

    async def _send(
        self, topic: str, page: list[Parked], refused: dict[ParkedKey, str], waiting: set[ParkedKey]
    ) -> None:
        """Send all of ``page``, in order. ``refused`` gets those that stay parked, with the reason;
        ``waiting`` keeps those that Kafka has not answered. Raises ``TimeoutError``, ``KafkaError`` or
        ``KafkaUnavailable``."""
        if not page:
            return
        async with asyncio.timeout(_ANSWER_S):
            partitions = len(await (await self._sender.connected()).partitions_for(topic))
        batches: dict[int, list[NumberedRecord]] = {}
        for parked in page:
            row = self._journal.row(parked.seq)
            records = self._records(row, topic, parked)
            if not records and not row.intact:
                refused[parked.key] = DAMAGED
            for record in records:
                batches.setdefault(partition_of(record.key, partitions), []).append((*parked.key, record))
        for partition, batch in list(batches.items()):
            refused |= await self._sender.find_refused((topic, partition), batch, _ANSWER_S)
            del batches[partition]
            waiting &= {(seq, number) for other in batches.values() for seq, number, _ in other}
        waiting.clear()

    def _records(self, row: StoredCallback, topic: str, parked: Parked) -> list[Record]:
        """The record that was parked, made again; none if nobody is to get it any more."""
        messages = self._messages.messages(row)
        control = topic if topic.startswith(self._settings.control_prefix) else None
        of_topic = [message.record for message in messages if message.topic == control]
        # another release, or other apps, may make other messages of this callback: if the number names none
        # of the topic's now, all of them are sent, and readers drop those that they know
        numbered = [message.record for message in messages[parked.record :][:1] if message.topic == control]
        return numbered or of_topic


def _account(checkpoint: Checkpoint, tried: list[Parked], refused: Mapping[ParkedKey, str]) -> None:
    """Unpark those of ``tried`` that are not ``refused``; save the others' reason where it has changed."""
    checkpoint.unpark(parked for parked in tried if parked.key not in refused)
    for parked in tried:
        if (reason := refused.get(parked.key, parked.reason)) != parked.reason:
            log.error("publisher.still_parked", topic=parked.topic, seq=parked.seq, reason=reason)
            checkpoint.relabel(parked, reason)
