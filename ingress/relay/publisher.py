"""The publisher: from the journal to Kafka, in order, and the cursor behind it.

It reads callbacks in ``seq`` order, normalises them, and sends them in waves; the cursor moves past a
callback only when Kafka has acknowledged each of its records, or they are durably parked. The producer's
memory is never the storage: whatever fails, it goes on from the cursor with a new producer.
"""

import asyncio
import contextlib
import math
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
from dingbridge.settings import IngressSettings
from ingress.errors import JournalError
from ingress.giving_up import give_up
from ingress.journal.checkpoint import CursorFile, Parked
from ingress.journal.store import JournalFile, StoredCallback
from ingress.relay.batches import Pending, Place, Wave
from ingress.relay.delivery import acknowledged
from ingress.relay.parked import ParkingLot, records_of
from ingress.relay.placing import Placer
from ingress.relay.reading import JournalReader
from ingress.relay.refusals import refusal
from ingress.relay.stats import Report
from ingress.relay.topics import TopicRouter

log = structlog.get_logger(__name__)

_CURSOR_EVERY_S = 0.1
_IDLE_S = 0.5
_WAVE_EVERY_S = 0.02
"""Waves that are not full begin no closer together: each costs as much as dozens of records."""
_RETRY_PARKED_S = 60.0
_RETRY_REST_S = 3.0
"""As long as a try: in between, all others go on."""
_BACKOFF_S = (0.2, 5.0)
_TURN_ROWS = 32
"""After so many rows the event loop gets its turn: what was sent before must go out meanwhile."""


class _Failed(Exception):
    """A send failed: this producer is finished. ``refused`` when all failed for the records themselves."""

    def __init__(self, errors: list[BaseException]) -> None:
        self.errors = errors
        self.refused = all(refusal(e) for e in errors)
        super().__init__(", ".join(sorted({type(e).__name__ for e in errors})))

    @property
    def worst(self) -> BaseException:
        return next((e for e in self.errors if not refusal(e)), self.errors[0])


