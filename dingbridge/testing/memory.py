"""Runs a consumer's handler in memory, without Kafka: for the unit tests of a consumer.

The processing is the worker's own: inbox, ``prepare``, transaction and named outcomes (``executor.py``), one
attempt by ``deliver``; and by ``work`` order for each key, retries, events that are one fetch and dead
letters (``scheduler.py``). Tables are made as the worker makes them, by the consumer's revisions where it
has some.
"""

import asyncio
import atexit
import itertools
import shutil
import sqlite3
import tempfile
import time
import weakref
from collections.abc import Mapping, Sequence
from contextlib import closing
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import orjson
from aiokafka import ConsumerRecord
from prometheus_client import CollectorRegistry
from sqlalchemy import Executable, Row

from dingbridge.dingtalk.api import DingTalkClient
from dingbridge.errors import BridgeError, SettingsError
from dingbridge.events.catalogue import UNCLASSIFIED
from dingbridge.events.envelope import Record
from dingbridge.events.event import Event, NotAnEvent, Sent, decode
from dingbridge.kafka.topic_policy import foreign_topics
from dingbridge.settings import ConsumerSettings
from dingbridge.worker.attempts.executor import Executor, Outcome
from dingbridge.worker.consumer import Consumer
from dingbridge.worker.context import Context
from dingbridge.worker.dead_letters import DeadLetters
from dingbridge.worker.delivery import Delivery
from dingbridge.worker.metrics import WorkerMetrics
from dingbridge.worker.outcomes import Failure
from dingbridge.worker.queues.offset_tracker import OffsetTracker
from dingbridge.worker.scheduling.scheduler import Scheduler
from dingbridge.worker.store.database import Database, open_database
from dingbridge.worker.store.migrations import WorkerTables, migrate

_made: "weakref.WeakKeyDictionary[type[Consumer], tuple[object, bytes]]" = weakref.WeakKeyDictionary()
"""Of what a consumer's tables were made, and the file that has them."""

_ended: list[tuple[Path, Database]] = []
"""Files of runtimes that have ended, for the next ones: to compile its statements anew takes a quarter of a
short test's time."""


