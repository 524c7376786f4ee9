"""The worker beside bare loops over the same records: without a database and with one, with a key that always
fails, with keys that wait beside each other, and its memory with a short and a long backlog.

The records are written once, quicker than an ingress could, and read again in each round by a new group.
"""

import asyncio
import json
import os
import subprocess
from collections.abc import Iterator, Mapping
from pathlib import Path

from aiokafka import AIOKafkaProducer
from aiokafka.partitioner import DefaultPartitioner

from dev.benchmarks.load import plaintext
from dev.benchmarks.results import Measured, Results, target
from dev.benchmarks.stack import PYTHON
from dev.benchmarks.worker_process import EVENT_TYPE, POISON, Waiting, upserts
from dev.servers.postgres import start_postgres
from dingbridge import open_database
from dingbridge.events.envelope import Received, to_records
from dingbridge.kafka.client import producer
from dingbridge.kafka.topic_policy import event_topic
from dingbridge.kafka.topics import ensure_topics
from dingbridge.settings import KafkaSettings
from dingbridge.worker.store.migrations import WorkerTables, migrate

SHORT = 10_000
ROUND = 100_000
ROUNDS = 5
DATABASE_ROUND = 30_000
PARALLEL_ROUND = 10_000
KEYS = 500
POISONED_SHARE = 100
"""Of partition 0's records, one in so many is of the key that always fails."""


def measure(folder: Path, env: Mapping[str, str], results: Results) -> None:
    """All rates, and memory with ``ROUND`` records waiting."""
    folder.mkdir(parents=True, exist_ok=True)
    healthy = {**env, "LOG_LEVEL": "ERROR", "DATA_DIR": str(folder)}
    fill(healthy, ROUND)
    poisoned = {**healthy, "TOPIC_PREFIX": f"bad.{env['TOPIC_PREFIX']}"}
    fill(poisoned, 2 * DATABASE_ROUND, poisoned=True)
    with start_postgres(folder, how="wheel") as postgres:
        for settings in (healthy, poisoned):
            settings["DATABASE_URL"] = postgres.create_database("bench" if settings is healthy else "bad")
            asyncio.run(_make_tables(settings["DATABASE_URL"]))
        results.add(_rates(folder, healthy, poisoned))
    results.add(_keys_in_parallel(healthy))
    results.add(_memory(healthy, ROUND))


def _rates(folder: Path, healthy: Mapping[str, str], poisoned: Mapping[str, str]) -> str:
    """Interleaved rounds of all loops, as text."""
    file = {**healthy, "DATABASE_URL": f"sqlite:///{folder / 'bench.db'}"}
    asyncio.run(_make_tables(file["DATABASE_URL"]))
    loops = {
        "aiokafka's getmany and orjson": ("getmany", ROUND, healthy),
        "worker, no database": ("worker", ROUND, healthy),
        "asyncpg, the inbox row": ("asyncpg", DATABASE_ROUND, healthy),
        "worker, the same": ("worker-database", DATABASE_ROUND, healthy),
        "worker, the same, a key always fails": ("worker-database", DATABASE_ROUND, poisoned),
        "asyncpg, the inbox row and an upsert": ("asyncpg-upsert", DATABASE_ROUND, healthy),
        "worker, an upsert on PostgreSQL": ("worker-upsert", DATABASE_ROUND, healthy),
        "sqlite3, the inbox row and an upsert": ("sqlite3-upsert", DATABASE_ROUND, file),
        "worker, an upsert on SQLite": ("worker-upsert", DATABASE_ROUND, file),
    }
    rates: dict[str, list[float]] = {name: [] for name in loops}
    for number in range(ROUNDS):
        for name, (kind, count, env) in loops.items():
            rates[name].append(count / run(kind, count, env)["seconds"])
            print(f"round {number}, {name}: {rates[name][-1]:,.0f}/s", flush=True)
    bare, ours, driver, database, failing, driver_upsert, upsert, file_upsert, upsert_file = rates
    measured = Measured.of(rates)
    return "\n".join(
        [
            "## Consuming: a handler that does nothing, and one that writes a row",
            "",
            "Bare loops have one transaction for each record.",
            "",
            "| loop | records/s |",
            "|---|---|",
            *measured.rows(),
            "",
            measured.target("worker without a database : getmany and orjson", ours, bare, 0.4),
            measured.target("worker that does nothing on PostgreSQL : asyncpg", database, driver, 1.0),
            measured.target("other keys while one always fails : while none does", failing, database, 0.9),
            measured.target("worker, an upsert on PostgreSQL : asyncpg", upsert, driver_upsert, 0.8),
            measured.target("worker, an upsert on SQLite : sqlite3", upsert_file, file_upsert, 1.5),
        ]
    )


