"""One measured loop over the records of a topic, in a process of its own.

``python -m dev.benchmarks.worker_process KIND COUNT`` prints one JSON object: ``seconds`` from the first
record to the ``COUNT``-th (of CPU with ``worker-cpu``), ``peak_mb`` of resident memory as seen every 50 ms,
and ``waits_s``: what the handlers of ``parallel`` waited, one after the other.
"""

import asyncio
import json
import random
import sqlite3
import sys
import time
import uuid
from collections.abc import Awaitable, Callable
from typing import Any

import asyncpg
import orjson
import psutil
import uvloop
from aiokafka import AIOKafkaConsumer
from sqlalchemy import Column, MetaData, Table, Text, text

from dingbridge import Consumer, Context, Event, Transaction
from dingbridge.kafka.client import connection
from dingbridge.kafka.topic_policy import event_topic
from dingbridge.logging import configure_logging
from dingbridge.settings import ConsumerSettings
from dingbridge.worker.service import ConsumerService
from dingbridge.worker.store.database import POOL_SIZE
from dingbridge.worker.store.inbox import hash_of

upserts = Table(
    "bench_upserts", MetaData(), Column("subject", Text, primary_key=True), Column("event_id", Text)
)
UPSERT = (
    "INSERT INTO bench_upserts (subject, event_id) VALUES (:subject, :event_id) "
    "ON CONFLICT (subject) DO UPDATE SET event_id = excluded.event_id"
)
EVENT_TYPE = "bpms_instance_change"
POISON = "poison"


_dice = random.Random(1)  # noqa: S311 - nothing here is a secret


class Counting(Consumer):
    """Does nothing with each event, and says when ``count`` of them were done; of ``POISON`` none ever is."""

    topics = (EVENT_TYPE,)
    retry_first_s = 0.05
    max_attempts = 1_000_000
    count = 0
    seen = 0
    began = ended = 0.0
    clock = staticmethod(time.perf_counter)
    service: ConsumerService

    async def handle(self, event: Event, tx: Transaction, prepared: Any) -> None:
        if event.subject == POISON:
            raise ValueError(POISON)
        if not self.seen:
            self.began = self.clock()
        self.seen += 1
        if self.seen == self.count:
            self.ended = self.clock()
            self.service.stop()


class Upserting(Counting):
    """One upsert for each event."""

    async def handle(self, event: Event, tx: Transaction, prepared: Any) -> None:
        await tx.execute(text(UPSERT), {"subject": event.subject, "event_id": event.id})
        await super().handle(event, tx, prepared)


class Waiting(Counting):
    """Waits 0 to 5 ms for each event, as for a call over the network."""

    concurrency = 16
    waits_s = 0.0

    async def prepare(self, event: Event, ctx: Context) -> None:
        wait_s = _dice.uniform(0, 0.005)
        Waiting.waits_s += wait_s
        await asyncio.sleep(wait_s)


async def getmany(settings: ConsumerSettings, count: int) -> float:
    """The bare loop: aiokafka's ``getmany``, and orjson on each value."""
    kafka = AIOKafkaConsumer(
        event_topic(settings, EVENT_TYPE),
        **connection(settings),
        group_id=f"bare-{time.time_ns()}",
        auto_offset_reset="earliest",
        enable_auto_commit=False,
    )
    await kafka.start()
    try:
        began, seen = 0.0, 0
        while seen < count:
            batches = await kafka.getmany(timeout_ms=1_000)
            began = began or time.perf_counter()
            for records in batches.values():
                for record in records:
                    orjson.loads(record.value)
                seen += len(records)
        return (time.perf_counter() - began) * count / seen
    finally:
        await kafka.stop()


async def worker(
    settings: ConsumerSettings,
    count: int,
    *,
    database: bool,
    cpu: bool = False,
    base: type[Counting] = Counting,
) -> float:
    """Our worker with the handler of ``base``. ``cpu``: CPU seconds of all threads instead of the time."""
    name = f"bench-{time.time_ns()}"
    made = {"name": name, "uses_database": database, "count": count}
    if cpu:
        made["clock"] = staticmethod(time.process_time)
    consumer = type("Bench", (base,), made)()
    consumer.service = ConsumerService(consumer, settings)
    await consumer.service.run()
    return float(consumer.ended - consumer.began)


