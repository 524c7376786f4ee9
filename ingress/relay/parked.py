"""What Kafka refused for itself: kept in the cursor's file, tried again by timer and on request.

While a topic has parked records for a reason that holds for the topic as a whole (rights, say), its new
records park behind them, so that nothing is reordered. A callback that the disk has damaged is parked as a
whole, and is published once its journal file was mended. What is lost holds up nothing.
"""

import asyncio
import time
from collections.abc import Collection, Iterable, Iterator
from dataclasses import replace

import structlog
from aiokafka import AIOKafkaProducer
from aiokafka.errors import KafkaError

from dingbridge.errors import KafkaUnavailable, TopicError
from dingbridge.events import Received, Record, to_records
from dingbridge.kafka.client import discard_producer, explain, producer, start_producer
from dingbridge.settings import IngressSettings
from ingress.journal.checkpoint import CursorFile, Parked
from ingress.journal.store import StoredCallback
from ingress.relay.reading import JournalReader
from ingress.relay.refusals import ANEW, BLOCKING, DAMAGED, MISSING, UNEXPLAINED, refusal, unexplained
from ingress.relay.stats import Report
from ingress.relay.topics import TopicRouter

log = structlog.get_logger(__name__)

_PAGE = 100
"""So many parked records are read at once."""

# nothing else is published while what is parked is tried
_TRY_S = 3.0
"""What is not tried within this, and is well, is the rest: it is left for the next try."""
_TOPIC_WITHIN_S = 2.0
_TOPICS_AT_ONCE = 16
_ANSWER_S = 5.0
"""Where Kafka is well, an acknowledgement takes milliseconds."""
_SILENT_MAX = 2
"""So many topics may let it pass in one try."""

_REFUSED_MAX = 20
"""So many records of one topic may be refused for themselves in one try, since each costs a producer; the
next try goes on behind them."""

NO_TOPIC = "-"
"""Stands for the topic of a callback of which not even that can be known."""


def records_of(journal: str, row: StoredCallback) -> list[Record]:
    """The records of one callback: the same ones every time, so that a number names one of them."""
    return to_records(Received(row.seq, journal, row.received_ms, row.app, row.via, row.body))


_Place = tuple[str, tuple[int, int]]
"""A journal, and behind which seq and record of it."""
_BEFORE_ALL = (0, -1)


