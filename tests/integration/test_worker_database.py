"""What the runtime's database layer promises, on SQLite and on PostgreSQL alike."""

import asyncio
import random
from contextlib import suppress
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest
from sqlalchemy import Column, Integer, MetaData, String, Table, make_url, select, text
from sqlalchemy.exc import DBAPIError

from dingbridge import Conflict, Context, DatabaseDown, Event, Retry, Transaction, UtcDateTime, open_database
from dingbridge.events.event import decode
from dingbridge.settings import ConsumerSettings
from dingbridge.worker import dead_letters as dead_letters_module
from dingbridge.worker.attempts import executor as executor_module
from dingbridge.worker.attempts.executor import Executor
from dingbridge.worker.dead_letters import DeadLetters
from dingbridge.worker.delivery import Delivery
from dingbridge.worker.outcomes import Failure
from dingbridge.worker.store import database as database_module
from dingbridge.worker.store import inbox
from dingbridge.worker.store.errors import answered
from tests.support.bad_network import BadNetwork
from tests.support.processes import free_port
from tests.support.proxy import RoundRobin
from tests.support.waiting import eventually
from tests.unit.worker.harness import Letters
from tests.unit.worker.support import Recording, kafka_record, record

metadata = MetaData()
people = Table(
    "people",
    metadata,
    Column("userid", String, primary_key=True),
    Column("name", String),
    Column("generation", Integer, nullable=False, default=0),
    Column("seen_at", UtcDateTime),
)
keys = Table("keys", metadata, Column("a", String, primary_key=True), Column("b", String, primary_key=True))


async def test_upsert_inserts_updates_and_obeys_its_condition(database_url: str) -> None:
    database = open_database(database_url)
    await database.create_tables(metadata)
    await database.create_tables(metadata)
    async with database.transaction() as tx:
        assert await tx.upsert(people, {"userid": "u1", "name": "a", "generation": 1}, ["userid"]) == 1
        assert await tx.upsert(people, {"userid": "u1", "name": "b", "generation": 2}, ["userid"]) == 1
        stale = people.c.generation == 1
        assert await tx.upsert(people, {"userid": "u1", "name": "c"}, ["userid"], where=stale) == 0
        fresh = people.c.generation == 2
        assert await tx.upsert(people, {"userid": "u1", "name": "d"}, ["userid"], where=fresh) == 1
        assert await tx.upsert(keys, {"a": "x", "b": "y"}, ["a", "b"]) == 1
        assert await tx.upsert(keys, {"a": "x", "b": "y"}, ["a", "b"]) == 0
    assert (await database.reader().execute(select(people.c.name, people.c.generation))).all() == [("d", 2)]
    await database.close()


async def test_a_time_comes_back_as_the_same_moment_in_utc(database_url: str) -> None:
    database = open_database(database_url)
    await database.create_tables(metadata)
    moment = datetime(2026, 1, 31, 16, 0, 0, 5, tzinfo=timezone(timedelta(hours=8)))
    async with database.transaction() as tx:
        await tx.execute(people.insert().values(userid="u1", seen_at=moment))
        with pytest.raises(Exception, match="without a zone"):
            await tx.execute(people.insert().values(userid="u2", seen_at=datetime(2026, 1, 1)))
    stored = await database.reader().scalar(select(people.c.seen_at))
    assert stored == moment
    assert stored.tzinfo is UTC
    earlier = people.c.seen_at < moment + timedelta(microseconds=1)
    assert await database.reader().scalar(select(people.c.userid).where(earlier)) == "u1"
    await database.close()


async def test_a_reader_cannot_write_and_that_is_no_outage(database_url: str) -> None:
    database = open_database(database_url)
    await database.create_tables(metadata)
    with pytest.raises(DBAPIError):
        await database.reader().execute(people.insert().values(userid="u1"))
    assert (await database.reader().execute(select(people))).all() == []
    async with database.transaction() as tx:  # the connection that refused is not poisoned
        await tx.execute(people.insert().values(userid="u1"))
    await database.close()


async def test_counting_up_in_parallel_loses_nothing(database_url: str) -> None:
    """SQLite: BEGIN IMMEDIATE, so no reader is refused when it turns writer. PostgreSQL: row locks."""
    database, other = open_database(database_url), open_database(database_url)
    await database.create_tables(metadata)
    async with database.transaction() as tx:
        await tx.execute(people.insert().values(userid="u1", generation=0))

    async def up(tx: Transaction) -> None:
        row = select(people.c.generation).where(people.c.userid == "u1").with_for_update()
        generation = await tx.scalar(row)
        await asyncio.sleep(0)
        await tx.execute(people.update().values(generation=generation + 1))

    async def once(n: int) -> None:
        async with (database, other)[n % 2].transaction() as tx:
            await up(tx)

    await asyncio.gather(*(once(n) for n in range(40)))
    assert await database.reader().scalar(select(people.c.generation)) == 40
    await database.close()
    await other.close()


