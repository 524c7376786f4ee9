"""A cancelled statement of SQLite ends at once, with its transaction: the writer is free for the next one."""

import asyncio
import gc
import sqlite3
from collections.abc import AsyncIterator, Iterator
from contextlib import closing, suppress
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import func, select, text
from sqlalchemy.exc import DBAPIError

from dingbridge import Event, Retry, Transaction, open_database
from dingbridge.testing import MemoryRuntime
from dingbridge.worker.attempts import transactions
from dingbridge.worker.store import database as database_module
from dingbridge.worker.store import sqlite_cursor
from dingbridge.worker.store.database import Database
from tests.unit.worker.support import Recording, effects, metadata, record

NUMBERS = "WITH RECURSIVE n(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM n WHERE x < 1000000000) "
READ = text(NUMBERS + "SELECT count(*) FROM n")
WRITE = text("INSERT INTO effects (event_id) " + NUMBERS + "SELECT count(*) FROM n")
"""Both take minutes."""


@pytest.fixture(autouse=True)
def _without_the_collector() -> Iterator[None]:
    """A connection that only the collector closes would hide a lock that is kept."""
    gc.disable()
    yield
    gc.enable()


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "t.db"


@pytest.fixture
async def database(file: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Database]:
    monkeypatch.setattr(database_module, "CLOSE_TIMEOUT_S", None)  # closing ends by itself
    opened = open_database(f"sqlite:///{file}", durable=False)
    await opened.create_tables(metadata)
    yield opened
    await opened.close()


