"""A consumer in a repository of its own: its members as processes, a load, a PostgreSQL that goes back."""

import asyncio
import os
import shutil
import signal
import subprocess
from collections import defaultdict
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path

from aiokafka import AIOKafkaConsumer, TopicPartition
from sqlalchemy import Column, Integer, MetaData, Table, Text, select

from dev.servers.postgres_wheel import WheelPostgres
from dingbridge import open_database
from dingbridge.kafka.admin import admin_client
from dingbridge.kafka.client import connection, producer
from dingbridge.kafka.topic_policy import dlq_topic, event_topic
from dingbridge.kafka.topics import ensure_topics
from dingbridge.settings import KafkaSettings
from tests.integration.worker_support import committed, given_id, installed
from tests.support.kafka_reader import read_topic
from tests.support.processes import Process, Processes
from tests.support.waiting import eventually
from tests.unit.worker.support import record

EVENT_TYPE = "user_add_org"
CONSUMER = """
import os
from typing import Any

from sqlalchemy import Column, Integer, MetaData, Table, Text

from dingbridge import Consumer, Context, Event, Restored, Transaction, on

tables = MetaData()
joined = Table(
    "joined",
    tables,
    Column("n", Integer, primary_key=True, autoincrement=True),
    Column("event_id", Text, nullable=False),
    Column("subject", Text, nullable=False),
)
told = Table("told", tables, Column("n", Integer, primary_key=True), Column("lost", Integer))


class Joined(Consumer):
    name = os.environ["TEST_CONSUMER"]
    topics = ("user_add_org",)
    metadata = tables

    def fetches(self, event: Event) -> Any:
        return ("user", event.subject)

    async def prepare(self, event: Event, ctx: Context) -> int:
        if any(":deadly" in one.id for one in ctx.together):
            os._exit(137)
        return len(ctx.together)

    @on("user_add_org")
    async def joins(self, event: Event, tx: Transaction, prepared: int) -> None:
        assert prepared == len(tx.ctx.together)
        for one in tx.ctx.together:
            await tx.execute(joined.insert().values(event_id=one.id, subject=one.subject))

    async def restored(self, restored: Restored, tx: Transaction) -> None:
        await tx.execute(told.insert().values(lost=int(restored.lost)))
"""
_tables = MetaData()
joined = Table("joined", _tables, Column("n", Integer), Column("event_id", Text), Column("subject", Text))
told = Table("told", _tables, Column("n", Integer), Column("lost", Integer))


class Load:
    """Publishes events one after the other, of ``keys`` users, until it is told to stop."""

    keys = 40

    def __init__(self, settings: KafkaSettings) -> None:
        self._settings = settings
        self.sent = 0

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        task = asyncio.create_task(self.publish(1_000_000))
        try:
            yield
        finally:
            task.cancel()
            await asyncio.wait((task,))

    async def publish(self, count: int, event_id: str = "e") -> None:
        topic = event_topic(self._settings, EVENT_TYPE)
        await ensure_topics(self._settings, {topic})
        sender = producer(self._settings)
        await sender.start()
        try:
            for _ in range(count):
                made = record(f"{event_id}{self.sent}", f"u{self.sent % self.keys}", EVENT_TYPE)
                self.sent += 1  # even if this is cancelled: the producer sends what it has
                await sender.send(topic, key=made.key, value=made.value, headers=list(made.headers))
                if self.sent % 5 == 0:
                    await asyncio.sleep(0.02)
        finally:
            await sender.stop()


