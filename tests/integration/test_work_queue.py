"""What a queue in a table promises, on SQLite and on PostgreSQL alike."""

import asyncio
import itertools
import sys
from collections.abc import AsyncIterator
from typing import Any

import pytest
from sqlalchemy import func, insert, select, text, update

from dingbridge import Database, DependencyUnavailable, open_database
from dingbridge.availability import GIVE_UP_AFTER_S, Availability
from dingbridge.dingtalk.errors import ApiError, NotFound, PermissionDenied
from dingbridge.work_queue import ORDINARY, PEOPLE_WAIT, RECONCILE, WorkQueue, keep_working
from tests.integration.claimer import items, metadata
from tests.support.query_plans import asked_of, slow
from tests.support.sizes import sized

GONE = NotFound("gone", api="v2/user/get")
COUNT = sized(90, 300)


class Clock:
    now = 1_800_000_000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
async def database(database_url: str) -> AsyncIterator[Database]:
    opened = open_database(database_url)
    await opened.create_tables(metadata)
    yield opened
    await opened.close()


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def queue(clock: Clock) -> WorkQueue:
    return WorkQueue(items, lease_s=60, clock=clock)


async def fill(database: Database, queue: WorkQueue, count: int, priority: int = ORDINARY) -> None:
    first = await database.reader().scalar(select(func.count()).select_from(items))
    due = queue.now_ms() - 1000
    async with database.transaction() as tx:
        for start in range(first, first + count, 5000):
            numbers = range(start, min(start + 5000, first + count))
            rows = [{"corp_id": "c", "number": n, "due_ms": due, "priority": priority} for n in numbers]
            await tx.execute(insert(items), rows)


async def make_due(database: Database, queue: WorkQueue, **due: Any) -> None:
    async with database.transaction() as tx:
        await tx.execute(update(items).values(**queue.due(**due)))


async def test_three_processes_claim_each_row_once(database: Database, database_url: str) -> None:
    await fill(database, WorkQueue(items), COUNT)
    command = (sys.executable, "-m", "tests.integration.claimer", database_url)
    running = [
        await asyncio.create_subprocess_exec(*command, stdout=asyncio.subprocess.PIPE) for _ in range(3)
    ]
    outputs = [(await process.communicate())[0].split() for process in running]
    assert sorted(int(number) for output in outputs for number in output) == list(range(COUNT))
    assert [process.returncode for process in running] == [0, 0, 0]


async def test_a_lease_that_ran_out_is_anothers(database: Database, queue: WorkQueue, clock: Clock) -> None:
    await fill(database, queue, 1)
    [slow] = await queue.claim(database, 5)
    assert await queue.claim(database, 5) == []
    clock.now += 59
    async with database.transaction() as tx:
        assert await queue.renew(tx, slow)
    clock.now += 59
    assert await queue.claim(database, 5) == []
    clock.now += 2
    [other] = await queue.claim(database, 5)
    async with database.transaction() as tx:
        assert not await queue.renew(tx, slow)
        assert not await queue.release(tx, slow, note="late")
        assert not await queue.done(tx, slow)
        assert await queue.release(tx, other, note="in time")
    row = (await database.reader().execute(select(items))).one()
    assert (row.note, row.due_ms, row.claims) == ("in time", None, 2)


async def test_what_is_made_due_while_it_is_claimed_stays_due(
    database: Database, queue: WorkQueue, clock: Clock
) -> None:
    for ending, after_s in itertools.product(("release", "done", "renew"), (0, 10, 60, 90)):
        await fill(database, queue, 1, RECONCILE)
        [row] = await queue.claim(database, 1)
        clock.now += after_s
        await make_due(database, queue, priority=PEOPLE_WAIT)
        await make_due(database, queue, priority=RECONCILE, at_ms=queue.now_ms() + 5000)  # takes nothing back
        async with database.transaction() as tx:
            if ending == "renew":
                assert await queue.renew(tx, row)
            if ending == "done":
                assert await queue.done(tx, row)
            else:
                assert await queue.release(tx, row, due_ms=queue.now_ms() + 3600_000)
        [again] = await queue.claim(database, 1)
        assert again.priority == PEOPLE_WAIT
        async with database.transaction() as tx:
            assert await queue.done(tx, again)
        assert await database.reader().scalar(select(func.count()).select_from(items)) == 0


async def test_what_is_given_back_is_due_at_once_and_keeps_its_failures(
    database: Database, queue: WorkQueue, clock: Clock
) -> None:
    await fill(database, queue, 1)
    [row] = await queue.claim(database, 1)
    async with database.transaction() as tx:
        await queue.release(tx, row, **queue.failure(row, Availability(), GONE))
    clock.now += 10
    for _ in range(2):
        [row] = await queue.claim(database, 1)
        assert row.attempts == 1
        async with database.transaction() as tx:
            assert await queue.give_back(tx, row)
    [row] = await queue.claim(database, 1)
    async with database.transaction() as tx:
        await queue.free(tx)
    assert len(await queue.claim(database, 1)) == 1


async def test_one_that_takes_long_keeps_its_own_place_only() -> None:
    waiting, worked, stuck = list(range(20)), list[int](), asyncio.Event()

    async def claim(most: int) -> list[int]:
        taken = waiting[:most]
        del waiting[:most]
        return taken

    async def work(number: int) -> None:
        if number == 3:
            await stuck.wait()
        worked.append(number)
        if len(worked) == 19:
            raise RuntimeError("the end")

    with pytest.raises(RuntimeError, match="the end"):
        await keep_working(claim, work, 4)
    assert sorted(worked) == [number for number in range(20) if number != 3]