def writer_is_free(file: Path) -> bool:
    with closing(sqlite3.connect(file, timeout=0, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        return True


async def insert(tx: Transaction, name: str) -> None:
    await tx.execute(effects.insert().values(event_id=name))


async def inserted(database: Database) -> list[str]:
    return list((await database.reader().execute(select(effects.c.event_id))).scalars())


async def handle_too_long(tx: Transaction) -> None:
    await tx.execute(READ)


async def limit_and_go_on(tx: Transaction) -> None:
    with suppress(TimeoutError):
        async with asyncio.timeout(0.02):
            await tx.execute(WRITE)


async def fail_beside_a_statement(tx: Transaction) -> None:
    async def fail() -> None:
        await asyncio.sleep(0.02)
        raise ValueError

    async with asyncio.TaskGroup() as group:
        group.create_task(tx.execute(WRITE))
        group.create_task(fail())


async def leave_a_statement_behind(tx: Transaction) -> None:
    asyncio.ensure_future(tx.execute(WRITE)).add_done_callback(lambda ended: ended.exception())
    await asyncio.sleep(0.02)
    raise ValueError


class Cut(Recording):
    """Has its statement ``cut`` when it first handles ``slow``."""

    def __init__(self, cut: Any) -> None:
        self.cut = cut

    async def handle(self, event: Event, tx: Transaction, prepared: Any) -> None:
        cut = self.cut
        if event.subject == "slow" and cut is not None:
            self.cut = None
            await cut(tx)
        await super().handle(event, tx, prepared)


WAYS = [handle_too_long, limit_and_go_on, fail_beside_a_statement, leave_a_statement_behind]


@pytest.mark.parametrize("others", [["u1", "u2", "u3"], []], ids=["beside others", "alone"])
@pytest.mark.parametrize("cut", WAYS)
async def test_every_event_is_handled_though_a_statement_was_cut(
    cut: Any, others: list[str], file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(transactions, "SHARED_LIMIT_S", 0.2)
    consumer = Cut(cut)
    if not others:
        consumer.handler_timeout_s = 0.2  # type: ignore[misc]
    async with MemoryRuntime(consumer, database_url=f"sqlite:///{file}") as runtime:
        users = ["slow", *others]
        assert await runtime.work(*(record(f"e-{user}", user) for user in users)) == []
        rows = await runtime.rows(select(effects.c.subject))
        assert sorted(row.subject for row in rows) == sorted(users)
        assert writer_is_free(file)


@pytest.mark.parametrize("statement", [READ, WRITE], ids=["read", "write"])
async def test_what_a_handler_does_after_it_swallowed_the_cut_is_refused_in_words(
    statement: Any, database: Database, file: Path
) -> None:
    async with database._writer.connect() as connection:
        driver = (await connection.get_raw_connection()).driver_connection

    async def go_on() -> None:
        async with database.transaction() as tx:
            await insert(tx, "before")
            with suppress(TimeoutError):
                async with asyncio.timeout(0.02):
                    await tx.execute(statement)
            assert writer_is_free(file), "other processes need not wait for this handler"
            with pytest.raises(DBAPIError, match="the transaction is over"):
                await insert(tx, "behind")
            with pytest.raises(DBAPIError, match="the transaction is over"):
                async with tx.connection.begin_nested():
                    await insert(tx, "behind")

    with pytest.raises(Retry, match="went on"):
        await go_on()
    async with database.transaction() as tx:
        await insert(tx, "next")
        assert (await tx.connection.get_raw_connection()).driver_connection is driver
    assert await inserted(database) == ["next"]


async def test_a_savepoint_does_not_outlive_its_transaction(database: Database) -> None:
    async def go_on() -> None:
        async with database.transaction() as tx:
            await insert(tx, "before")
            with suppress(TimeoutError, DBAPIError):
                async with asyncio.timeout(0.02), tx.connection.begin_nested():
                    await tx.execute(WRITE)

    with pytest.raises(Retry, match="went on"):
        await go_on()
    assert await inserted(database) == []


async def test_a_database_in_memory_outlives_a_cut() -> None:
    database = open_database("sqlite://")
    await database.create_tables(metadata)
    async with database.transaction() as tx:
        await insert(tx, "before")
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.02), database.transaction() as tx:
            await tx.execute(WRITE)
    async with database.transaction() as tx:
        await insert(tx, "behind")
    assert await inserted(database) == ["before", "behind"]
    await database.close()


async def test_a_read_that_nobody_waits_for_any_more_ends(database: Database) -> None:
    for _ in range(30):  # more than there are connections
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.001):
                await database.reader().execute(READ)
    assert await inserted(database) == []


@pytest.mark.parametrize("statement", [None, READ], ids=["short", "long"])
async def test_the_writer_is_free_whenever_and_however_often_a_transaction_is_cancelled(
    statement: Any, database: Database, file: Path
) -> None:
    async def write(name: str) -> None:
        async with database.transaction() as tx:
            await insert(tx, name)
            if statement is not None:
                await tx.execute(statement)

    expected: set[str] = set()
    for turns in range(0, 300, 3):
        task = asyncio.create_task(write(str(turns)))
        for _ in range(turns):
            await asyncio.sleep(0)
        while not task.done():
            task.cancel()
            await asyncio.sleep(0)
        async with database.transaction() as tx:
            await insert(tx, f"next {turns}")
        assert writer_is_free(file)
        if not task.cancelled():
            task.result()
            expected.add(str(turns))
        expected.add(f"next {turns}")
    kept = await inserted(database)
    assert expected <= set(kept)
    assert len(kept) == len(set(kept))
    assert statement is None or len(kept) == len(expected)


async def test_a_statement_that_waits_for_another_of_its_transaction_may_be_cancelled(
    database: Database,
) -> None:
    async def go_on() -> None:
        async with database.transaction() as tx:
            first = asyncio.ensure_future(insert(tx, "one"))
            second = asyncio.ensure_future(insert(tx, "two"))
            await asyncio.sleep(0)
            second.cancel()
            await first

    with pytest.raises(Retry, match="went on"):
        await go_on()
    async with database.transaction() as tx:
        assert await tx.scalar(select(func.count()).select_from(effects)) == 0


async def test_who_waits_for_another_process_may_be_cancelled(
    database: Database, file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No interrupt ends that, so the connection is given up."""
    monkeypatch.setattr(sqlite_cursor, "CUT_TIMEOUT_S", 0)

    async def write() -> None:
        async with database.transaction() as tx:
            await insert(tx, "cut")

    with closing(sqlite3.connect(file, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        waiting = asyncio.create_task(write())
        await asyncio.wait([waiting], timeout=0.02)
        waiting.cancel()
        await asyncio.wait([waiting], timeout=0.02)
    with pytest.raises(asyncio.CancelledError):
        await waiting
    async with database.transaction() as tx:
        await insert(tx, "next")
    assert writer_is_free(file)
    assert await inserted(database) == ["next"]