def _keys_in_parallel(env: Mapping[str, str]) -> str:
    """How much less time than one after the other, as Confluent's parallel-consumer publishes it."""
    lines = [
        f"## Keys in parallel: {PARALLEL_ROUND:,} records of one partition, 0 to 5 ms in `prepare` each",
        "",
        f"By at most {Waiting.concurrency} at once; the speed-up to one after the other, as a share of what "
        "as many keys allow.",
        "",
    ]
    for keys in (1, 10, 20, PARALLEL_ROUND):
        own = {**env, "TOPIC_PREFIX": f"k{keys}.{env['TOPIC_PREFIX']}", "TOPIC_PARTITIONS": "1"}
        fill(own, PARALLEL_ROUND, keys=keys)
        found = run("parallel", PARALLEL_ROUND, own)
        most = min(keys, Waiting.concurrency)
        share = found["waits_s"] / found["seconds"] / most
        lines.append(target(f"{keys:,} keys", share, 0.8 if keys <= 10 else 0.7))
    return "\n".join(lines)


def _memory(env: Mapping[str, str], long: int) -> str:
    peaks = {count: run("worker", count, env)["peak_mb"] for count in (SHORT, long)}
    measured = f"{peaks[long]:.0f} : {peaks[SHORT]:.0f} MB"
    words = f"worker's peak memory, {long:,} : {SHORT:,} records waiting ({measured})"
    return f"## A backlog in Kafka\n\n{target(words, peaks[long] / peaks[SHORT], 1.2, most=True)}"


def run(kind: str, count: int, env: Mapping[str, str]) -> dict[str, float]:
    """One loop in a process of its own."""
    done = subprocess.run(
        [*PYTHON, "-m", "dev.benchmarks.worker_process", kind, str(count)],
        env={**os.environ, **env},
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        raise SystemExit(f"{kind} failed:\n{done.stderr}")
    found: dict[str, float] = json.loads(done.stdout)
    return found


async def _make_tables(url: str) -> None:
    database = open_database(url)
    await migrate(database, WorkerTables)
    async with database.transaction() as tx:
        await tx.connection.run_sync(upserts.create)
    await database.close()


def fill(env: Mapping[str, str], count: int, *, keys: int = KEYS, poisoned: bool = False) -> None:
    """Write ``count`` records of ``keys`` keys, each an event of its own; with ``poisoned``, some of
    ``POISON`` beside them."""
    settings = KafkaSettings.load(**{name.lower(): value for name, value in env.items()})
    asyncio.run(_fill(settings, count, keys, poisoned))


async def _fill(settings: KafkaSettings, count: int, keys: int, poisoned: bool) -> None:
    topic = event_topic(settings, EVENT_TYPE)
    await ensure_topics(settings, [topic])
    received = Received(1, "bench", 1_764_000_000_000, "default", "http", plaintext(0))
    (made,) = to_records(received)
    headers = list(made.headers)
    sender = producer(settings, max_batch_size=1024 * 1024)
    await sender.start()
    try:
        partitions = sorted(await sender.partitions_for(topic))
        batches = {partition: sender.create_batch() for partition in partitions}
        for partition, key, value in _records(made.value, partitions, count, keys, poisoned):
            if batches[partition].append(key=key, value=value, timestamp=None, headers=headers) is None:
                await _send(sender, batches, topic, partition)
                batches[partition].append(key=key, value=value, timestamp=None, headers=headers)
        for partition in partitions:
            await _send(sender, batches, topic, partition)
        await sender.flush()
    finally:
        await sender.stop()


async def _send(sender: AIOKafkaProducer, batches: dict[int, object], topic: str, partition: int) -> None:
    full, batches[partition] = batches[partition], sender.create_batch()
    await sender.send_batch(full, topic, partition=partition)


def _records(
    template: bytes, partitions: list[int], count: int, keys: int, poisoned: bool
) -> Iterator[tuple[int, bytes, bytes]]:
    """``(partition, key, value)``: ``template`` with ids of its own, where the partitioner puts the key."""
    envelope = json.loads(template)
    event_id, subject = envelope["id"].encode(), envelope["subject"].encode()
    corp = envelope["partitionkey"].encode().removesuffix(subject)
    homes = {}
    for number in range(keys):
        name = subject.replace(b"0" * 8, b"%08d" % number)
        homes[number] = name, DefaultPartitioner()(corp + name, partitions, partitions)
    for number in range(count):
        name, partition = homes[number % keys]
        yield partition, corp + name, _event(template, event_id, subject, number, name)
        if poisoned and number % POISONED_SHARE == 0:
            yield 0, POISON.encode(), _event(template, event_id, subject, count + number, POISON.encode())


def _event(template: bytes, event_id: bytes, subject: bytes, number: int, name: bytes) -> bytes:
    return template.replace(event_id, b"%064d" % number).replace(subject, name)
