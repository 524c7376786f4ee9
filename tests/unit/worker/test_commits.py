"""Offsets are kept twice: Kafka and the database together decide where a partition is read."""

import asyncio
import sqlite3
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager, closing
from pathlib import Path
from typing import Any

import pytest
from aiokafka import TopicPartition
from aiokafka.errors import KafkaConnectionError
from aiokafka.structs import OffsetAndMetadata
from prometheus_client import CollectorRegistry
from sqlalchemy import select
from structlog.testing import capture_logs

import dingbridge.worker.membership.commits as commits_module
from dingbridge import (
    Consumer,
    DependencyUnavailable,
    Event,
    Position,
    Restored,
    Transaction,
    open_database,
    retry,
)
from dingbridge.settings import ConsumerSettings
from dingbridge.worker.attempts.executor import Executor
from dingbridge.worker.membership.commits import LEAST_AHEAD, Begin, Commits, begin_at
from dingbridge.worker.membership.worker import WorkerOptions
from dingbridge.worker.metrics import WorkerMetrics
from dingbridge.worker.queues.note import NO_NOTE, Attempts, Note, read_note
from dingbridge.worker.scheduling.scheduler import MOST_DEATHS
from dingbridge.worker.service import ConsumerService
from dingbridge.worker.store import offsets as offsets_table
from dingbridge.worker.store.database import POOL_SIZE, Database
from dingbridge.worker.store.errors import DatabaseDown
from dingbridge.worker.store.migrations import WorkerTables, migrate
from dingbridge.worker.store.offsets import Kept, MovedByAnother, offsets, put, register
from tests.lives.broker import MemoryBroker, MemoryConsumer
from tests.lives.process import kafka_in_memory
from tests.unit.worker.harness import Scripted, running, until
from tests.unit.worker.support import Recording, effects, record

P = TopicPartition("t", 0)
AT_90 = OffsetAndMetadata(90, "")
OURS = Note("this", 7)


@pytest.mark.parametrize(
    ("committed", "note", "row", "begin"),
    [
        pytest.param(None, None, None, Begin(None, 0), id="a new group"),
        pytest.param(None, None, Kept(50, 3), Begin(None, 3), id="a group that was deleted"),
        pytest.param(AT_90, None, Kept(50, 3), Begin(90, 3), id="an operator reset the offset"),
        pytest.param(AT_90, NO_NOTE, None, Begin(90, 0), id="nothing was noted"),
        pytest.param(
            AT_90, Note("other", 9), Kept(50, 3), Begin(90, 3, other_database=True), id="another file"
        ),
        pytest.param(AT_90, OURS, Kept(90, 7), Begin(90, 7), id="as it was left"),
        pytest.param(AT_90, OURS, Kept(95, 8), Begin(90, 8), id="died before Kafka's commit"),
        pytest.param(AT_90, OURS, Kept(40, 6), Begin(40, 7, went_back=True), id="the database went back"),
        pytest.param(AT_90, OURS, None, Begin(None, 7, went_back=True), id="to before the first commit"),
        pytest.param(AT_90, OURS, Kept(40, 8), Begin(40, 8), id="died between, after that was noticed"),
    ],
)
def test_where_a_partition_is_read(
    committed: OffsetAndMetadata | None, note: Note | None, row: Kept | None, begin: Begin
) -> None:
    assert begin_at(committed, note, row, "this") == begin


class Remembering(Recording):
    """Keeps what it is told of a database that went back, and where that was."""

    def __init__(self) -> None:
        self.told: list[Restored] = []

    async def restored(self, restored: Restored, tx: Transaction) -> None:
        self.told.append(restored)


class World:
    """A broker in memory with the events of one topic, and a SQLite file that a consumer works with."""

    def __init__(self, folder: Path) -> None:
        self.broker, self.file, self.sent = MemoryBroker(), folder / "t.db", 0
        self.settings = ConsumerSettings.load(data_dir=folder, database_url=f"sqlite:///{self.file}")
        self.topic = "dingtalk.user_modify_org"

    def publish(self, count: int) -> None:
        for _ in range(count):
            made = record(f"e{self.sent}", f"u{self.sent % 5}")
            self.broker.append(self.topic, made.key, made.value, made.headers)
            self.sent += 1

    def put_back(self, copy: bytes) -> None:
        self.remove()
        self.file.write_bytes(copy)

    def remove(self) -> None:
        for file in self.file.parent.glob("t.db*"):
            file.unlink()

    @property
    def note(self) -> Note | None:
        kept = self.broker.committed["recording", TopicPartition(self.topic, 0)]
        return read_note(kept.offset, kept.metadata)

    @asynccontextmanager
    async def serving(
        self, consumer: Consumer, options: WorkerOptions | None = None
    ) -> AsyncIterator[ConsumerService]:
        service = ConsumerService(consumer, self.settings, options)
        task = asyncio.create_task(service.run())
        try:
            yield service
        finally:
            service.stop()
            await task

    async def handled(self, service: ConsumerService) -> None:
        await until(lambda: self.broker.position("recording", self.topic) == self.sent)

    async def effects(self) -> list[str]:
        database = open_database(f"sqlite:///{self.file}")
        try:
            rows = await database.reader().execute(select(effects.c.event_id))
            return sorted(row.event_id.split("/")[0].rpartition(":e")[2] for row in rows)
        finally:
            await database.close()


