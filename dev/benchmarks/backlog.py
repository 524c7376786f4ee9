"""A journal full of callbacks: how fast it drains, what it costs to keep accepting, memory and disk.

The backlog is written into the journal's file directly; the ingress is started upon it.
"""

import asyncio
import statistics
import time
from collections.abc import Awaitable, Callable, Iterator, Mapping
from pathlib import Path

from aiokafka import AIOKafkaProducer

from dev.benchmarks.load import plaintext
from dev.benchmarks.results import Results
from dev.benchmarks.stack import Ingress, load
from dingbridge.events import Received, Record, dedupe_key, extract_facts, to_records
from dingbridge.ingress.journal.file import JournalFile
from dingbridge.ingress.journal.folder import current
from dingbridge.ingress.journal.rows import NewCallback
from dingbridge.kafka.client import producer
from dingbridge.kafka.topic_policy import event_topic
from dingbridge.kafka.topics import ensure_topics
from dingbridge.settings import KafkaSettings

MILLION = 1_000_000
_BATCH_BYTES = 1024 * 1024


def fill(folder: Path, count: int) -> tuple[int, int]:
    """Write ``count`` callbacks into a ``JOURNAL_DIR``; ``(bytes of its file, bytes of their texts)``."""
    path = current(folder)
    path.parent.mkdir(parents=True, exist_ok=True)
    file = JournalFile(path, create=True)
    file.db.execute("PRAGMA synchronous = OFF")
    plain = 0
    try:
        for begin in range(0, count, 10_000):
            group = list(_entries(begin, min(begin + 10_000, count)))
            plain += sum(len(entry.body) for entry in group)
            file.commit(group)
        file.truncate_wal()
    finally:
        file.close()
    return path.stat().st_size, plain


def _entries(begin: int, end: int) -> Iterator[NewCallback]:
    now = int(time.time() * 1000)
    for number in range(begin, end):
        body = plaintext(number)
        facts = extract_facts(body)
        yield NewCallback(now, "default", "http", body, facts, dedupe_key(facts, "default", body))


def accepting(folder: Path, env: Mapping[str, str], results: Results, count: int) -> None:
    """The rate of accepting with ``count`` waiting against an empty journal, Kafka away for both."""
    away = {**env, "KAFKA_BOOTSTRAP_SERVERS": "127.0.0.1:1"}
    size, plain = fill(folder / "full" / "journal", count)
    results.journal_bytes(count, size / count, plain / count)
    empty, full = Ingress(folder / "empty", away, "empty"), Ingress(folder / "full", away, "full")
    try:
        rates: dict[str, list[float]] = {"empty": [], "full": []}
        memory = {server.name: server.rss_mb() for server in (empty, full)}
        first = 100 * MILLION
        for _ in range(5):
            for server in (empty, full):
                rates[server.name].append(load(server.url, 32, 4, 0, first)["per_s"])
                first += MILLION
        memory_after = {server.name: server.rss_mb() for server in (empty, full)}
    finally:
        empty.stop()
        full.stop()
    medians = {name: statistics.median(values) for name, values in rates.items()}
    results.accepting(count, medians["empty"], medians["full"])
    results.memory(
        count,
        memory["full"] - memory["empty"],
        memory_after["full"] - memory_after["empty"],
        memory_after["empty"],
    )


def draining(folder: Path, env: Mapping[str, str], results: Results, count: int, rounds: int) -> None:
    """In turn: raw aiokafka with the records made beforehand, and the publisher, from the moment at which it
    has begun, since raw aiokafka has started then, too."""
    settings = KafkaSettings.load(**{name.lower(): value for name, value in env.items()})
    asyncio.run(ensure_topics(settings, [event_topic(settings, "bpms_instance_change")]))
    rates: dict[str, list[float]] = {"send and gather": [], "batches by hand": [], "the publisher": []}
    sends, batches, ours = rates.values()
    for number in range(rounds):
        sends.append(count / asyncio.run(_raw(settings, count, _send_each)))
        batches.append(count / asyncio.run(_raw(settings, count, _send_batches)))
        place = folder / f"drain-{number}"
        fill(place / "journal", count)
        ingress = Ingress(place, env)
        while (waiting := ingress.waiting()) == count:
            time.sleep(0.05)
        ours.append(waiting / ingress.drained(600))
        ingress.stop()
        print(f"drained at {ours[-1]:.0f}/s; sends {sends[-1]:.0f}/s, batches {batches[-1]:.0f}/s")
    results.draining(count, rates)


Send = Callable[[AIOKafkaProducer, str, list[Record]], Awaitable[None]]


async def _raw(settings: KafkaSettings, count: int, send: Send) -> float:
    """Seconds that aiokafka takes for the same records, keys and settings, made beforehand."""
    records: list[Record] = []
    for number in range(count):
        records += to_records(
            Received(number + 1, "raw", 1_764_000_000_000, "default", "http", plaintext(number))
        )
    sender = producer(settings, max_batch_size=_BATCH_BYTES, linger_ms=2)
    await sender.start()
    try:
        began = time.monotonic()
        await send(sender, event_topic(settings, "bpms_instance_change"), records)
        return time.monotonic() - began
    finally:
        await sender.stop()


async def _send_each(sender: AIOKafkaProducer, topic: str, records: list[Record]) -> None:
    """``send`` for each, and gather."""
    for begin in range(0, len(records), 5_000):
        futures = [
            await sender.send(topic, r.value, key=r.key, headers=list(r.headers))
            for r in records[begin : begin + 5_000]
        ]
        await asyncio.gather(*futures)


async def _send_batches(sender: AIOKafkaProducer, topic: str, records: list[Record]) -> None:
    """Batches made by hand, one for each partition at a time, whatever the keys say."""
    partitions = sorted(await sender.partitions_for(topic))
    rest = iter(records)
    record = next(rest, None)
    while record is not None:
        futures = []
        for partition in partitions:
            batch = sender.create_batch()
            while record is not None and batch.append(
                key=record.key, value=record.value, timestamp=None, headers=list(record.headers)
            ):
                record = next(rest, None)
            batch.close()
            if batch.record_count():
                futures.append(await sender.send_batch(batch, topic, partition=partition))
        await asyncio.gather(*futures)