class MemoryRuntime:
    """``async with MemoryRuntime(BillingConsumer()) as runtime: outcome = await runtime.deliver(event)``.

    ``database_url`` is any that the worker takes; the default is a file in a temporary folder, empty for each
    runtime. ``dingtalk`` stands in for the Open API client.
    """

    def __init__(
        self,
        consumer: Consumer,
        *,
        database_url: str = "sqlite://",
        dingtalk: Any = None,
        settings: ConsumerSettings | None = None,
    ) -> None:
        self.consumer = consumer
        # in SQLite's own memory a handler that reads beside its transaction would wait for itself
        self._file: Path | None
        self.database: Database
        self._file, self.database = (
            _empty_file() if database_url == "sqlite://" else (None, open_database(database_url))
        )
        self._executor = Executor(consumer, self.database if consumer.uses_database else None)
        self._offsets = itertools.count()
        consumer.settings = settings or ConsumerSettings.load()
        consumer.registry = CollectorRegistry()
        if consumer.uses_database:
            consumer.database = self.database
        if dingtalk is not None:
            consumer.dingtalk = dingtalk
        elif consumer.clients is None:
            consumer.clients = no_dingtalk

    async def __aenter__(self) -> Self:
        await self._make_tables()
        await self.consumer.start()
        return self

    async def _make_tables(self) -> None:
        """As the worker makes them; a new file of a consumer whose tables were made before is a copy of the
        file that they were made in: 5 ms instead of 200."""
        consumer = type(self.consumer)
        tables = consumer.metadata.tables.values() if consumer.metadata is not None else ()
        made_of = (consumer.name, consumer.migrations, consumer.own_tables, frozenset(tables))
        new = self._file if self._file is not None and not self._file.stat().st_size else None
        if new is not None and (known := _made.get(consumer)) is not None and known[0] == made_of:
            new.write_bytes(known[1])
            return
        await migrate(self.database, WorkerTables)
        await migrate(self.database, consumer)
        if new is not None:
            with closing(sqlite3.connect(new)) as connection:
                _made[consumer] = made_of, connection.serialize()

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            await self.consumer.stop()
        finally:
            await self.database.close()
        if self._file is not None:
            _ended.append((self._file, self.database))

    async def deliver(
        self,
        event: Event | Record | bytes | Mapping[str, Any],
        *,
        replay_id: str = "",
    ) -> Outcome:
        """Make one attempt with ``event`` (a decoded event, a record of ``dingbridge.events.to_records``, a
        record's value, or an envelope) and return how it ended.

        Raises what the handler raised where that names no outcome and is no answer of DingTalk's: to the
        worker it is a retry, in a test it is a fault of the handler. ``SettingsError``: ``dingtalk`` was
        needed, and not given.
        """
        return with_faults_raised(await self.attempt(event, replay_id=replay_id))

    async def attempt(
        self,
        event: Event | Record | bytes | Mapping[str, Any],
        *,
        replay_id: str = "",
    ) -> Outcome:
        """The same as the worker takes it: whatever the handler raises is an outcome."""
        key = None
        if isinstance(event, Record):
            key, event = event.key, event.value
        elif isinstance(event, Mapping):
            event = orjson.dumps(event)
        if isinstance(event, bytes):
            try:
                event = decode(event, Sent(key) if foreign_topics(self.consumer.control_topics) else None)
            except NotAnEvent as error:
                return Outcome("not_an_event", error)
        return await self._executor.attempt(event, Delivery(replay_id=replay_id))

    async def work(self, *records: Record, retry_s: float = 0.001, within_s: float = 60) -> list[Failure]:
        """Hand ``records`` to the worker's scheduler, as fetched together from one partition of each type's
        topic, and wait until all are finished, ``within_s`` at most. Returns what became dead letters.

        Attempts follow each other by ``retry_s`` (s) instead of the consumer's ``retry_first_s``, unless the
        handler says when. Raises ``TimeoutError`` for what still waits, as for a dependency that is down.
        """
        consumer, letters = self.consumer, _Letters()
        database = self.database if consumer.uses_database else None
        vars(consumer).update(retry_first_s=retry_s, retry_max_s=retry_s)
        foreign = foreign_topics(consumer.control_topics)
        scheduler = Scheduler(
            consumer,
            self._executor,
            DeadLetters(consumer, database, letters),
            OffsetTracker(),
            WorkerMetrics(consumer.name, CollectorRegistry()),
            foreign_topics=[_topic(record) for record in records] if foreign else (),
        )
        try:
            for record in records:
                scheduler.add([_fetched(record, next(self._offsets))])
            async with asyncio.timeout(within_s):
                while scheduler.offsets.in_flight:  # noqa: ASYNC110 - an end is nobody's event
                    await asyncio.sleep(0.001)
        except TimeoutError:
            raise TimeoutError(f"not finished within {within_s:g} s: {scheduler.in_flight()}") from None
        finally:
            await scheduler.close()
        return letters.written

    def context(self, event: Event) -> Context:
        """What ``deliver`` gives the handler, for a test that calls ``prepare`` or ``handle`` itself."""
        return self._executor.context(event)

    async def rows(self, statement: Executable) -> Sequence[Row[Any]]:
        """What ``statement`` reads from the consumer's database."""
        return (await self.database.reader().execute(statement)).all()


def _empty_file() -> tuple[Path, Database]:
    """An empty file, and the database that it is."""
    if not _ended:
        folder = tempfile.mkdtemp(prefix="dingbridge-")
        atexit.register(shutil.rmtree, folder, ignore_errors=True)
        file = Path(folder, "test.db")
        return file, open_database(f"sqlite:///{file}", durable=False)
    file, database = _ended.pop()
    for old in file.parent.iterdir():
        old.unlink()
    file.touch(mode=0o600)
    return file, database.reopened()


class _Letters:
    """Where dead letters go instead of Kafka."""

    def __init__(self) -> None:
        self.written: list[Failure] = []

    async def write(self, record: ConsumerRecord, failure: Failure) -> None:
        self.written.append(failure)


def _topic(record: Record) -> str:
    return record.event_type or UNCLASSIFIED


def _fetched(record: Record, offset: int) -> ConsumerRecord:
    sizes = {"serialized_key_size": len(record.key), "serialized_value_size": len(record.value)}
    headers = tuple(record.headers)
    return ConsumerRecord(
        _topic(record), 0, offset, round(time.time() * 1000), 0, record.key, record.value, None, **sizes,
        headers=headers,
    )  # fmt: skip


def no_dingtalk(app: str | None, corp_id: str | None) -> DingTalkClient:
    """The clients of a test that gives none. Raises ``SettingsError``."""
    raise SettingsError(
        [
            "the consumer calls DingTalk, and the test gives it none: MemoryRuntime(…, dingtalk=…) takes any "
            "object with the methods that are called"
        ]
    )


def with_faults_raised(outcome: Outcome) -> Outcome:
    """``outcome``; but raises the handler's exception if that is no named outcome, or if settings are missing
    in the test."""
    error = outcome.error
    if isinstance(error, SettingsError):
        raise error
    if outcome.kind == "retry" and isinstance(error, Exception) and not isinstance(error, BridgeError):
        raise error
    return outcome
