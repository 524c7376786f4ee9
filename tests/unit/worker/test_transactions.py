"""Several events in one transaction: what becomes of the others when one of them fails, waits or goes."""

import asyncio
from collections import defaultdict
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Column, ForeignKey, Integer, MetaData, Table, select

from dingbridge import Conflict, Context, Event, Transaction, open_database
from dingbridge.events.event import decode
from dingbridge.worker.attempts import transactions
from dingbridge.worker.attempts.transactions import GroupTransactions, Job
from dingbridge.worker.attempts.watchdog import Watchdog
from dingbridge.worker.store import inbox
from dingbridge.worker.store.database import Database
from dingbridge.worker.store.migrations import WorkerTables, migrate
from tests.unit.worker.harness import P0, running, until
from tests.unit.worker.support import Recording, record

tables = MetaData()
parents = Table("parents", tables, Column("n", Integer, primary_key=True))
children = Table(
    "children",
    tables,
    Column("n", ForeignKey("parents.n", deferrable=True, initially="DEFERRED"), primary_key=True),
)


class Changing(Recording):
    """Changes what it is given in every call. The first call of ``handle`` for ``u4`` raises ``error``."""

    def __init__(self, error: Exception) -> None:
        self.error: Exception | None = error
        self.given: dict[str, list[dict[str, Any]]] = defaultdict(list)

    def take(self, event: Event[Any]) -> None:
        self.given[str(event.subject)].append(dict(event.data))
        event.data.clear()

    async def handle(self, event: Event[Any], tx: Transaction, prepared: Any) -> None:
        assert tx.ctx.together == (event,)
        self.take(event)
        if event.subject == "u4" and self.error is not None:
            error, self.error = self.error, None
            raise error


class Preparing(Changing):
    async def prepare(self, event: Event[Any], ctx: Context) -> None:
        self.take(event)


@pytest.mark.parametrize("error", [ValueError(), Conflict()])
@pytest.mark.parametrize("made", [Changing, Preparing])
async def test_each_call_has_the_data_as_they_came_whatever_a_call_before_did_with_them(
    made: type[Changing], error: Exception, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A neighbour's failure rolls back what changed the data, and the handler is called again."""
    consumer, applied = made(error), list[Job]()
    apply = GroupTransactions.apply

    async def counted(self: GroupTransactions, job: Job) -> Any:
        applied.append(job)
        return await apply(self, job)

    monkeypatch.setattr(GroupTransactions, "apply", counted)
    users = ("u1", "u2", "u3", "u4")
    async with running(consumer) as harness:  # type: ignore[arg-type]
        async with harness.runtime.database._writing:
            harness.add(P0, *((f"of-{user}", user) for user in users))
            await until(lambda: len(applied) == len(users))
        await harness.idle()
    assert len(consumer.given["u3"]) == (3 if made is Preparing else 2), "it was called again"
    assert dict(consumer.given) == {
        user: [decode(record(f"of-{user}", user).value).data] * len(consumer.given[user]) for user in users
    }


class Group:
    """Jobs of one SQLite file, by number."""

    def __init__(self, database: Database) -> None:
        self.database = database
        self.transactions = GroupTransactions(Recording(), database, Watchdog("t", 60))
        self.called: list[int] = []

    def job(self, n: int, handle: Callable[[Transaction], Awaitable[None]] | None = None) -> Job:
        async def work(tx: Transaction) -> None:
            self.called.append(n)
            if handle is not None:
                await handle(tx)

        return Job(1, "user_add_org", (bytes([n]) * 16,), work)

    async def rows(self) -> set[int]:
        found = await self.database.reader().execute(select(inbox.inbox.c.hash))
        return {row.hash[0] for row in found}


@pytest.fixture
async def group(tmp_path: Path) -> AsyncIterator[Group]:
    database = open_database(f"sqlite:///{tmp_path}/t.db")
    await migrate(database, WorkerTables)
    await database.create_tables(tables)
    made = Group(database)
    yield made
    await made.transactions.close()
    await database.close()


@asynccontextmanager
async def applying(group: Group, *jobs: Job) -> AsyncIterator[list["asyncio.Task[Any]"]]:
    """Waits for ``jobs``, which are in one transaction."""
    async with group.database._writing:
        tasks = [asyncio.create_task(group.transactions.apply(job)) for job in jobs]
        for _ in range(10):
            await asyncio.sleep(0)
    try:
        async with asyncio.timeout(20):
            yield tasks
    finally:
        for task in tasks:
            task.cancel()


async def test_one_that_is_withdrawn_has_no_inbox_row_though_the_budget_ends_behind_it(
    group: Group, monkeypatch: pytest.MonkeyPatch
) -> None:
    began, go_on = asyncio.Event(), asyncio.Event()

    async def wait(tx: Transaction) -> None:
        began.set()
        await go_on.wait()

    async def end_the_budget(tx: Transaction) -> None:
        monkeypatch.setattr(transactions, "BUDGET_S", 0)

    monkeypatch.setattr(transactions, "BUDGET_S", 60)
    jobs = [group.job(0, wait), group.job(1), group.job(2, end_the_budget), group.job(3)]
    async with applying(group, *jobs) as tasks:
        await began.wait()
        tasks[1].cancel()
        go_on.set()
        assert await asyncio.gather(tasks[0], tasks[2], tasks[3]) == ["done"] * 3
        await asyncio.wait([tasks[1]])
        assert tasks[1].cancelled()
    assert (group.called, await group.rows()) == ([0, 2, 3], {0, 2, 3})


async def test_what_fails_at_commit_fails_for_its_event_and_holds_up_no_other(group: Group) -> None:
    async def orphan(tx: Transaction) -> None:
        await tx.execute(children.insert().values(n=1))

    async with applying(group, *(group.job(n, orphan if n == 1 else None) for n in range(4))) as tasks:
        ended = await asyncio.gather(*tasks, return_exceptions=True)
    assert [str(one) for n, one in enumerate(ended) if n != 1] == ["done"] * 3
    assert "FOREIGN KEY" in str(ended[1])
    assert await group.rows() == {0, 2, 3}
