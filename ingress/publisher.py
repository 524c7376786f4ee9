"""The publisher: from the journal to Kafka, in order, and the cursor behind it.

It reads callbacks in ``seq`` order, normalises them, and keeps a window of records under way; the cursor
moves past a callback only when Kafka has acknowledged each of its records, or they are durably parked. The
producer's memory is never the storage: whatever fails, it goes on from the cursor with a new producer.
"""

import asyncio
import contextlib
import time
from collections import deque
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import apsw
import structlog
from aiokafka import AIOKafkaProducer
from aiokafka.errors import KafkaError, MessageSizeTooLargeError, UnknownTopicOrPartitionError

from bridge.errors import KafkaUnavailable, TopicError
from bridge.kafka import explain, producer
from bridge.settings import IngressSettings
from ingress.cursor import CursorFile, Parked
from ingress.journal_file import JournalFile, Row
from ingress.parking import ParkingLot, records_of
from ingress.reading import JournalReader
from ingress.refusals import BLOCKING, TOO_LARGE, refusal
from ingress.report import Report
from ingress.topic_router import TopicRouter

log = structlog.get_logger(__name__)

_WINDOW_RECORDS = 4_000
_WINDOW_BYTES = 24 * 1024 * 1024
_CURSOR_EVERY_S = 0.1
_IDLE_S = 0.5
_STALLED_S = 5.0
_RETRY_PARKED_S = 60.0
_BACKOFF_S = (0.2, 5.0)


@dataclass(slots=True)
class _UnderWay:
    """A callback whose records are on their way."""

    seq: int
    size: int
    sent: list[tuple[int, str, str, "asyncio.Future[Any]"]] = field(default_factory=list)
    parked: list[Parked] = field(default_factory=list)


class _Failed(Exception):
    """A send failed: this producer is finished. ``refused`` when some record was refused for itself."""

    def __init__(self, errors: list[BaseException]) -> None:
        self.errors = errors
        self.refused = any(refusal(e) for e in errors)
        super().__init__(", ".join(sorted({type(e).__name__ for e in errors})))