async def test_nothing_due_writes_nothing(
    database: Database, queue: WorkQueue, monkeypatch: pytest.MonkeyPatch
) -> None:
    await fill(database, queue, 1)
    await queue.claim(database, 1)
    monkeypatch.setattr(database, "transaction", None)
    assert await queue.claim(database, 5) == []


async def test_the_urgent_go_first_and_nobody_starves(database: Database, queue: WorkQueue) -> None:
    for priority in (RECONCILE, ORDINARY, PEOPLE_WAIT):
        await fill(database, queue, 60, priority)
    claimed: list[int] = []
    for most in (1, 3, 8, 1, 3, 8, 8, 8, 8):
        claimed += [row.priority for row in await queue.claim(database, most)]
    assert claimed[0] == PEOPLE_WAIT
    assert [claimed.count(priority) for priority in (PEOPLE_WAIT, ORDINARY, RECONCILE)] == [30, 12, 6]
    assert await queue.depth(database.reader(), most=50) == {0: 30, 1: 48, 2: 50}
    rest = await queue.claim(database, 100, items.c.number < 60)
    assert [row.number for row in rest] == list(range(6, 60))


async def test_what_others_failures_tell(database: Database, queue: WorkQueue, clock: Clock) -> None:
    await fill(database, queue, 1)
    availability, busy = Availability(), DependencyUnavailable("busy")

    async def fail(error: Exception, *, another_works: bool = False) -> tuple[int, float | None]:
        [row] = await queue.claim(database, 1)
        if another_works:
            availability.worked(clock.now)
        clock.now += 1
        async with database.transaction() as tx:
            await queue.release(tx, row, **queue.failure(row, availability, error))
        row = (await database.reader().execute(select(items))).one()
        wait_s = None if row.due_ms is None else row.due_ms / 1000 - clock.now
        clock.now += wait_s or 0
        return row.attempts, wait_s

    refused = {"message": "no", "api": "v2/user/get"}
    assert await fail(busy) == (0, 2)  # nobody else was tried
    assert await fail(busy, another_works=True) == (1, 2)
    assert await fail(busy) == (1, 2)
    assert await fail(PermissionDenied(**refused, about="right"), another_works=True) == (1, 2)
    assert await fail(NotFound(**refused)) == (2, 4)  # the answer says whose it is
    assert await fail(ApiError(**refused, about="busy", retry_after_s=30)) == (2, 30)
    clock.now += GIVE_UP_AFTER_S
    await make_due(database, queue)
    assert await fail(busy, another_works=True) == (0, None)
    assert await queue.claim(database, 1) == []


async def test_what_waited_for_a_dependency_waits_for_its_own_failures_alone_when_that_works(
    database: Database, queue: WorkQueue, clock: Clock
) -> None:
    """Except what is claimed, and of other parts of the queue."""
    await fill(database, queue, sized(2_000, 20_000), RECONCILE)
    await fill(database, queue, 1, PEOPLE_WAIT)
    now, later = queue.now_ms(), queue.now_ms() + 600_000
    failed: dict[int, dict[str, Any]] = {
        0: {"failed_ms": now - 50_000},
        1: {"failed_ms": now - 1_000, "attempts": 3},
        2: {"failed_ms": now - 1_000, "attempts": 30},
        3: {"failed_ms": now - 1_000, "leased_ms": later},
        4: {"failed_ms": now - 1_000, "corp_id": "other"},
        5: {"failed_ms": None},
    }
    async with database.transaction() as tx:
        for number, values in failed.items():
            await tx.execute(update(items).where(items.c.number == number).values(due_ms=later, **values))
    async with database.transaction() as tx:
        await tx.execute(text("ANALYZE"))
    asked = asked_of(database)
    async with database.transaction() as tx:
        await queue.recovered(tx, items.c.corp_id == "c")
    assert await slow(database, asked) == []
    rows = await database.reader().execute(select(items.c.number, items.c.due_ms).order_by(items.c.number))
    due = {row.number: row.due_ms for row in rows if row.number in failed}
    assert due == {0: now - 49_000, 1: now + 7_000, 2: now + 599_000, 3: later, 4: later, 5: later}


async def test_success_forgets_failures(database: Database, queue: WorkQueue, clock: Clock) -> None:
    await fill(database, queue, 1)
    [row] = await queue.claim(database, 1)
    async with database.transaction() as tx:
        await queue.release(tx, row, **queue.failure(row, Availability(), GONE))
    clock.now += 10
    [row] = await queue.claim(database, 1)
    assert (row.attempts, row.failing_since_ms is None) == (1, False)
    async with database.transaction() as tx:
        await queue.release(tx, row, due_ms=queue.now_ms())
    [row] = await queue.claim(database, 1)
    assert (row.attempts, row.failed_ms, row.failing_since_ms) == (0, None, None)


async def test_a_claim_among_many_reads_only_its_rows(database: Database, queue: WorkQueue) -> None:
    """Whatever is due beside it, also where half of it is claimed already."""
    await fill(database, queue, sized(20_000, 100_000), RECONCILE)
    await queue.claim(database, 5000)
    await fill(database, queue, 1, PEOPLE_WAIT)
    async with database.transaction() as tx:
        await tx.execute(text("ANALYZE"))
    asked = asked_of(database)
    claimed = await queue.claim(database, 8)
    async with database.transaction() as tx:
        await queue.release(tx, claimed[0])
        await queue.done(tx, claimed[1])
    await queue.depth(database.reader(), most=100)
    assert claimed[0].priority == PEOPLE_WAIT
    assert len(asked) >= 6
    assert await slow(database, asked) == []