class Outside:
    """The members of the consumer's group, as processes of its own repository, and what they have done."""

    def __init__(
        self, folder: Path, env: dict[str, str], settings: KafkaSettings, url: str, processes: Processes
    ) -> None:
        self.group = f"t-{settings.topic_prefix.strip('.')}"
        self.settings, self.url = settings, url
        self._processes = processes
        self.env = {**env, **installed(folder, self.group, "theirs_joined:Joined"), "DATABASE_URL": url}
        (folder / "site" / "theirs_joined.py").write_text(CONSUMER)
        self.load = Load(settings)

    def start(self, **env: str) -> Process:
        """One more member."""
        return self._processes.start("consume", self.group, env={**self.env, **env})

    async def kill(self, member: Process) -> None:
        member.kill()
        assert await asyncio.to_thread(member.wait, 60) == -signal.SIGKILL

    async def stop(self, *members: Process) -> None:
        for member in members:
            member.terminate()
        for member in members:
            assert await asyncio.to_thread(member.wait, 90) == 0

    async def effects(self, url: str = "") -> list[tuple[str, str]]:
        """``(event id as given, subject)`` in the order of writing; none while the database is away."""
        database = open_database(url or self.url)
        try:
            rows = await database.reader(10).execute(
                select(joined.c.event_id, joined.c.subject).order_by(joined.c.n)
            )
            return [(given_id(row.event_id), row.subject) for row in rows]
        except Exception:
            return []
        finally:
            await database.close()

    async def has_effects(self, count: int, url: str = "") -> bool:
        return len(await self.effects(url)) >= count

    async def does_what_was_sent(self) -> None:
        """Wait until there are as many effects as events were sent before."""
        sent = self.load.sent
        await eventually(lambda: self.has_effects(sent), 180)

    async def times_told(self, url: str = "") -> int:
        """How often ``Consumer.restored`` was called, as far as the database knows."""
        database = open_database(url or self.url)
        try:
            return len(list(await database.reader().execute(select(told.c.n))))
        finally:
            await database.close()

    async def has_caught_up(self) -> bool:
        return await self.has_come_to(self.load.sent, self.load.sent)

    async def has_come_to(self, effects: int, offsets: int) -> bool:
        """Whether there are as many effects, and all offsets together are as high."""
        return sum((await committed(self.settings, self.group)).values()) == offsets and (
            await self.has_effects(effects)
        )

    async def assert_all_once(self) -> None:
        """Wait until nothing lags; each event has its effect once then, in the order of its key."""
        await eventually(self.has_caught_up, 180)
        of_key: dict[str, list[int]] = defaultdict(list)
        for event_id, subject in await self.effects():
            of_key[subject].append(int(event_id[1:]))
        keys = Load.keys
        assert dict(of_key) == {
            f"u{key}": list(range(key, self.load.sent, keys)) for key in range(min(keys, self.load.sent))
        }
        assert await read_topic(self.settings, dlq_topic(self.settings, self.group)) == []


async def reset_offsets(settings: KafkaSettings, group: str, topic: str, *, to_latest: bool) -> None:
    """What ``kafka-consumer-groups --reset-offsets`` does to a group without members."""
    consumer = AIOKafkaConsumer(**connection(settings), group_id=group, enable_auto_commit=False)
    await consumer.start()
    try:
        async with admin_client(settings, 10) as admin:
            [described] = await admin.describe_topics([topic])
        partitions = [TopicPartition(topic, one["partition"]) for one in described["partitions"]]
        consumer.assign(partitions)
        offsets = await (consumer.end_offsets if to_latest else consumer.beginning_offsets)(partitions)
        await consumer.commit(offsets)
    finally:
        await consumer.stop()


def copy_data(postgres: WheelPostgres, copy: Path) -> None:
    """Copy the files of a stopped server, with their owners."""
    subprocess.run(["cp", "-a", postgres.data, copy], check=True)


def put_back(postgres: WheelPostgres, copy: Path) -> None:
    """The same in the other direction."""
    shutil.rmtree(postgres.data)
    subprocess.run(["cp", "-a", copy, postgres.data], check=True)


@contextmanager
def frozen(postgres: WheelPostgres) -> Iterator[None]:
    """No process of the server runs meanwhile."""
    stopped: list[int] = []
    try:
        for pid in (postgres.pid, *_children(postgres.pid)):
            os.kill(pid, signal.SIGSTOP)
            stopped.append(pid)
        yield
    finally:
        for pid in reversed(stopped):
            os.kill(pid, signal.SIGCONT)


def _children(pid: int) -> list[int]:
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
