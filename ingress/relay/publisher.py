"""From the journal to Kafka, in order, and the acknowledgements back into the journal.

It reads callbacks in ``seq`` order, makes records of them, and sends these in batch sets, one at a time. A
callback of which Kafka refuses a record though it is up (too large, no rights, say) is parked. Kafka has
answered for a callback only when each of its records is acknowledged or parked. The producer's memory is
never the storage: whatever fails, the journal is read again from there, with a new producer.

A topic is blocked while callbacks are parked for a reason about the topic as a whole: its new callbacks are
parked behind them, so that the order stays. To try again, the next batch set is made of that topic's parked
callbacks: the first alone, then ``PAGE`` at a time, until none is left.
"""

import asyncio
import time
from collections import deque
from collections.abc import Iterable
from contextlib import suppress
from typing import Final

import apsw
import structlog
from aiokafka.errors import KafkaError

from dingbridge.errors import KafkaUnavailable, TopicError
from dingbridge.ingress.errors import JournalUnavailable
from dingbridge.ingress.journal.folder import current
from dingbridge.ingress.journal.rows import (
    DAMAGED,
    FAULT,
    NO_TOPIC,
    Acknowledgement,
    Parked,
    StoredCallback,
)
from dingbridge.ingress.journal.writer import Journal
from dingbridge.ingress.relay.batches import MAX_RECORDS, PAGE, BatchSet, BlockedTopics, partition_of
from dingbridge.ingress.relay.reading import JournalReader
from dingbridge.ingress.relay.records import RecordBuilder
from dingbridge.ingress.relay.sender import (
    BLOCKING,
    LARGEST_RECORD_BYTES,
    Refusal,
    Sender,
    refusal,
)
from dingbridge.ingress.relay.status import NumberedRecord, RelayStatus
from dingbridge.ingress.relay.topics import TopicRouter
from dingbridge.kafka.client import explain
from dingbridge.logging import place_of
from dingbridge.settings import IngressSettings
from dingbridge.tasks import end

log = structlog.get_logger(__name__)

UNSAVED_MAX: Final = 10_000
"""So many callbacks, at most, are sent beyond what the journal knows to be acknowledged: while the disk takes
no write, a new start would send them again."""
_SAVE_EVERY_S: Final = 0.1
_IDLE_S: Final = 0.5
_ANSWERED_WITHIN_S: Final = 5.0
"""On an idle bridge Kafka is asked this often whether it is still there."""
_SET_EVERY_S: Final = 0.02
"""The least time between batch sets that are not full: each costs as much as dozens of records."""
_RETRY_WITHIN_S: Final = 5.0
_BACKOFF_S: Final = (0.2, 5.0)  # first and longest
_YIELD_EVERY_ROWS: Final = 32
"""So that callbacks are answered, and the set before goes out, while a set is built."""
_UP: Final = "Kafka takes records"