async def test_what_a_cancelled_transaction_wrote_is_gone(database_url: str) -> None:
    database = open_database(database_url)
    await database.create_tables(metadata)
    wrote = asyncio.Event()

    async def hang() -> None:
        async with database.transaction() as tx:
            await tx.execute(people.insert().values(userid="u1"))
            wrote.set()
            await asyncio.Event().wait()

    task = asyncio.create_task(hang())
    await wrote.wait()
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    async with database.transaction() as tx:
        await tx.execute(people.insert().values(userid="u1"))
    assert len((await database.reader().execute(select(people))).all()) == 1
    await database.close()


async def test_a_failed_statement_that_the_handler_passes_over_is_no_commit(postgres_url: str) -> None:
    """PostgreSQL answers COMMIT with a rollback then, and with no error."""
    database = open_database(postgres_url)
    await database.create_tables(metadata)

    async def careless() -> None:
        async with database.transaction() as tx:
            await tx.execute(people.insert().values(userid="u1"))
            with suppress(DBAPIError):
                await tx.execute(text("SELECT 1/0"))

    with pytest.raises(Retry, match="rolled back"):
        await careless()
    assert (await database.reader().execute(select(people))).all() == []
    async with database.transaction() as tx:  # a savepoint is how to survive one
        with suppress(DBAPIError):
            async with tx.connection.begin_nested():
                await tx.execute(text("SELECT 1/0"))
        await tx.execute(people.insert().values(userid="u1"))
    assert len((await database.reader().execute(select(people))).all()) == 1
    await database.close()


NUMBERS = "WITH RECURSIVE n(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM n WHERE x < 1000000000)"


async def test_a_cancelled_statement_that_the_handler_passes_over_is_no_commit(database_url: str) -> None:
    database = open_database(database_url)
    await database.create_tables(metadata)

    async def impatient() -> None:
        async with database.transaction() as tx:
            await tx.execute(people.insert().values(userid="u1"))
            with suppress(TimeoutError):
                async with asyncio.timeout(0.05):
                    await tx.execute(text(f"{NUMBERS} SELECT count(*) FROM n"))

    with pytest.raises(Retry, match="rolled back"):
        await impatient()
    assert (await database.reader().execute(select(people))).all() == []
    await database.close()


async def test_what_a_handler_left_behind_is_rolled_back_though_it_goes_on(database_url: str) -> None:
    """A handler that does not heed its cancellation loses its transaction, not the database."""
    database = open_database(database_url)
    await database.create_tables(metadata)
    with suppress(RuntimeError):
        async with database.transaction() as tx:
            await tx.execute(people.insert().values(userid="u1"))
            tx.abandon()
            raise RuntimeError
    with pytest.raises(Exception):  # noqa: B017, PT011 - its connection is gone
        await tx.execute(people.insert().values(userid="u2"))
    async with database.transaction() as tx:
        await tx.execute(people.insert().values(userid="u3"))
    assert (await database.reader().execute(select(people.c.userid))).all() == [("u3",)]
    await database.close()


async def test_a_deadlock_means_again(postgres_url: str) -> None:
    database = open_database(postgres_url)
    await database.create_tables(metadata)
    async with database.transaction() as tx:
        await tx.execute(people.insert(), [{"userid": u, "generation": 0} for u in ("u1", "u2")])
    both = asyncio.Barrier(2)

    async def cross(first: str, second: str) -> None:
        async with database.transaction() as tx:
            await tx.execute(people.update().where(people.c.userid == first).values(generation=1))
            await both.wait()
            await tx.execute(people.update().where(people.c.userid == second).values(generation=1))

    results = await asyncio.gather(cross("u1", "u2"), cross("u2", "u1"), return_exceptions=True)
    assert sorted(type(r).__name__ for r in results) == ["NoneType", "TransactionRace"]
    assert any(isinstance(r, Conflict) for r in results)
    await database.close()


async def test_a_server_that_is_not_there_or_refuses_is_down(postgres_url: str) -> None:
    nobody = open_database(f"postgresql://u:p@127.0.0.1:{free_port()}/x")
    with pytest.raises(DatabaseDown):
        await nobody.reader().scalar(text("SELECT 1"))
    assert not await nobody.answers(5)
    missing = open_database(postgres_url + "_missing")
    with pytest.raises(DatabaseDown) as caught:
        async with missing.transaction():
            pass
    assert postgres_url not in str(caught.value)
    for database in (nobody, missing):
        await database.close()


async def test_sslmode_is_obeyed(postgres_url: str) -> None:
    """The server of the tests speaks no TLS."""
    for mode in ("disable", "prefer"):
        database = open_database(f"{postgres_url}?sslmode={mode}")
        async with database.transaction() as tx:
            assert await tx.scalar(text("SELECT 1")) == 1
        assert await database.reader().scalar(text("SELECT 1")) == 1
        await database.close()
    database = open_database(f"{postgres_url}?sslmode=require")
    with pytest.raises(DatabaseDown):
        async with database.transaction():
            pass
    await database.close()