class Publisher:
    """Publishes one journal folder. ``run`` until ``stop``; ``wake`` when something new was kept."""

    def __init__(self, settings: IngressSettings, folder: Path, report: Report) -> None:
        self._settings, self._report = settings, report
        self._cursor = CursorFile(folder)
        self._reader = JournalReader(folder, self._cursor)
        self._router = TopicRouter(settings, settings.unknown_topics_max)
        self._parking = ParkingLot(settings, self._cursor, self._reader, self._router, report)
        self._producer: AIOKafkaProducer | None = None
        self._window: deque[_UnderWay] = deque()
        self._window_records = self._window_bytes = 0
        self._read_seq = self._position = self._saved = 0
        self._unsaved_parked: list[Parked] = []
        self._saved_at = 0.0
        self._careful_until = 0
        self._retry_at = time.monotonic() + _RETRY_PARKED_S
        self._awake = asyncio.Event()
        self._stopping = False

    # -- what others call

    def wake(self) -> None:
        """Something new stands in the journal."""
        self._awake.set()

    def retry_parked(self) -> None:
        """Try what is parked now, not when its timer says."""
        self._retry_at = 0.0
        self._awake.set()

    def stop(self) -> None:
        """End ``run`` soon; what is under way is awaited for a moment, the rest stays in the journal."""
        self._stopping = True
        self._awake.set()

    async def run(self) -> None:
        """Publish until ``stop``; no failure of Kafka or of the disk ends it."""
        backoff = _BACKOFF_S[0]
        while not self._stopping:
            try:
                await self._connect()
                await self._publish()
            except _Failed as failed:
                if not failed.refused:
                    self._report.down(explain(failed.errors[0], self._settings))
                for error in failed.errors:
                    self._report.error(type(error).__name__)
            except KafkaUnavailable as error:
                self._report.down(str(error))
            except KafkaError as error:
                self._report.error(type(error).__name__)
                self._report.down(explain(error, self._settings))
            except apsw.Error as error:
                self._report.error(type(error).__name__)
                self._report.down(
                    f"the journal or its cursor cannot be used ({type(error).__name__}: {error})"
                )
            else:
                break
            await self._rewind()
            if self._position > self._saved:
                backoff = _BACKOFF_S[0]  # it got somewhere
            if self._careful_until <= self._position:
                await self._pause(backoff)
                backoff = min(backoff * 2, _BACKOFF_S[1])
            await self._save()
        await self._close()

    # -- the connection

    async def _connect(self) -> None:
        if self._producer is not None:
            return
        fresh = producer(
            self._settings,
            linger_ms=2,
            max_batch_size=256 * 1024,
            request_timeout_ms=int(self._settings.kafka_request_timeout_s * 1000),
        )
        try:
            await fresh.start()
        except BaseException as error:
            await fresh.stop()
            if isinstance(error, KafkaError | OSError):
                raise KafkaUnavailable(explain(error, self._settings)) from error
            raise
        self._producer = fresh
        await self._router.load()
        self._report.up()

    async def _rewind(self) -> None:
        """Throw the producer away, and go back to the last callback that is known to be in Kafka."""
        await self._discard_producer()
        while self._window and all(_acknowledged(future) for *_, future in self._window[0].sent):
            self._pass(self._window.popleft())
        for item in self._window:
            for *_, future in item.sent:
                future.cancel()
        self._window.clear()
        self._window_records = self._window_bytes = 0
        self._read_seq = self._position

    async def _discard_producer(self) -> None:
        """Stop the producer and let it finish or fail what it still holds: it must be silent before the
        next one sends, else a late batch of its would stand behind newer records."""
        dead, self._producer = self._producer, None
        if dead is None:
            return
        stopping = asyncio.ensure_future(dead.stop())
        patience_s = 1.0 if self._stopping else 2 * self._settings.kafka_request_timeout_s + 5
        _, late = await asyncio.wait([stopping], timeout=patience_s)
        if late:
            stopping.cancel()
            await dead.client.close()
        await asyncio.gather(stopping, return_exceptions=True)

    # -- the window

    async def _publish(self) -> None:
        while not self._stopping:
            file = self._enter_file()
            if file is not None:
                await self._fill(file)
            if self._window:
                await self._settle()
                await self._save_sometimes()
                continue
            await self._save()
            if time.monotonic() >= self._retry_at:
                await self._parking.retry()
                self._retry_at = time.monotonic() + _RETRY_PARKED_S
            if file is not None and self._reader.finish(self._read_seq):
                continue
            await self._pause(_IDLE_S)
        # a graceful stop: what Kafka has nearly acknowledged need not be sent twice
        deadline = time.monotonic() + 2
        while self._window and time.monotonic() < deadline:
            await self._settle(deadline - time.monotonic())
        await self._save()

    def _enter_file(self) -> JournalFile | None:
        before = self._reader.journal
        file = self._reader.current(may_switch=not self._window)
        if file is not None and file.id != before:
            self._position = self._read_seq = self._saved = self._cursor.seq(file.id)
            self._careful_until = 0
            log.info("publisher.reading", file=file.path.name, cursor=self._position)
        return file

    async def _fill(self, file: JournalFile) -> None:
        while self._window_records < _WINDOW_RECORDS and self._window_bytes < _WINDOW_BYTES:
            careful = self._read_seq < self._careful_until
            if careful and self._window:
                return
            rows = file.read(self._read_seq, max_rows=1 if careful else 256, max_bytes=1 << 20)
            if not rows:
                return
            for row in rows:
                await self._dispatch(file, row)
                self._read_seq = row.seq

    async def _dispatch(self, file: JournalFile, row: Row) -> None:
        """Send a callback's records; those that cannot be sent are parked with it."""
        item = _UnderWay(row.seq, len(row.body))
        self._window.append(item)
        self._window_bytes += item.size
        for number, record in enumerate(records_of(file.id, row)):
            topic = self._router.topic(record)
            parked = Parked(file.id, row.seq, number, topic, TOO_LARGE, int(time.time() * 1000))
            if (reason := self._parking.blocked.get(topic)) is not None:
                item.parked.append(self._park(parked, reason))
                continue
            try:
                await self._router.ensure(topic)
                assert self._producer is not None  # noqa: S101 - connected before
                future = await self._producer.send(
                    topic, record.value, key=record.key, headers=list(record.headers)
                )
            except (MessageSizeTooLargeError, TopicError) as error:
                # refused before anything was sent: this producer is still good
                item.parked.append(self._park(parked, refusal(error) or TOO_LARGE))
                continue
            item.sent.append((number, topic, self._report.label(record), future))
            self._window_records += 1
            if record.fault is not None:
                self._report.unclassified(record.fault)

    def _park(self, parked: Parked, reason: str) -> Parked:
        if reason in BLOCKING and self._parking.blocked.get(parked.topic) is None:
            self._parking.blocked[parked.topic] = reason
            log.error("publisher.topic_blocked", topic=parked.topic, reason=reason, seq=parked.seq)
        elif reason not in BLOCKING:
            log.error("publisher.parked", topic=parked.topic, reason=reason, seq=parked.seq)
        return Parked(parked.journal, parked.seq, parked.record, parked.topic, reason, parked.since_ms)

    async def _settle(self, timeout_s: float = _STALLED_S) -> None:
        """Wait for the oldest callback under way, then pass all that are done. Raises ``_Failed``."""
        head = self._window[0]
        waiting = [future for *_, future in head.sent if not future.done()]
        if waiting:
            _, late = await asyncio.wait(waiting, timeout=timeout_s)
            if late:
                self._report.stalled(
                    f"Kafka at {self._settings.kafka_bootstrap_servers} has not acknowledged for "
                    f"{_STALLED_S:g} s; callbacks are kept meanwhile"
                )
                return
        while self._window and all(future.done() for *_, future in self._window[0].sent):
            await self._judge(self._window[0])
            self._pass(self._window.popleft())
        self._report.up()

    def _pass(self, item: _UnderWay) -> None:
        """All of this callback is in Kafka or parked: the cursor may stand behind it."""
        self._window_records -= len(item.sent)
        self._window_bytes -= item.size
        self._position = item.seq
        self._unsaved_parked += item.parked
        for _, _, label, future in item.sent:
            if _acknowledged(future):
                self._report.published(label)

    async def _judge(self, item: _UnderWay) -> None:
        failed = [(number, topic, future.exception()) for number, topic, _, future in item.sent]
        errors = [error for _, _, error in failed if error is not None]
        if not errors:
            return
        for _, topic, error in failed:
            if isinstance(error, UnknownTopicOrPartitionError):
                self._router.forget(topic)
        alone = self._careful_until >= item.seq and len(self._window) == 1
        if alone and all(refusal(e) for e in errors):
            # sent by itself and refused for itself: put aside, and go on behind it with a new producer
            journal, now = self._reader.journal or "", int(time.time() * 1000)
            for number, topic, error in failed:
                if error is not None:
                    parked = Parked(journal, item.seq, number, topic, "", now)
                    item.parked.append(self._park(parked, refusal(error) or TOO_LARGE))
            self._pass(self._window.popleft())
            raise _Failed(errors)
        others = [future for other in self._window for *_, future in other.sent]
        await asyncio.wait(others, timeout=1)
        errors += [e for f in others if f.done() and not f.cancelled() and (e := f.exception()) is not None]
        failure = _Failed(errors)
        if failure.refused:
            # somewhere in this run stands a record that Kafka refuses: go through it one by one
            self._careful_until = max(self._careful_until, self._read_seq, self._window[-1].seq)
        raise failure

    # -- the cursor

    async def _save_sometimes(self) -> None:
        if time.monotonic() - self._saved_at >= _CURSOR_EVERY_S:
            await self._save()

    async def _save(self) -> None:
        journal = self._reader.journal
        if journal is None or (self._position == self._saved and not self._unsaved_parked):
            return
        parked = list(self._unsaved_parked)
        await asyncio.to_thread(self._cursor.move, journal, self._position, parked)
        self._saved, self._saved_at = self._position, time.monotonic()
        del self._unsaved_parked[: len(parked)]
        if parked:
            self._report.parked(self._cursor.parked_counts())

    async def _pause(self, seconds: float) -> None:
        if self._stopping:
            return
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._awake.wait(), seconds)
        self._awake.clear()

    async def _close(self) -> None:
        await self._rewind()
        self._reader.close()
        self._cursor.close()


def _acknowledged(future: "asyncio.Future[Any]") -> bool:
    return future.done() and not future.cancelled() and future.exception() is None