class Publisher:
    """Publishes one journal folder. ``run`` until ``stop``; ``wake`` when something new was kept."""

    def __init__(self, settings: IngressSettings, folder: Path, report: Report) -> None:
        self._settings, self._report = settings, report
        self._cursor = CursorFile(folder)
        self._reader = JournalReader(folder, self._cursor)
        self._router = TopicRouter(settings, settings.unknown_topics_max)
        self._parking = ParkingLot(settings, self._cursor, self._reader, self._router, report)
        self._placer = Placer(self._router, self._parking)
        self._producer: AIOKafkaProducer | None = None
        self._backlog: deque[StoredCallback] = deque()
        self._half_placed: Pending | None = None
        self._unsaved_parked: list[Parked] = []
        self._entered: str | None = None
        self._read_seq = self._position = self._saved = 0
        self._saved_at = 0.0
        self._retry_at = self._retry_all_at = time.monotonic() + _RETRY_PARKED_S
        self._rest = False  # of what is parked, for which the last try was too short
        self._awake = asyncio.Event()
        self._stopping = False
        self._writing = asyncio.Lock()  # the cursor's file: a thread may be at it

    # -- what others call

    def wake(self) -> None:
        """Something new stands in the journal."""
        self._awake.set()

    def retry_parked(self) -> None:
        """Try what is parked now, not when its timer says."""
        self._retry_at = 0.0
        self._awake.set()

    async def give_up(self, journal: str, seq: int) -> None:
        """Forget a callback that is parked as damaged; whoever asked looks whether it has gone."""
        async with self._writing:
            try:
                give_up(self._cursor, [(journal, seq)])
                self._report.parked(self._cursor.parked_counts())
            except (apsw.Error, JournalError) as error:
                log.error("publisher.not_given_up", seq=seq, error=type(error).__name__)

    def stop(self) -> None:
        """End ``run`` soon; what is under way is awaited for a moment, the rest stays in the journal."""
        self._stopping = True
        self._awake.set()

    async def run(self) -> None:
        """Publish until ``stop``; no failure of Kafka or of the disk ends it."""
        backoff = _BACKOFF_S[0]
        while not self._stopping:
            before = self._position
            try:
                await self._connect()
                await self._publish()
                break
            except _Failed as failed:
                for error in failed.errors:
                    self._report.error(type(error).__name__)
                if failed.refused:
                    await self._discard_producer()
                    continue
                self._report.down(explain(failed.worst, self._settings))
            except KafkaUnavailable as error:
                self._report.error(type(error).__name__)
                self._report.down(str(error))
            except KafkaError as error:
                self._report.error(type(error).__name__)
                self._report.down(explain(error, self._settings))
            except (apsw.Error, JournalError) as error:
                self._report.error(type(error).__name__)
                self._report.down(
                    f"the journal or its cursor fails ({type(error).__name__}: {error}); free or mend the "
                    "disk, or stop the ingress and run `dingbridge journal mend`"
                )
                self._reopen()
            await self._discard_producer()
            if self._position > before:
                backoff = _BACKOFF_S[0]
            await self._pause(backoff)
            backoff = min(backoff * 2, _BACKOFF_S[1])
        with contextlib.suppress(apsw.Error):
            await self._save()
        await self._discard_producer()
        self._reader.close()
        self._cursor.close()

    def _reopen(self) -> None:
        """Read and write by new handles: after a failed fsync no open one may be trusted."""
        self._reader.close()
        with contextlib.suppress(apsw.Error, JournalError):  # then the next use fails, and leads here again
            self._cursor.reopen()

    # -- the connection

    async def _connect(self) -> None:
        if self._producer is not None:
            return
        fresh = producer(
            self._settings,
            max_batch_size=PRODUCER_MAX_REQUEST_BYTES,
            request_timeout_ms=int(self._settings.kafka_request_timeout_s * 1000),
        )
        await start_producer(fresh, self._settings)
        self._producer = fresh
        self._placer.use(fresh)
        await self._router.load()

    async def _discard_producer(self) -> None:
        """Throw the producer away, and go back to behind the last callback that is surely in Kafka."""
        self._backlog.clear()
        self._half_placed = None
        self._read_seq = self._position
        dead, self._producer = self._producer, None
        if dead is None:
            return
        # it may flush what it holds first; while Kafka is away, until that has expired
        await discard_producer(dead, 1 if self._stopping else 2 * self._settings.kafka_request_timeout_s + 5)

    # -- waves

    async def _publish(self) -> None:
        wave: Wave | None = None
        while not self._stopping:
            if wave is None:
                wave = await self._build()
            if wave is None:
                await self._idle()
                continue
            futures, sent_at = await self._send(wave), time.monotonic()
            # also under load: between two waves, no callback half on its way
            half = self._half_placed is not None and self._half_placed.placed > 0
            pausing = time.monotonic() >= self._retry_at and not half
            following = await self._meanwhile(wave, futures, build=not pausing)
            await self._save_sometimes()
            if pausing:
                await self._each_minute()
            if following is None or not following.full:
                await asyncio.sleep(max(0.0, sent_at + _WAVE_EVERY_S - time.monotonic()))
                following = await self._build(following)
            wave = following

    async def _meanwhile(
        self, wave: Wave, futures: dict[Place, "asyncio.Future[object]"], *, build: bool
    ) -> Wave | None:
        """While ``wave`` is on its way, ``build`` the next one, to be sent when this one is there. A disk
        that fails now does not change what is known of this one."""
        following, settled = await asyncio.gather(
            self._build() if build else _nothing(), self._settle(wave, futures), return_exceptions=True
        )
        for outcome in (settled, following):
            if isinstance(outcome, BaseException):
                raise outcome
        assert not isinstance(following, BaseException)  # noqa: S101 - raised above
        return following

    async def _idle(self) -> None:
        await self._save_sometimes()
        if self._position != self._saved:
            await self._pause(_CURSOR_EVERY_S)
            return
        if time.monotonic() >= self._retry_at:
            await self._each_minute()
        self._report.up()  # connected, and nothing waits; else what is acknowledged says so
        if not self._reader.finish(self._read_seq):
            await self._pause(_IDLE_S)

    async def _each_minute(self) -> None:
        await self._save()
        retention_ms = int(self._settings.journal_retention_hours * 3_600_000)
        self._cursor.forget_acked(int(time.time() * 1000) - retention_ms)
        if self._reader.look_again():
            self._backlog.clear()
            self._half_placed = None
            self._read_seq = self._position
        rest = self._rest and 0 < self._retry_at < self._retry_all_at
        # until it is over, however it ends: others have the time behind it
        self._retry_at, self._rest = math.inf, False
        try:
            self._rest = await (self._parking.retry(rest=True) if rest else self._parking.retry())
        finally:
            now = time.monotonic()
            if not rest:
                self._retry_all_at = now + _RETRY_PARKED_S
            if self._retry_at == math.inf:  # not asked for meanwhile
                self._retry_at = self._retry_all_at
                if self._rest:
                    self._retry_at = min(self._retry_at, now + _RETRY_REST_S)

    async def _build(self, wave: Wave | None = None) -> Wave | None:
        """The next wave, or more into this one; ``None`` when nothing waits."""
        file = self._enter_file()
        if file is None:
            return wave
        wave = wave or Wave()
        while not wave.full:
            if not self._backlog:
                rows = self._reader.read(file, self._read_seq)
                if not rows:
                    break
                self._backlog.extend(rows)
                self._read_seq = rows[-1].seq
            pending = self._half_placed or _pending(file.id, self._backlog[0])
            if not await self._placer.place(file.id, wave, pending):
                self._half_placed = pending
                break
            self._half_placed = None
            self._backlog.popleft()
            wave.finish(pending)
            if len(wave.done) % _TURN_ROWS == 0:
                await asyncio.sleep(0)
        return wave if wave.records or wave.done else None

    def _enter_file(self) -> JournalFile | None:
        file = self._reader.current()
        if file is not None and file.id != self._entered:
            self._entered = file.id
            self._position = self._read_seq = self._saved = self._cursor.seq(file.id)
            self._placer.enter()
            log.info("publisher.reading", file=file.path.name, cursor=self._position)
        return file

    async def _send(self, wave: Wave) -> dict[Place, "asyncio.Future[object]"]:
        assert self._producer is not None  # noqa: S101 - connected before
        return {
            place: await self._producer.send_batch(batch.builder, place[0], partition=place[1])
            for place, batch in wave.batches.items()
        }

    async def _settle(self, wave: Wave, futures: dict[Place, "asyncio.Future[object]"]) -> None:
        """Wait until every batch is acknowledged or has failed. Raises ``_Failed`` if one has, and
        ``KafkaUnavailable`` when one does neither for too long."""
        if not await acknowledged(self._settings, self._report, futures, lambda: self._stopping):
            raise _Failed([KafkaUnavailable("stopped before Kafka had acknowledged")])
        failed = {key: error for key, future in futures.items() if (error := future.exception()) is not None}
        self._pass(wave, failed)
        self._placer.acknowledged(wave.batches.keys() - failed.keys(), clean=not failed)
        if not failed:
            self._report.up()
            return
        for key, error in failed.items():
            self._placer.learn(wave.batches[key], error)
        raise _Failed(list(failed.values()))

    def _pass(self, wave: Wave, failed: Collection[Place]) -> None:
        """The cursor may stand behind all that is in Kafka or parked; what follows that is sent again."""
        seq = wave.passable(failed)
        for batch in wave.batches.values():
            there = (r for at, _, r in batch.records if not failed or (seq is not None and at <= seq))
            self._report.published(there)
        if seq is None:
            return
        self._position = seq
        if wave.since_ms is not None:
            self._report.lagged(max(0.0, time.time() - wave.since_ms / 1000))
        self._unsaved_parked += [p for p in wave.parked if p.seq <= seq]
        for parked in wave.parked:
            self._placer.passed(parked)

    # -- the cursor

    async def _save_sometimes(self) -> None:
        if self._unsaved_parked or time.monotonic() - self._saved_at >= _CURSOR_EVERY_S:
            await self._save()

    async def _save(self) -> None:
        journal = self._reader.journal
        if journal is None or (self._position == self._saved and not self._unsaved_parked):
            return
        position, parked = self._position, list(self._unsaved_parked)
        async with self._writing:
            await asyncio.to_thread(self._cursor.move, journal, position, parked)
        self._saved, self._saved_at = position, time.monotonic()
        del self._unsaved_parked[: len(parked)]
        self._report.parked_also(parked)  # counting them all takes the longer the more there are

    async def _pause(self, seconds: float) -> None:
        if self._stopping:
            return
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._awake.wait()
        self._awake.clear()


async def _nothing() -> None:
    pass


def _pending(journal: str, row: StoredCallback) -> Pending:
    """What the disk has changed is not published as if DingTalk had said it."""
    if not row.intact:
        return Pending(row.seq, row.received_ms or int(time.time() * 1000), [], damaged=True)
    return Pending(row.seq, row.received_ms, records_of(journal, row))