async def postgres(settings: ConsumerSettings, count: int, *, upsert: bool) -> float:
    """PostgreSQL's ceiling: the worker's transaction by its driver alone, on as many connections."""
    url, name = settings.database_url_for("bench"), f"bare-{time.time_ns()}"
    insert = "INSERT INTO dingbridge_inbox (hash, at) VALUES ($1, $2) ON CONFLICT DO NOTHING"
    write = UPSERT.replace(":subject", "$1").replace(":event_id", "$2")
    pool = await asyncpg.create_pool(url, min_size=POOL_SIZE, max_size=POOL_SIZE)

    async def once(number: int) -> None:
        async with pool.acquire() as link, link.transaction():
            await link.execute(insert, uuid.UUID(bytes=_hash(name, number)), number)
            if upsert:
                await link.execute(write, f"u{number % 500}", str(number))

    try:
        return await _together(once, count)
    finally:
        await pool.close()


async def sqlite(settings: ConsumerSettings, count: int) -> float:
    """SQLite's: its one writer, one transaction for each."""
    name = f"bare-{time.time_ns()}"
    link = sqlite3.connect(
        settings.database_url_for("bench").removeprefix("sqlite:///"), isolation_level=None
    )
    link.execute("PRAGMA journal_mode=WAL")
    link.execute("PRAGMA synchronous=FULL")
    began = time.perf_counter()
    for number in range(count):
        link.execute("BEGIN IMMEDIATE")
        link.execute(
            "INSERT INTO dingbridge_inbox (hash, at) VALUES (?, ?) ON CONFLICT DO NOTHING",
            (_hash(name, number), number),
        )
        link.execute(UPSERT, {"subject": f"u{number % 500}", "event_id": str(number)})
        link.execute("COMMIT")
    return time.perf_counter() - began


def _hash(name: str, number: int) -> bytes:
    return hash_of(name, ("/dingtalk/dingcorpsample01/default", f"{number:064d}"), "")


async def _together(once: Callable[[int], Awaitable[None]], count: int) -> float:
    """Run ``once`` ``count`` times, on as many tasks as a worker has; seconds."""
    numbers = iter(range(count))

    async def run() -> None:
        for number in numbers:
            await once(number)

    began = time.perf_counter()
    await asyncio.gather(*(run() for _ in range(Consumer.concurrency)))
    return time.perf_counter() - began


class Peak:
    """The most memory that this process was seen to hold; what the kernel remembers counts its parent's."""

    def __init__(self) -> None:
        self.bytes = 0

    async def watch(self) -> None:
        process = psutil.Process()
        while True:
            self.bytes = max(self.bytes, process.memory_info().rss)
            await asyncio.sleep(0.05)


async def main(kind: str, count: int) -> None:
    settings = ConsumerSettings.load()
    configure_logging(settings)
    kinds: dict[str, Callable[[], Awaitable[float]]] = {
        "getmany": lambda: getmany(settings, count),
        "worker": lambda: worker(settings, count, database=False),
        "worker-cpu": lambda: worker(settings, count, database=False, cpu=True),
        "worker-database": lambda: worker(settings, count, database=True),
        "worker-upsert": lambda: worker(settings, count, database=True, base=Upserting),
        "parallel": lambda: worker(settings, count, database=False, base=Waiting),
        "asyncpg": lambda: postgres(settings, count, upsert=False),
        "asyncpg-upsert": lambda: postgres(settings, count, upsert=True),
        "sqlite3-upsert": lambda: sqlite(settings, count),
    }
    peak = Peak()
    watching = asyncio.create_task(peak.watch())
    seconds = await kinds[kind]()
    watching.cancel()
    print(json.dumps({"seconds": seconds, "peak_mb": peak.bytes / 1e6, "waits_s": Waiting.waits_s}))


if __name__ == "__main__":
    uvloop.run(main(sys.argv[1], int(sys.argv[2])))
