"""How long an answer takes at a steady 300 callbacks/s, beside a server that only keeps; and how long until a
record can be read in Kafka."""

import asyncio
import json
import statistics
import threading
import time
from collections.abc import Mapping
from datetime import datetime
from pathlib import Path

from aiokafka import AIOKafkaConsumer, TopicPartition

from dev.benchmarks.results import Results
from dev.benchmarks.stack import Ingress, Server, load, synced, unused
from dingbridge.kafka.client import connection
from dingbridge.kafka.topic_policy import event_topic
from dingbridge.kafka.topics import ensure_topics
from dingbridge.settings import KafkaSettings

RATE = 300
SECONDS = 20


def measure(folder: Path, env: Mapping[str, str], results: Results, rounds: int) -> None:
    settings = KafkaSettings.load(**{name.lower(): value for name, value in env.items()})
    topic = event_topic(settings, "bpms_instance_change")
    asyncio.run(ensure_topics(settings, [topic]))
    ingress = Ingress(folder, env)
    servers: list[Server] = [synced(folder), ingress]
    found: dict[str, list[dict[str, float]]] = {server.name: [] for server in servers}
    delays: list[float] = []
    stop = threading.Event()
    reader = threading.Thread(target=lambda: asyncio.run(_read(settings, topic, delays, stop)))
    try:
        for server in servers:
            load(server.url, 8, 3, RATE, next(unused))  # warm
        ingress.drained()
        reader.start()
        for number in range(rounds):
            for server in servers:
                one = load(server.url, 32, SECONDS, RATE, next(unused))
                found[server.name].append({key: one[key] for key in ("p50_ms", "p99_ms", "p999_ms")})
                print(f"{RATE}/s, round {number}, {server.name}: {found[server.name][-1]}", flush=True)
        ingress.drained()
        time.sleep(1)
    finally:
        stop.set()
        if reader.ident is not None:
            reader.join()
        for server in servers:
            server.stop()
    rows = {
        name: {key: statistics.median(one[key] for one in all_of) for key in all_of[0]}
        for name, all_of in found.items()
    }
    results.latency(RATE, rows, sorted(delay * 1000 for delay in delays))


async def _read(settings: KafkaSettings, topic: str, delays: list[float], stop: threading.Event) -> None:
    consumer = AIOKafkaConsumer(**connection(settings), auto_offset_reset="latest", fetch_max_wait_ms=50)
    await consumer.start()
    try:
        partitions = [TopicPartition(topic, number) for number in range(settings.topic_partitions)]
        consumer.assign(partitions)
        await consumer.seek_to_end(*partitions)
        while not stop.is_set():
            batches = await consumer.getmany(timeout_ms=50)
            now = time.time()
            for records in batches.values():
                for record in records:
                    # from receipt, a little before the answer: an upper bound of what is promised
                    received = json.loads(record.value)["receivedtime"]
                    delays.append(now - datetime.fromisoformat(received).timestamp())
    finally:
        await consumer.stop()
