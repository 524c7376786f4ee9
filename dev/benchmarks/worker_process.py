"""One measured loop over the records of a topic, in a process of its own.

``python -m dev.benchmarks.worker_process KIND COUNT`` prints one JSON object: ``seconds`` from the first
record to the ``COUNT``-th (of CPU with ``worker-cpu``), and ``peak_mb`` of resident memory as seen every
50 ms.
"""

import asyncio
import json
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

from dingbridge import Consumer, Event, Transaction
from dingbridge.kafka.client import connection
from dingbridge.kafka.topic_policy import event_topic
from dingbridge.logging import configure_logging
from dingbridge.settings import ConsumerSettings
from dingbridge.worker.service import ConsumerService
from dingbridge.worker.store.database import POOL_SIZE
from dingbridge.worker.store.inbox import hash_of

EVENT_TYPE = "bpms_instance_change"
POISON = "poison"


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


async def worker(settings: ConsumerSettings, count: int, *, database: bool, cpu: bool = False) -> float:
    """Our worker with a handler that does nothing; with a database, one transaction for each event. ``cpu``:
    CPU seconds of all threads instead of the time."""
    name = f"bench-{time.time_ns()}"
    made = {"name": name, "uses_database": database, "count": count}
    if cpu:
        made["clock"] = staticmethod(time.process_time)
    consumer = type("Bench", (Counting,), made)()
    consumer.service = ConsumerService(consumer, settings)
    await consumer.service.run()
    return float(consumer.ended - consumer.began)


async def driver(settings: ConsumerSettings, count: int) -> float:
    """The database's ceiling: the worker's transaction by its driver alone, on as many connections."""
    url = settings.database_url_for("bench")
    statement = "INSERT INTO dingbridge_inbox (hash, at) VALUES ($1, $2) ON CONFLICT DO NOTHING"
    name = f"bare-{time.time_ns()}"
    pool = await asyncpg.create_pool(url, min_size=POOL_SIZE, max_size=POOL_SIZE)

    async def once(number: int) -> None:
        async with pool.acquire() as link, link.transaction():
            event = "/dingtalk/dingcorpsample01/default", f"{number:064d}"
            known = uuid.UUID(bytes=hash_of(name, event, ""))
            await link.execute(statement, known, number)

    try:
        return await _together(once, count)
    finally:
        await pool.close()


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
        "driver": lambda: driver(settings, count),
        "worker-database": lambda: worker(settings, count, database=True),
    }
    peak = Peak()
    watching = asyncio.create_task(peak.watch())
    seconds = await kinds[kind]()
    watching.cancel()
    print(json.dumps({"seconds": seconds, "peak_mb": peak.bytes / 1e6}))


if __name__ == "__main__":
    uvloop.run(main(sys.argv[1], int(sys.argv[2])))