class ParkingLot:
    """Knows which topics are ``blocked`` (topic to reason), and retries what is parked."""

    def __init__(
        self,
        settings: IngressSettings,
        cursor: CursorFile,
        reader: JournalReader,
        router: TopicRouter,
        report: Report,
    ) -> None:
        self._settings, self._cursor, self._reader = settings, cursor, reader
        self._router, self._report = router, report
        self.blocked: dict[str, str] = {
            topic: reason for topic, reason in cursor.parked_counts() if reason in BLOCKING
        }
        self._silent: set[str] = set()  # had not acknowledged at the last try
        self._left_at: dict[str, _Place] = {}  # by topic, where the last try ended before all was tried
        self._rest: set[str] = set()  # topics for which its time was too short
        self._tried: dict[str, int] = {}  # in which try last
        self._tries = 0
        self._until = 0.0
        report.parked(cursor.parked_counts())

    async def retry(self, *, rest: bool = False, within_s: float = _TRY_S) -> bool:
        """Try what is parked, in order, by a producer of its own: a refusal ends that one only. Where very
        many are refused for themselves, it takes several of these to try each.

        Or only the ``rest``, for which the time of the try before was too short: ``within_s``, but for that
        in which Kafka gave no answer. Returns whether there is still a rest. Raises ``KafkaUnavailable`` when
        Kafka as a whole does not take records.
        """
        self._tries += 1
        left, self._rest = self._rest, set()
        try:
            if not rest or NO_TOPIC in left:
                await self._look_for_mended(within_s / 3)
            if not rest:
                self._look_for_lost()
            reasons = self._cursor.parked_counts()
            parked = {topic for topic, reason in reasons if reason != MISSING} - {NO_TOPIC}
            topics = await self._there(parked & left if rest else parked)
            self._tried = {topic: tried for topic, tried in self._tried.items() if topic in parked}
            silent, self._until = 0, time.monotonic() + within_s
            for topic in sorted(topics, key=lambda t: (t in self._silent, self._tried.get(t, 0), t)):
                if time.monotonic() >= self._until:
                    self._rest.add(topic)
                    continue
                self._tried[topic] = self._tries
                await self._retry_topic(topic)
                silent += topic in self._silent
                if silent == _SILENT_MAX:
                    break
        finally:
            self._unblock()
            self._report.parked(self._cursor.parked_counts())
        return bool(self._rest)

    async def _look_for_mended(self, within_s: float) -> None:
        """Damaged callbacks that can be read again are parked as the records that they are, to be sent."""
        still, first = 0, 0
        for page in self._damaged(time.monotonic() + within_s):
            for parked in page:
                row = self._reader.row(parked.journal, parked.seq)
                if row is None or not row.intact:
                    still, first = still + 1, first or parked.seq
                    continue
                records = records_of(parked.journal, row)
                self._cursor.unpark([parked], self._anew(parked, records))
                log.info("publisher.mended", seq=parked.seq, records=len(records))
            await asyncio.sleep(0)
        if still:
            log.error("publisher.still_parked", topic=NO_TOPIC, callbacks=still, first=first, reason=DAMAGED)

    def _damaged(self, until: float) -> Iterator[list[Parked]]:
        """What is parked as damaged, page by page, unless time is over."""
        for journal, after in self._from(NO_TOPIC):
            while page := self._cursor.parked_behind(NO_TOPIC, journal, after, _PAGE):
                if time.monotonic() >= until:
                    self._leave_rest(NO_TOPIC, journal, after)
                    return
                yield page
                after = _in_journal(page[-1])

    def _leave_rest(self, topic: str, journal: str, after: tuple[int, int]) -> None:
        """Time is over: the next try of ``topic`` begins there."""
        self._left_at[topic] = journal, after
        self._rest.add(topic)

    def _from(self, topic: str) -> list[_Place]:
        """Where to begin in each journal that can be read, the oldest file's first: behind where the last try
        of ``topic`` ended."""
        journals = self._reader.journals()
        begin, after = self._left_at.pop(topic, ("", _BEFORE_ALL))
        if begin not in journals:
            return [(journal, _BEFORE_ALL) for journal in journals]
        newer = journals[journals.index(begin) + 1 :]
        return [(begin, after), *((journal, _BEFORE_ALL) for journal in newer)]

    def _look_for_lost(self) -> None:
        """What stands in no file that can be opened waits for somebody to find it, and for nothing else."""
        here = set(self._reader.journals())
        for journal in self._cursor.parked_journals() - here:
            lost = [p for p in self._cursor.parked(journal=journal) if p.topic != NO_TOPIC]
            log.error("publisher.parked_body_missing", journal=journal, records=len(lost), reason=MISSING)
            self._relabel(lost, MISSING)
        if any(reason == MISSING for _, reason in self._cursor.parked_counts()):
            missed = self._cursor.parked(reason=MISSING)
            self._relabel([p for p in missed if p.journal in here], ANEW)

    def _unblock(self) -> None:
        counts = self._cursor.parked_counts()
        for topic in self.blocked.keys() - {topic for topic, reason in counts if reason in BLOCKING}:
            del self.blocked[topic]
            left = sum(count for (of, _), count in counts.items() if of == topic)
            log.info("publisher.topic_unblocked", topic=topic, still_parked=left)

    async def _there(self, topics: Collection[str]) -> list[str]:
        """Those that take records, as far as Kafka's metadata says; made if they are missing."""
        turns = asyncio.Semaphore(_TOPICS_AT_ONCE)

        async def ensure(topic: str) -> str | None:
            async with turns:
                try:
                    self._router.forget(topic)
                    await self._router.ensure(topic, _TOPIC_WITHIN_S)
                except TopicError as error:
                    log.warning("publisher.still_parked", topic=topic, words=str(error))
                    return None
                return topic

        found = await asyncio.gather(*map(ensure, topics), return_exceptions=True)
        for outcome in found:
            if isinstance(outcome, BaseException):
                raise outcome
        return [topic for topic in found if isinstance(topic, str)]

    async def _retry_topic(self, topic: str) -> None:
        """Try each record of ``topic``, unless one shows that it takes none, too many are refused, or time is
        over: then the next try begins there."""
        self._silent.discard(topic)
        refused = 0
        for journal, after in self._from(topic):
            while left := self._cursor.parked_behind(topic, journal, after, _PAGE):
                if time.monotonic() >= self._until:
                    self._leave_rest(topic, journal, after)
                    return
                last = await self._send_in_order(topic, left)
                refused += last is not None and last != _in_journal(left[-1])
                if last is None or refused == _REFUSED_MAX:
                    self._left_at[topic] = journal, last or after
                    return
                after = last

    async def _send_in_order(self, topic: str, left: list[Parked]) -> tuple[int, int] | None:
        """Send until one is refused, or the time is over. Returns behind which (seq and record) to go on;
        ``None``: not at all."""
        sender = await self._sender()
        done: list[Parked] = []
        try:
            for parked in left:
                row = self._reader.row(parked.journal, parked.seq)
                if row is None or not row.intact:
                    lost = MISSING if row is None else DAMAGED
                    log.error("publisher.parked_body_missing", topic=topic, seq=parked.seq, reason=lost)
                    self._relabel([parked], lost)
                    continue
                records = records_of(parked.journal, row)
                if parked.record >= len(records):
                    self._split_anew(parked, records)
                    return parked.seq, -1
                record = records[parked.record]
                try:
                    async with asyncio.timeout(_ANSWER_S):
                        await sender.send_and_wait(
                            topic, record.value, key=record.key, headers=list(record.headers)
                        )
                except TimeoutError:
                    log.warning("publisher.still_parked", topic=topic, seq=parked.seq, reason="no_answer")
                    self._silent.add(topic)
                    self._until += _ANSWER_S
                    return None
                except KafkaError as error:
                    reason = refusal(error) or (UNEXPLAINED if unexplained(error) else None)
                    if reason is None:
                        raise KafkaUnavailable(explain(error, self._settings)) from error
                    log.warning("publisher.still_parked", topic=topic, seq=parked.seq, reason=reason)
                    self._relabel([parked], reason)
                    if reason not in BLOCKING:
                        return _in_journal(parked)
                    self.blocked[topic] = reason
                    return None
                self._report.published([record])
                done.append(parked)
                if time.monotonic() >= self._until:
                    return _in_journal(parked)
            return _in_journal(left[-1])
        finally:
            try:
                self._cursor.unpark(done)
            finally:
                await discard_producer(sender, 1)

    def _split_anew(self, parked: Parked, records: list[Record]) -> None:
        """This release makes fewer ``records`` of the callback than the one that parked it: which of them has
        the content of those that are no more, nobody can tell, so all of them are sent. Readers drop what
        they know by its id."""
        of_callback = self._cursor.parked_of(parked.journal, parked.seq)
        gone = [p for p in of_callback if p.record >= len(records)]
        self._cursor.unpark(gone, self._anew(parked, records))
        log.warning("publisher.split_anew", seq=parked.seq, records=len(records), gone=len(gone))

    def _anew(self, parked: Parked, records: list[Record]) -> list[Parked]:
        """All ``records`` of a callback, to be sent."""
        return [
            replace(parked, record=number, topic=self._router.topic(record), reason=ANEW)
            for number, record in enumerate(records)
        ]

    def _relabel(self, parked: Iterable[Parked], reason: str) -> None:
        """What it waits for has changed since it was parked."""
        others = [p for p in parked if p.reason != reason]
        self._cursor.unpark(others, [replace(p, reason=reason) for p in others])

    async def _sender(self) -> AIOKafkaProducer:
        sender = producer(
            self._settings, request_timeout_ms=int(self._settings.kafka_request_timeout_s * 1000)
        )
        await start_producer(sender, self._settings)
        return sender


def _in_journal(parked: Parked) -> tuple[int, int]:
    """Its seq and record."""
    return parked.seq, parked.record