@pytest.fixture
def world(tmp_path: Path) -> Any:
    made = World(tmp_path)
    with kafka_in_memory(made.broker):
        yield made


async def test_a_file_that_was_put_back_is_filled_up_again_and_the_consumer_is_told(world: World) -> None:
    world.publish(10)
    async with world.serving(Remembering()) as service:
        await world.handled(service)
    copy = world.file.read_bytes()
    world.publish(10)
    async with world.serving(Remembering()) as service:
        await world.handled(service)
    world.put_back(copy)
    assert len(await world.effects()) == 10
    world.publish(1)
    consumer = Remembering()
    async with world.serving(consumer) as service:
        await until(lambda: world.broker.position("recording", world.topic) == 21)
    assert len(await world.effects()) == 21
    told = consumer.told[0]
    assert not told.lost
    assert told.at_ms
    assert told.may_be_known(Position(world.topic, 0, 20))
    assert not told.may_be_known(Position(world.topic, 0, 21))
    again = Remembering()
    async with world.serving(again) as service:
        world.publish(1)
        await world.handled(service)
    assert again.told == []


async def test_what_is_put_back_under_a_member_that_runs_is_filled_up_by_it(world: World) -> None:
    world.publish(10)
    consumer = Remembering()
    async with world.serving(consumer) as service:
        await world.handled(service)
        with closing(sqlite3.connect(world.file)) as file, closing(sqlite3.connect(":memory:")) as copy:
            file.backup(copy)
            world.publish(10)
            await world.handled(service)
            copy.backup(file)
        assert len(await world.effects()) == 10
        assert service.database is not None
        await service.database._writer.dispose()  # as after a failover: the next connection is a new one
        world.publish(1)
        await until(lambda: consumer.told != [])
        await world.handled(service)
    assert len(await world.effects()) == 21


async def test_a_new_empty_database_begins_where_kafka_is(world: World) -> None:
    world.publish(5)
    async with world.serving(Remembering()) as service:
        await world.handled(service)
    world.remove()
    consumer = Remembering()
    async with world.serving(consumer) as service:
        world.publish(2)
        await world.handled(service)
    assert (len(await world.effects()), consumer.told) == (2, [])


class Counting(Consumer):
    """Without a database: counts how often it is called for each event."""

    name = "recording"
    topics = ("user_modify_org",)
    uses_database = False

    def __init__(self) -> None:
        self.calls: Counter[str] = Counter()

    async def handle(self, event: Event, tx: Transaction, prepared: Any) -> None:
        self.calls[event.id] += 1


async def test_without_a_database_a_member_goes_on_where_the_one_before_stopped(world: World) -> None:
    consumer = Counting()
    for _ in range(3):
        world.publish(4)
        async with world.serving(consumer) as service:
            await world.handled(service)
    assert (len(consumer.calls), set(consumer.calls.values())) == (12, {1})


