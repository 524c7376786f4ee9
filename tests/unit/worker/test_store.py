"""The worker's tables: inbox rows go in time, a restored database is told of once."""

import asyncio
from collections.abc import AsyncIterator, Collection
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import delete, select, text, update
from sqlalchemy.exc import OperationalError
from structlog.testing import capture_logs

from dingbridge import Retry, open_database
from dingbridge.errors import KafkaUnavailable
from dingbridge.settings import KafkaSettings
from dingbridge.worker.store import inbox, pruning
from dingbridge.worker.store.database import Database
from dingbridge.worker.store.errors import TransactionRace
from dingbridge.worker.store.migrations import WorkerTables, migrate
from dingbridge.worker.store.offsets import keep_inbox, register
from dingbridge.worker.store.retention import Lives

DAY = timedelta(days=1)


@pytest.fixture
async def database(database_url: str) -> AsyncIterator[Database]:
    opened = open_database(database_url)
    await migrate(opened, WorkerTables)
    yield opened
    await opened.close()


async def pruned(
    database: Database,
    lives: list[Any],
    monkeypatch: pytest.MonkeyPatch,
    topics: Collection[str] = ("t",),
    *,
    once: bool = False,
) -> list[str]:
    """Prune until it is done once, by what Kafka answers; the names of what is logged."""
    done = asyncio.Event()

    async def asked(settings: Any, topics: Any) -> Lives:
        answer = lives.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return Lives({topic: answer.get(topic, DAY) for topic in topics}, ())

    class Log:
        def info(self, event: str, **values: Any) -> None:
            said.append(event.removeprefix("consumer."))
            if event == "consumer.inbox_pruned" or (once and event == "consumer.inbox_kept"):
                done.set()

        warning = debug = info

    said: list[str] = []
    monkeypatch.setattr(pruning, "lives_of_records", asked)
    monkeypatch.setattr(pruning, "RETRY_S", 0.001)
    monkeypatch.setattr(pruning, "log", Log())
    task = asyncio.create_task(pruning.prune_regularly(database, "one", KafkaSettings.load(), sorted(topics)))
    async with asyncio.timeout(60):
        await asyncio.wait([task, asyncio.create_task(done.wait())], return_when="FIRST_COMPLETED")
    assert not task.done()
    task.cancel()
    await asyncio.wait([task])
    return said


async def aged(database: Database, consumer: str, days: int) -> bytes:
    """A row of this age; its hash."""
    known = inbox.hash_of(consumer, ("s", str(days)), "")
    at = inbox.seconds(datetime.now(UTC) - days * DAY)
    async with database.transaction() as tx:
        await tx.execute(inbox.inbox.insert().values(hash=known, at=at))
    return known


async def test_rows_are_kept_as_long_as_any_consumer_of_the_database_needs(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("one", "two"):
        await register(database, name)
    monkeypatch.setattr(inbox, "PRUNE_ROWS", 1)
    rows = {days: await aged(database, "one", days) for days in (15, 91, 93, 94)}
    await keep_inbox(database, "two", None)
    assert "inbox_pruned" not in await pruned(database, [{"a": 16 * DAY}], monkeypatch, {"a"}, once=True)
    await keep_inbox(database, "two", 92 * DAY)
    said = await pruned(database, [{"a": 16 * DAY, "b": 8 * DAY}], monkeypatch, {"a", "b"})
    assert said == ["inbox_kept", "inbox_pruned"]
    left = await database.reader().execute(select(inbox.inbox.c.hash))
    assert {row.hash for row in left} == {rows[15], rows[91]}


async def test_rows_that_are_pruned_are_found_by_an_index(database: Database) -> None:
    shown = {"sqlite": "EXPLAIN QUERY PLAN ", "postgresql": "EXPLAIN "}[database.dialect]
    async with database.transaction() as tx:
        if database.dialect == "postgresql":
            await tx.connection.exec_driver_sql("SET LOCAL enable_seqscan = off")  # the table is empty
        old = "SELECT hash FROM dingbridge_inbox WHERE at < 5 ORDER BY at LIMIT 5000"
        rows = (await tx.connection.exec_driver_sql(shown + old)).all()
    plan = " ".join(map(str, rows))
    assert "dingbridge_inbox_at" in plan


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
        await register(database, "one")
        said = await pruned(database, [error, error, {}], monkeypatch)
    await database.close()
    assert said == ["inbox_not_pruned", "inbox_not_pruned", "inbox_kept", "inbox_pruned"]
    assert "张三" not in str(logs)


async def test_statements_of_one_transaction_have_results_of_their_own(database: Database) -> None:
    """SQLite's share a cursor."""
    hashes = [bytes([n]) * 16 for n in range(40)]
    async with database.transaction() as tx:
        await inbox.enter(tx, [(one, n) for n, one in enumerate(hashes)])
        moved = await tx.execute(update(inbox.inbox).where(inbox.inbox.c.attempt < 7).values(at=1))
        reads = [select(inbox.inbox.c.attempt).where(inbox.inbox.c.hash == one) for one in hashes]
        found = await asyncio.gather(
            *(tx.scalar(read) for read in reads[: 1 if tx.dialect == "postgresql" else 40])
        )
        gone = await tx.execute(delete(inbox.inbox).where(inbox.inbox.c.attempt >= 30))
        assert (moved.rowcount, gone.rowcount) == (7, 10)
        assert found == [*range(len(found))]


async def test_a_failed_statement_stays_one_when_its_savepoint_is_kept_and_another_rolled_back(
    tmp_path: Path,
) -> None:
    database = open_database(f"sqlite:///{tmp_path}/t.db")

    async def fail_and_go_on() -> None:
        async with database.transaction() as tx:
            async with tx.connection.begin_nested():
                with pytest.raises(OperationalError):
                    await tx.execute(text("SELECT * FROM missing"))
            async with tx.connection.begin_nested() as savepoint:
                await savepoint.rollback()

    with pytest.raises(Retry, match="a statement failed"):
        await fail_and_go_on()
    await database.close()