class Publisher:
    """Publishes ``journal``: call ``run``, ``wake`` when a callback was kept, ``retry`` when an operator
    asks, and ``stop`` at the end."""

    def __init__(
        self, settings: IngressSettings, journal: Journal, status: RelayStatus, *, until_empty: bool = False
    ) -> None:
        """``until_empty``: end when nothing waits, and what is parked was tried once."""
        self._settings, self._journal, self._status = settings, journal, status
        self._until_empty = until_empty
        self._reader = JournalReader(current(journal.root))
        self._builder = RecordBuilder(settings, journal.id)
        self._router = TopicRouter(settings, settings.unknown_topics_max)
        self._sender = Sender(settings, status)
        self._blocked = BlockedTopics()
        self._partitions: dict[str, int] = {}  # of the topics that exist and are not blocked
        self._acked = 0  # each record of the callbacks up to here is in Kafka, or parked
        self._saved = 0  # the same, as the journal has it
        self._unsaved: list[Parked] = []  # to be written with the next acknowledgement
        self._backlog: deque[StoredCallback] = deque()  # read, and not in a batch set yet
        self._read = 0
        self._saved_at = self._answered_at = 0.0
        self._checking: asyncio.Task[list[str]] | None = None  # which due topics may take records
        self._asked = False  # an operator wants what is parked to be tried
        self._awake, self._hurried = asyncio.Event(), asyncio.Event()
        self._stopping = False

    def wake(self) -> None:
        """Something new is in the journal."""
        self._awake.set()

    def retry(self) -> None:
        """Try at once what is parked, also what was refused for itself; cuts a back-off short."""
        self._asked = True
        self._hurried.set()
        self._awake.set()

    def stop(self) -> None:
        """End ``run`` once the set under way is acknowledged; all others stay in the journal."""
        self._stopping = True
        self._hurried.set()
        self._awake.set()

    async def run(self) -> None:
        """Publish until ``stop``. No failure of Kafka ends it, nor a disk that takes no write.

        Raises ``JournalError`` when the journal is damaged, ``apsw.Error`` when it cannot be read."""
        self._acked = self._saved = self._read = await self._reader.acked()
        for group in await self._reader.parked_groups():
            if group.reason in BLOCKING:
                self._blocked.block(group.topic, Refusal(group.reason))
        try:
            await self._run()
        finally:
            if self._checking is not None:
                self._checking.cancel()
            with suppress(JournalUnavailable):
                await self._save()
            await self._sender.discard(0.1)
            with suppress(apsw.Error):  # a read that was cut off may still use it
                self._reader.close()

    async def _run(self) -> None:
        backoff_s = _BACKOFF_S[0]
        while not self._stopping:
            before = self._acked
            try:
                await self._connect()
                await self._publish()
                return
            except (KafkaError, KafkaUnavailable, TimeoutError) as error:
                self._status.error(error)
                self._status.turn("down", explain(error, self._settings))
            except JournalUnavailable as error:
                self._status.turn("down", f"what Kafka has acknowledged cannot be noted ({error})")
            self._begin_again()
            # long enough for the producer to send what it holds, or to let it expire
            await self._sender.discard(2 * self._settings.kafka_request_timeout_s + 5)
            backoff_s = _BACKOFF_S[0] if self._acked > before else backoff_s
            await _wait(self._hurried, backoff_s)
            backoff_s = min(backoff_s * 2, _BACKOFF_S[1])

    async def _connect(self) -> None:
        await self._sender.connected()
        self._partitions.clear()
        await self._router.load()
        self._answered_at = time.monotonic()

    def _begin_again(self) -> None:
        """Read the journal again behind what is surely in Kafka, or parked."""
        self._backlog.clear()
        self._read = self._acked

    # -- batch sets

    async def _publish(self) -> None:
        current: BatchSet | None = None
        while not self._stopping:
            await self._save_if_due()
            self._check_due()
            if current is None:  # nothing is sent and unanswered, and no set is being built
                await self._try_parked()
                current = await self._build()
            if current is None:
                if self._until_empty and not self._asked and self._acked == self._saved:
                    return
                await self._idle()
                continue
            sent_at = time.monotonic()
            current = await self._send_and_build(current)
            if current is None or not current.full:
                await asyncio.sleep(max(0.0, sent_at + _SET_EVERY_S - time.monotonic()))
                if not self._may_try:
                    current = await self._build(current)

    async def _send_and_build(self, current: BatchSet) -> BatchSet | None:
        """Send ``current``, and build the next set while Kafka answers. An error of the journal while
        building is raised only afterwards, so that what Kafka acknowledged counts. When parked callbacks may
        be tried, no set is built, so that their turn comes next."""
        refused, following = await asyncio.gather(
            self._sender.send(current.records),
            asyncio.sleep(0) if self._may_try else self._build(),
            return_exceptions=True,
        )
        if isinstance(refused, BaseException):
            raise refused
        current.refuse(refused)
        self._settle(current)
        if isinstance(following, BaseException):
            raise following
        if refused:  # the next set was built before its topics were blocked
            self._begin_again()
            await self._connect()
            return None
        return following

    def _settle(self, batches: BatchSet) -> None:
        """Kafka has answered for the set."""
        # Invariant 2: only here, when each record of these callbacks is acknowledged or parked
        self._acked = batches.last
        for parked in batches.parked.values():
            self._park(parked)
        if batches.since_ms is not None:
            self._status.lagged(time.time() - batches.since_ms / 1000)
        if batches.count:
            self._answered_at = time.monotonic()
            self._status.turn("up", _UP)

    def _park(self, parked: Parked) -> None:
        self._unsaved.append(parked)
        if parked.reason not in BLOCKING:
            log.error("relay.parked", topic=parked.topic, reason=parked.reason, seq=parked.seq)
        elif self._blocked.reason(parked.topic) is None:
            self._partitions.pop(parked.topic, None)
            self._blocked.block(parked.topic, Refusal(parked.reason))

    async def _build(self, batches: BatchSet | None = None) -> BatchSet | None:
        """Fill a set with the next callbacks; ``None`` if there is none."""
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
            records = self._builder.records(row)
        except Exception as error:  # a fault of ours concerns this callback alone
            log.error("relay.fault", seq=row.seq, error=type(error).__name__, place=place_of(error))
            batches.park(row.seq, NO_TOPIC, FAULT)
            return
        for number, record in enumerate(records):
            topic = self._router.topic(record)
            found: int | Refusal | None = self._partitions.get(topic)
            if found is None:
                # Invariant 3: while older callbacks of a topic are parked, newer ones are parked behind
                found = self._blocked.reason(topic) or await self._look_up(topic)
                if isinstance(found, int):
                    self._partitions[topic] = found
            _place(batches, (row.seq, number, record), topic, found)

    async def _look_up(self, topic: str) -> int | Refusal:
        """How many partitions ``topic`` has, which is made if it is missing; or why it is refused."""
        try:
            await self._router.ensure(topic)
        except TopicError as error:
            log.warning("relay.topic_refused", topic=topic, words=str(error))
            reason = refusal(error) or Refusal.TOPIC_MISSING
            self._blocked.block(topic, reason)
            return reason
        return len(await (await self._sender.connected()).partitions_for(topic))

    # -- parked callbacks

    @property
    def _may_try(self) -> bool:
        """Whether parked callbacks are to be tried next."""
        return self._asked or (self._checking is not None and self._checking.done())

    def _check_due(self) -> None:
        """Have Kafka asked beside the publishing which of the due topics may take records."""
        if self._checking is None and (due := self._blocked.due()):
            self._checking = asyncio.create_task(self._ready(due))
            self._checking.add_done_callback(lambda _: self._awake.set())

    async def _try_parked(self) -> None:
        """Try what is due. Call it only while no batch set is unanswered."""
        if self._asked:
            await self._try_all()
            self._asked = False
        elif self._checking is not None and self._checking.done():
            ready, self._checking = self._checking.result(), None
            await self._try({topic: (BLOCKING, self._blocked.page(topic), 0) for topic in ready})

    async def _ready(self, topics: Iterable[str]) -> list[str]:
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
                    self._blocked.block(topic, refusal(error) or Refusal.TOPIC_MISSING)
        except (KafkaError, KafkaUnavailable):  # what is new will show it
            for topic in topics:
                self._blocked.block(topic, self._blocked.reason(topic) or Refusal.NO_LEADER)
            return []
        return ready

    async def _try_all(self) -> None:
        """Try all that is parked, as an operator asks: blocked topics when they are ready, and once each
        callback that was parked for itself."""
        await self._save()
        self._blocked.ask()
        for topic, reason, *_ in await self._reader.parked_groups():
            if reason in BLOCKING or reason == DAMAGED:
                continue
            after_seq: int | None = 0
            while after_seq is not None:
                after_seq = (await self._try({topic: ((reason,), PAGE, after_seq)})).get(topic)
        if self._until_empty:
            while ready := await self._ready(self._blocked.due()):
                await self._try({topic: (BLOCKING, self._blocked.page(topic), 0) for topic in ready})

    async def _try(self, wanted: dict[str, tuple[Iterable[str], int, int]]) -> dict[str, int]:
        """Send a page of the parked callbacks of each topic: those with these reasons, so many, behind that
        ``seq``. Returns the last ``seq`` of each topic that may have more."""
        await self._save()  # what was parked meanwhile is in the file, so that the order holds
        batches, tried, more = BatchSet(self._acked), list[Parked](), dict[str, int]()
        for topic, (reasons, limit, after_seq) in wanted.items():
            page = await self._reader.parked(topic, reasons, after_seq, limit)
            for parked, row in page:
                tried.append(parked)
                await self._add_parked(batches, parked, row)
            if len(page) == limit:
                more[topic] = page[-1][0].seq
        batches.refuse(await self._sender.send(batches.records, _RETRY_WITHIN_S))
        since = {(one.seq, one.topic): one.since_ms for one in tried}
        again = [one._replace(since_ms=since.get(key, one.since_ms)) for key, one in batches.parked.items()]
        sent = [one for one in tried if (one.seq, one.topic) not in batches.parked]
        await self._journal.acknowledge(Acknowledgement(None, again, sent))
        refused = {one.topic: Refusal(one.reason) for one in again if one.reason in BLOCKING}
        for topic, reason in refused.items():
            self._partitions.pop(topic, None)
            self._blocked.block(topic, reason)
        for topic, (reasons, *_) in wanted.items():
            if topic not in refused and reasons is BLOCKING:
                self._blocked.taken(topic, all_of_it=topic not in more)
        if again:
            await self._connect()
        return more

    async def _add_parked(self, batches: BatchSet, parked: Parked, row: StoredCallback) -> None:
        """Add what is parked of ``row``; what cannot be sent stays parked."""
        try:
            records = list(enumerate(self._builder.records(row)))
        except Exception as error:
            log.error("relay.fault", seq=row.seq, error=type(error).__name__, place=place_of(error))
            batches.park(row.seq, parked.topic, FAULT)
            return
        of_topic = [(number, one) for number, one in records if self._router.topic(one) == parked.topic]
        if not row.intact and not of_topic:  # its records are resync requests, which go to another topic
            batches.park(row.seq, parked.topic, DAMAGED)
        chosen = [(number, one) for number, one in of_topic if number in parked.records] or of_topic
        # another release may make other records of this callback: then all of them are sent, and readers drop
        # those that they know
        for number, record in chosen or records:
            topic = parked.topic if chosen else self._router.topic(record)
            blocked = None if topic == parked.topic else self._blocked.reason(topic)
            _place(batches, (row.seq, number, record), topic, blocked or await self._look_up(topic))

    # -- acknowledgements

    async def _save_if_due(self) -> None:
        """Save now and then; a disk that takes no write is waited for before more than ``UNSAVED_MAX`` are
        not saved."""
        while not self._stopping:
            full = self._acked + MAX_RECORDS - self._saved > UNSAVED_MAX
            if not (full or self._unsaved or time.monotonic() - self._saved_at >= _SAVE_EVERY_S):
                return
            try:
                await self._save()
                return
            except JournalUnavailable as error:
                self._saved_at = time.monotonic()
                if not full:
                    return
                self._status.turn("down", f"what Kafka has acknowledged cannot be noted ({error})")
            await _wait(self._hurried, _BACKOFF_S[0])

    async def _save(self) -> None:
        """Note in the journal what Kafka has answered. Raises ``JournalUnavailable``."""
        acked, parked = self._acked, self._unsaved
        if acked == self._saved and not parked:
            return
        await self._journal.acknowledge(Acknowledgement(acked, parked))
        self._saved, self._unsaved = acked, []
        self._saved_at = time.monotonic()

    async def _idle(self) -> None:
        if time.monotonic() - self._answered_at >= _ANSWERED_WITHIN_S:
            await self._ask()
            return
        self._status.turn("up", _UP)
        saved = self._acked == self._saved and not self._unsaved
        if not self._may_try:
            await _wait(self._awake, _IDLE_S if saved else _SAVE_EVERY_S)

    async def _ask(self) -> None:
        """Ask Kafka whether it is still there, until something is to be published: that shows it, too. The
        client asks one broker after the other; one that is gone takes the time of a request."""
        within_s = self._settings.kafka_request_timeout_s + _ANSWERED_WITHIN_S
        asked = asyncio.create_task(self._sender.ensure_answers(within_s))
        asked.add_done_callback(lambda _: self._awake.set())
        try:
            await _wait(self._awake, within_s)
            if asked.done():
                asked.result()
                self._answered_at = time.monotonic()
        finally:
            await end(asked)


def _place(batches: BatchSet, numbered: NumberedRecord, topic: str, found: int | Refusal) -> None:
    """Add a record to the batch of its partition, of which ``topic`` has so many, or park its callback."""
    seq, number, record = numbered
    if isinstance(found, Refusal):
        batches.park(seq, topic, found.value)
    elif len(record.value) + len(record.key) > LARGEST_RECORD_BYTES:
        batches.park(seq, topic, Refusal.TOO_LARGE.value, (number,))
    else:
        batches.add((topic, partition_of(record.key, found)), numbered)


async def _wait(event: asyncio.Event, most_s: float) -> None:
    """Wait for ``event``, ``most_s`` at most."""
    with suppress(TimeoutError):
        async with asyncio.timeout(most_s):
            await event.wait()
    event.clear()