async def test_who_finds_that_the_database_went_back_may_die_before_kafka_has_the_lower_offset(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    world.publish(10)
    async with world.serving(Remembering()) as service:
        await world.handled(service)
    copy = world.file.read_bytes()
    world.publish(10)
    async with world.serving(Remembering()) as service:
        await world.handled(service)
    world.put_back(copy)
    fails, commit = [KafkaConnectionError()] * 2, MemoryConsumer.commit

    async def fail_at_first(*given: Any) -> None:
        if fails:
            raise fails.pop()
        await commit(*given)

    monkeypatch.setattr(MemoryConsumer, "commit", fail_at_first)
    monkeypatch.setattr(retry, "UNAVAILABLE_FIRST_S", 0.001)
    world.publish(1)
    async with world.serving(Remembering()) as service:
        await world.handled(service)
    assert (fails, len(await world.effects())) == ([], 21)


async def test_a_database_that_went_back_under_a_running_member_costs_one_new_membership(
    world: World,
) -> None:
    world.publish(3)
    with capture_logs() as logs:
        async with world.serving(Remembering()) as service:
            await world.handled(service)
            service.worker._commits.notice()
            await until(lambda: "consumer.begins_anew" in [entry["event"] for entry in logs])
            world.publish(3)
            await world.handled(service)
    assert [entry["event"] for entry in logs].count("consumer.begins_anew") == 1


class Joins:
    """Counts memberships, and locks the database."""

    def __init__(self, world: World, monkeypatch: pytest.MonkeyPatch) -> None:
        self.count, self._file, start = 0, world.file, MemoryConsumer.start

        async def counted(kafka: MemoryConsumer) -> None:
            self.count += 1
            await start(kafka)

        monkeypatch.setattr(MemoryConsumer, "start", counted)
        monkeypatch.setattr("dingbridge.worker.store.database.BUSY_TIMEOUT_MS", 1)
        monkeypatch.setattr(retry, "UNAVAILABLE_FIRST_S", 0.1)
        monkeypatch.setattr(retry, "JITTER", 0)

    @asynccontextmanager
    async def database_down(self) -> AsyncIterator[list[float]]:
        """The waits for it, in s; its end comes after the third."""
        waits: list[float] = []
        with capture_logs() as logs, closing(sqlite3.connect(self._file, isolation_level=None)) as other:
            other.execute("BEGIN IMMEDIATE")
            yield waits

            def waited() -> bool:
                waits[:] = [entry["retry_in_s"] for entry in logs if entry["event"] == "consumer.waiting"]
                return len(waits) >= 3

            await until(waited)


async def test_a_database_that_is_down_as_the_group_settles_is_waited_for_within_the_membership(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A new membership for each try would make all members settle anew."""
    joins = Joins(world, monkeypatch)
    world.publish(3)
    async with world.serving(Remembering()) as service:
        await world.handled(service)
        worker, place = service.worker, TopicPartition(world.topic, 0)
        async with joins.database_down() as waits:
            await worker.on_partitions_revoked({place})
            await worker.on_partitions_assigned({place})
        assert waits[:3] == [0.1, 0.2, 0.4]
        ready, details = worker.state()
        assert (ready, details["kafka"]) == (False, "joined")
        assert details["unavailable"] == {"database": "the database does not work (OperationalError)"}
        world.publish(3)
        await world.handled(service)
        await until(lambda: worker.state()[0])
    assert (joins.count, len(await world.effects())) == (1, 6)


async def test_a_database_that_is_down_when_records_go_beyond_the_note_is_waited_for_likewise(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(commits_module, "LEAST_AHEAD", 5)
    joins = Joins(world, monkeypatch)
    world.publish(3)
    async with world.serving(Remembering()) as service:
        await world.handled(service)
        async with joins.database_down() as waits:
            world.publish(30)
        assert waits[:3] == [0.1, 0.2, 0.4]
        down = {"dingbridge_consumer_unavailable_dependencies", "dingbridge_consumer_paused_seconds"}
        service.worker._report()
        shown = {name for name in down if service.registry.get_sample_value(name, {"consumer": "recording"})}
        assert shown == down
        await world.handled(service)
    assert (joins.count, len(await world.effects())) == (1, 33)


async def test_one_that_went_back_and_is_down_then_costs_no_more_than_that_new_membership(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    joins = Joins(world, monkeypatch)
    world.publish(3)
    async with world.serving(Remembering(), WorkerOptions(commit_interval_s=0.01)) as service:
        await world.handled(service)
        async with joins.database_down():
            service.worker._commits.notice()
        world.publish(3)
        await world.handled(service)
    assert (joins.count, len(await world.effects())) == (2, 6)


async def test_a_clean_end_leaves_no_note_that_a_member_runs(world: World) -> None:
    world.publish(3)
    async with world.serving(Remembering()) as service:
        await world.handled(service)
        await until(lambda: world.note is not None and world.note.running_to is not None)
        assert world.note is not None
        assert world.note.running_to == pytest.approx(LEAST_AHEAD, abs=3)
    assert world.note is not None
    assert (world.note.running_to, world.note.suspect_to) == (None, None)


# -- While members run: rows move only for who left them so


@pytest.fixture
async def database(database_url: str) -> AsyncIterator[Database]:
    opened = open_database(database_url)
    await migrate(opened, WorkerTables)
    yield opened
    await opened.close()


class Kafka:
    """Takes commits."""

    def __init__(self) -> None:
        self.commits: list[dict[TopicPartition, Any]] = []

    async def commit(self, commits: dict[TopicPartition, Any]) -> None:
        self.commits.append(commits)


async def member(database: Database) -> tuple[Commits, Any]:
    consumer = Recording()
    executor = Executor(consumer, database)
    settings = ConsumerSettings.load(kafka_bootstrap_servers="localhost:1")
    commits = Commits(consumer, settings, executor, WorkerMetrics("recording", CollectorRegistry()))
    await commits.begin_on(database, (await register(database, "recording")).id)
    return commits, executor


async def test_a_member_that_was_frozen_cannot_move_what_another_has_taken(database: Database) -> None:
    frozen, kafka = (await member(database))[0], Kafka()
    async with database.transaction() as tx:
        await tx.execute(
            offsets.insert().values(
                consumer="recording", topic="t", partition=0, offset=5, version=3, at_ms=0
            )
        )
    frozen._begin(P, 5, 2, NO_NOTE, used=True)  # another one has written the third version since
    with pytest.raises(MovedByAnother):
        await frozen.commit(kafka, [P])  # type: ignore[arg-type]
    assert kafka.commits == []


@pytest.mark.parametrize("lost", ["the last row of offsets", "the last effects alone"])
async def test_a_standby_that_lacks_the_last_transactions_is_noticed_before_anything_is_written(
    lost: str, database: Database
) -> None:
    commits, executor = await member(database)
    async with database.transaction() as tx:
        values = {
            "consumer": "recording",
            "topic": "t",
            "partition": 0,
            "offset": 5,
            "version": 3,
            "at_ms": 0,
        }
        await tx.execute(offsets.insert().values(values))
    commits._begin(P, 5, 4 if "row" in lost else 3, NO_NOTE, used=True)
    if "row" not in lost:
        executor._transactions.applied_lately.append(b"\1" * 16)
    await database._writer.dispose()  # as after a failover: the next connection is a new one
    with pytest.raises(DatabaseDown, match="went back in time"):
        async with database.transaction():
            raise AssertionError("nothing may be written")
    assert commits.went_back.is_set()
    with pytest.raises(MovedByAnother):
        await commits.commit(Kafka(), [P])  # type: ignore[arg-type]


async def test_what_a_committed_row_covers_is_not_missed_when_it_is_pruned(database: Database) -> None:
    commits, executor = await member(database)
    async with database.transaction() as tx:
        await offsets_table.put(tx, "recording", {P: Kept(5, 3)})
    commits._begin(P, 6, 3, NO_NOTE, used=True)
    executor._transactions.applied_lately.append(b"\1" * 16)
    await commits.commit(Kafka(), [P])  # type: ignore[arg-type]
    await database._writer.dispose()
    async with database.transaction():
        assert not commits.went_back.is_set()


async def test_nothing_else_writes_while_the_consumer_is_told_that_the_database_went_back(
    postgres_url: str,
) -> None:
    database = open_database(postgres_url)
    await migrate(database, WorkerTables)
    commits, _ = await member(database)
    commits.notice()
    await database._writer.dispose()
    async with commits._before_others(), database.transaction():
        with pytest.raises(DatabaseDown, match="went back in time"):
            await asyncio.create_task(use(database))
    await database.close()


async def use(database: Database) -> None:
    async with database.transaction():
        raise AssertionError("nothing may be written")


async def test_a_postgres_that_went_back_is_noticed_by_a_member_with_nothing_to_commit(
    postgres_url: str,
) -> None:
    database = open_database(postgres_url)
    await migrate(database, WorkerTables)
    commits, _ = await member(database)
    commits._begin(P, 5, 4, NO_NOTE, used=False)
    await database._writer.dispose()
    with pytest.raises(DatabaseDown, match="went back in time"):
        await commits.commit(Kafka(), [P])  # type: ignore[arg-type]
    assert commits.went_back.is_set()
    await database.close()


async def test_a_database_that_does_not_answer_a_commit_is_not_taken_for_kafka(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(commits_module, "COMMIT_TIMEOUT_S", 0.05)
    commits, _ = await member(database)
    async with AsyncExitStack() as stack:
        for _ in range(1 if database.dialect == "sqlite" else POOL_SIZE):  # all connections are in use
            await stack.enter_async_context(database.transaction())
        commits._begin(P, 5, 4, NO_NOTE, used=True)
        with pytest.raises(DatabaseDown):
            await commits.commit(Kafka(), [P])  # type: ignore[arg-type]


async def test_members_that_write_the_same_rows_do_not_wait_for_each_other_in_a_circle(
    postgres_url: str,
) -> None:
    database = open_database(postgres_url)
    await migrate(database, WorkerTables)
    partitions = [TopicPartition("t", number) for number in range(40)]
    meet = asyncio.Barrier(2)

    async def write(order: list[TopicPartition]) -> None:
        for _ in range(5):
            await meet.wait()
            async with database.transaction() as tx:
                await put(tx, "recording", {partition: Kept(1, 1) for partition in order})

    await asyncio.gather(write(partitions), write(partitions[::-1]))
    await database.close()


# -- A record that ends its process


async def test_of_what_may_have_ended_a_process_one_after_the_other_runs_alone() -> None:
    consumer = Scripted()
    noted: list[TopicPartition] = []
    consumer.hold["e1"] = asyncio.Event()
    async with running(consumer) as harness:

        async def note(partition: TopicPartition) -> None:
            noted.append(partition)

        harness.scheduler.before_careful = note
        harness.tracker.careful_to[P] = 3
        harness.add(P, *((f"e{n}", f"u{n}") for n in range(6)))
        await until(lambda: "e1" in consumer.began)
        assert consumer.seen == ["e0", "e1"]
        assert dict(harness.tracker.failed(P)) == {1: Attempts(0, 0, 0, 1)}
        consumer.hold["e1"].set()
        await harness.idle()
        assert consumer.seen[:3] == ["e0", "e1", "e2"]
        assert (sorted(consumer.seen), len(noted)) == ([f"e{n}" for n in range(6)], 3)


async def test_behind_what_ran_alone_all_keys_go_on_at_once() -> None:
    consumer = Scripted()
    consumer.hold = {f"e{n}": asyncio.Event() for n in range(6)}
    async with running(consumer) as harness:
        harness.tracker.careful_to[P] = 1
        harness.add(P, *((f"e{n}", f"u{n}") for n in range(6)))
        await until(lambda: "e0" in consumer.began)
        consumer.hold["e0"].set()
        async with asyncio.timeout(5):
            await until(lambda: len(consumer.began) == 6)
        for hold in consumer.hold.values():
            hold.set()
        await harness.idle()


async def test_an_attempt_that_could_not_be_noted_is_not_made_and_the_next_one_is_noted() -> None:
    consumer, fails = Scripted(), [DependencyUnavailable("Kafka is down")]
    consumer.hold["e0"] = asyncio.Event()
    async with running(consumer) as harness:

        async def note(partition: TopicPartition) -> None:
            if fails:
                raise fails.pop()

        harness.scheduler.before_careful = note
        harness.tracker.careful_to[P] = 1
        harness.tracker.recall(P, {0: Attempts(0, 0, 0, MOST_DEATHS - 1)})
        harness.add(P, ("e0", "u0"))
        await until(lambda: "e0" in consumer.began)
        ((_, noted),) = harness.tracker.failed(P)
        assert (fails, noted.deaths) == ([], MOST_DEATHS)
        consumer.hold["e0"].set()
        await harness.idle()


async def test_after_three_deaths_the_record_is_a_dead_letter_and_all_others_are_handled() -> None:
    consumer = Scripted()
    async with running(consumer) as harness:
        harness.tracker.careful_to[P] = 3
        harness.tracker.recall(P, {1: Attempts(0, 0, 0, MOST_DEATHS)})
        harness.add(P, *((f"e{n}", f"u{n}") for n in range(4)))
        await harness.idle()
        assert sorted(consumer.seen) == ["e0", "e2", "e3"]
        ((letter, _, attempts),) = harness.letters.sent
        assert (letter.offset, attempts) == (1, MOST_DEATHS)


@pytest.mark.parametrize(
    ("note", "careful", "suspect"),
    [
        (NO_NOTE, None, None),
        (Note(running_to=30), None, 30),  # one end without a handover may have any reason
        (Note(running_to=30, suspect_to=25), 25, 25),  # a second one, before all of the first was finished
        (Note(running_to=30, suspect_to=8), None, 30),
        (Note(suspect_to=25), None, 25),
    ],
)
async def test_who_takes_a_partition_is_careful_after_the_second_death_in_a_row(
    note: Note, careful: int | None, suspect: int | None, database: Database
) -> None:
    commits, _ = await member(database)
    commits._begin(P, 10, 1, note, used=True)
    assert commits._tracker.careful_to.get(P) == careful
    assert commits._places[P].suspect_to == suspect