async def test_a_connection_that_is_cut_is_down_and_the_next_one_works(postgres_url: str) -> None:
    database, killer = open_database(postgres_url), open_database(postgres_url)
    await database.create_tables(metadata)

    async def cut() -> None:
        async with database.transaction() as tx:
            pid = await tx.scalar(text("SELECT pg_backend_pid()"))
            async with killer.transaction() as other:
                await other.execute(text("SELECT pg_terminate_backend(:pid, 5000)"), {"pid": pid})
            await tx.execute(people.insert().values(userid="u1"))

    with pytest.raises(DatabaseDown):
        await cut()
    async with database.transaction() as tx:
        await tx.execute(people.insert().values(userid="u1"))
    await database.close()
    await killer.close()


class Looking(Recording):
    handler_timeout_s = 0.1

    async def prepare(self, event: Event, ctx: Context) -> None:
        return None


@pytest.mark.parametrize("where", ["look", "enter", "give up"])
async def test_a_connection_that_the_network_has_lost_is_down_and_closing_ends(
    where: str, postgres_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    url, consumer, sent = make_url(postgres_url), Looking(), record()
    consumer.settings = ConsumerSettings.load(kafka_bootstrap_servers="localhost:1")
    arrived = kafka_record("t", 0, 0, key=sent.key, value=sent.value)
    enter = inbox.enter
    network = RoundRobin([url.port or 5432], url.host or "127.0.0.1")
    async with asyncio.timeout(90), network:

        async def enter_silence(*args: Any) -> bool:
            network.silent = True
            monkeypatch.setattr(database_module, "ANSWER_TIMEOUT_S", 0.5)  # of the rollback
            return await enter(*args)

        reached = url.set(host="127.0.0.1", port=network.port).render_as_string(hide_password=False)
        database = open_database(reached)
        await database.create_tables(inbox.metadata, Looking.metadata)
        async with database.transaction() as one, database.transaction() as other:
            for tx in (one, other):
                await tx.execute(select(inbox.inbox))
        await database.reader().execute(select(inbox.inbox))
        for module in (executor_module, dead_letters_module):
            monkeypatch.setattr(module, "ANSWER_TIMEOUT_S", 0.1 if where == "look" else 2.0)
        monkeypatch.setattr(database_module, "CLOSE_TIMEOUT_S", 0.1)
        if where != "look":
            monkeypatch.setattr(inbox, "enter", enter_silence)
        network.silent = where == "look"
        if where == "give up":
            dead_letters = DeadLetters(consumer, database, Letters())
            with pytest.raises(DatabaseDown):
                await dead_letters.give_up(arrived, None, Delivery.of(arrived), Failure("ValueError", 1))
        else:
            outcome = await Executor(consumer, database).attempt(decode(sent.value))
            assert (outcome.kind, type(outcome.error)) == ("unavailable", DatabaseDown)
        assert network.silent
        await database.close()


async def test_one_lost_connection_that_is_noticed_is_enough_for_all_that_were_lost_with_it(
    postgres_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """They wait in the pools, and each would cost another time-out: with sixteen of them ten minutes."""
    url = make_url(postgres_url)
    async with BadNetwork(random.Random(1), url.port or 5432) as network:
        reached = url.set(host="127.0.0.1", port=network.port).render_as_string(hide_password=False)
        database = open_database(reached)
        await database.create_tables(metadata)

        async def write(userid: str) -> None:
            async with database.transaction() as tx, answered(1.0):
                await tx.execute(people.insert().values(userid=userid))

        async def read() -> list[str]:
            found = await database.reader(within_s=1.0).execute(select(people.c.userid))
            return sorted(row.userid for row in found)

        await asyncio.gather(*(write(f"u{n}") for n in range(2)), *(read() for _ in range(2)))
        monkeypatch.setattr(
            database_module, "ANSWER_TIMEOUT_S", 5.0
        )  # the pool tries 2 s to close a lost one
        while network.strike("vanish"):
            pass
        assert network.faults["vanish"] >= 4
        with pytest.raises(DatabaseDown):
            await write("lost")
        await write("u2")
        assert await read() == ["u0", "u1", "u2"]
        await database.close()


@pytest.mark.parametrize("impatient", ["a probe", "a cancelled read"])
async def test_a_database_that_is_slow_for_one_keeps_the_connections_of_all(
    impatient: str, postgres_url: str
) -> None:
    """To open others would make a busy server busier: sixteen times TLS and SCRAM for each probe."""
    database, blocker = open_database(postgres_url), open_database(postgres_url)
    await database.create_tables(metadata)

    async def pids() -> set[int]:
        async with database.transaction() as one, database.transaction() as other:
            return {await tx.scalar(text("SELECT pg_backend_pid()")) for tx in (one, other)}

    before = await pids()
    if impatient == "a probe":
        assert not await database.answers(0)
    else:
        async with blocker.transaction() as tx:
            await tx.execute(text("LOCK TABLE people IN ACCESS EXCLUSIVE MODE"))
            reading = asyncio.create_task(database.reader().execute(select(people)))
            waits = text("SELECT count(*) FROM pg_locks WHERE NOT granted AND relation = 'people'::regclass")
            await eventually(lambda: tx.scalar(waits))
            reading.cancel()
            await asyncio.wait([reading])
    assert await pids() == before
    await database.close()
    await blocker.close()
