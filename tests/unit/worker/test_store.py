"""The worker's tables: inbox rows go in time, a restored database is told of once, closing ends."""

import asyncio
import threading
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import select, text
from sqlalchemy.exc import OperationalError
from structlog.testing import capture_logs

from dingbridge import Position, Restored, Transaction, open_database
from dingbridge.errors import KafkaUnavailable
from dingbridge.settings import KafkaSettings
from dingbridge.worker.store import database as module
from dingbridge.worker.store import inbox, pruning
from dingbridge.worker.store.database import Database
from dingbridge.worker.store.errors import TransactionRace
from dingbridge.worker.store.migrations import WorkerTables, migrate
from dingbridge.worker.store.restored import NotSetBack, is_restored, mark, marks, notify, set_back
from dingbridge.worker.store.retention import Lives

DAY = timedelta(days=1)


@pytest.fixture
async def database(database_url: str) -> AsyncIterator[Database]:
    opened = open_database(database_url)
    await migrate(opened, WorkerTables)
    yield opened
    await opened.close()


async def pruned(database: Database, lives: list[Any], monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Prune until it is done once, by what Kafka answers; the names of what is logged."""
    done = asyncio.Event()

    async def asked(settings: Any, topics: Any) -> Lives:
        answer = lives.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return Lives({topic: answer.get(topic) for topic in topics}, ())

    class Log:
        def info(self, event: str, **values: Any) -> None:
            said.append(event.removeprefix("consumer."))
            if event == "consumer.inbox_pruned":
                done.set()

        warning = debug = info

    said: list[str] = []
    monkeypatch.setattr(pruning, "lives_of_records", asked)
    monkeypatch.setattr(pruning, "RETRY_S", 0.001)
    monkeypatch.setattr(pruning, "log", Log())
    task = asyncio.create_task(pruning.prune_regularly(database, "one", KafkaSettings.load()))
    async with asyncio.timeout(60):
        await asyncio.wait([task, asyncio.create_task(done.wait())], return_when="FIRST_COMPLETED")
    assert not task.done()
    task.cancel()
    await asyncio.wait([task])
    return said


async def aged(database: Database, consumer: str, topic: str, days: int) -> bytes:
    """A row of this age; its hash."""
    known = inbox.hash_of(consumer, ("s", f"{topic} {days}"), "")
    at = inbox.seconds(datetime.now(UTC) - days * DAY)
    async with database.transaction() as tx:
        row = {"hash": known, "topic": inbox.number_of(consumer, topic), "at": at}
        await tx.execute(inbox.inbox.insert().values(row))
    return known


async def test_each_row_is_kept_as_long_as_its_own_topic_needs(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    await inbox.register(database, "one", ["short", "long", "no longer read"])
    await inbox.register(database, "one", ["short", "long", "for ever"])
    await inbox.register(database, "two", ["short"])
    lives = {"short": 16 * DAY, "long": 92 * DAY, "no longer read": 16 * DAY}
    kept = [
        await aged(database, "one", "short", 15),
        await aged(database, "one", "long", 91),
        await aged(database, "one", "for ever", 1000),
        await aged(database, "two", "short", 17),
    ]
    monkeypatch.setattr(inbox, "PRUNE_ROWS", 1)
    for topic, days in (("short", 17), ("short", 18), ("long", 93), ("no longer read", 17)):
        await aged(database, "one", topic, days)
    said = await pruned(database, [lives], monkeypatch)
    assert said == ["inbox_kept_for_ever", "inbox_kept", "inbox_pruned"]
    rows = await database.reader().execute(select(inbox.inbox.c.hash))
    assert {row.hash for row in rows} == set(kept)


async def test_rows_that_are_pruned_are_found_by_an_index(database: Database) -> None:
    shown = {"sqlite": "EXPLAIN QUERY PLAN ", "postgresql": "EXPLAIN "}[database.dialect]
    async with database.transaction() as tx:
        if database.dialect == "postgresql":
            await tx.connection.exec_driver_sql("SET LOCAL enable_seqscan = off")  # the table is empty
        old = "SELECT hash FROM dingbridge_inbox WHERE topic = 1 AND at < 5 ORDER BY at LIMIT 5000"
        rows = (await tx.connection.exec_driver_sql(shown + old)).all()
    plan = " ".join(map(str, rows))
    assert "dingbridge_inbox_topic_at" in plan


ERRORS = [
    KafkaUnavailable("does not answer"),
    TransactionRace("the database rolled back because of another transaction"),
    OperationalError("DELETE FROM t WHERE id IN ('张三')", {}, Exception("text of the driver")),
]


@pytest.mark.parametrize("error", ERRORS, ids=["kafka", "race", "driver"])
async def test_what_fails_is_tried_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    database = open_database(f"sqlite:///{tmp_path}/t.db")
    await migrate(database, WorkerTables)
    with capture_logs() as logs:
        said = await pruned(database, [error, error, {}], monkeypatch)
    await database.close()
    assert said == ["inbox_not_pruned", "inbox_not_pruned", "inbox_kept", "inbox_pruned"]
    assert "张三" not in str(logs)


# -- The mark in a restored database: it stops a start until the offsets are set back, and is told of once


async def test_a_restored_database_is_told_of_once_when_its_offsets_are_set_back(tmp_path: Path) -> None:
    database, told = open_database(f"sqlite:///{tmp_path}/a.db"), list[Restored]()

    async def hook(restored: Restored, tx: Transaction) -> None:
        told.append(restored)
        if len(told) == 1:
            raise ConnectionError

    assert not await is_restored(database, "billing")
    await mark(database, ["billing"], "first", 1)
    await set_back(database, "billing", {})
    await mark(database, ["billing"], "second", 2)  # of a copy that was made before the consumer had started
    await mark(database, ["billing"], "second", 2)  # as after a kill
    with pytest.raises(NotSetBack, match="dingbridge restore"):
        await is_restored(database, "billing")
    assert not await is_restored(database, "another")
    await set_back(database, "billing", {"t": {"0": 5}})
    await mark(database, ["billing"], "second", 2)
    assert await is_restored(database, "billing")
    with pytest.raises(ConnectionError):
        await notify(database, "billing", hook)
    await notify(database, "billing", hook)
    await notify(database, "billing", hook)
    assert (len(told), told[1].at_ms, await marks(database)) == (2, 2, {})
    assert told[1].may_be_known(Position("t", 0, 4))
    assert not any(told[1].may_be_known(Position(*at)) for at in (("t", 0, 5), ("t", 1, 4), ("u", 0, 0)))
    await database.close()


# -- Closing a database ends, whatever has happened to its connections


@pytest.mark.parametrize("cut_off", [False, True])
async def test_closing_ends_though_a_connection_was_cut_off_a_moment_ago(monkeypatch, cut_off):
    monkeypatch.setattr(module, "CLOSE_TIMEOUT_S", 0.1)
    database = open_database("sqlite://")
    async with database._writer.connect() as connection:
        await connection.execute(text("SELECT 1"))
        raw = (await connection.get_raw_connection()).driver_connection
    gate = threading.Event()
    if cut_off:
        raw._tx.put_nowait((None, gate.wait))  # its thread is busy while both ask it to end
        raw.stop()
    async with asyncio.timeout(30):
        closing = asyncio.ensure_future(database.close())
        await asyncio.sleep(0)
        gate.set()
        await closing
