"""How long an answer takes at a steady 300 callbacks/s, and how long until a record can be read in Kafka."""

import asyncio
import json
import threading
import time
from collections.abc import Mapping
from datetime import datetime
from pathlib import Path

from aiokafka import AIOKafkaConsumer, TopicPartition

from dev.benchmarks.results import Results
from dev.benchmarks.stack import Ingress, load
from dingbridge.kafka.client import connection
from dingbridge.kafka.topics import ensure_topics, event_topic
from dingbridge.settings import KafkaSettings

RATE = 300
SECONDS = 20


def measure(folder: Path, env: Mapping[str, str], results: Results) -> None:
    settings = KafkaSettings.load(**{name.lower(): value for name, value in env.items()})
    topic = event_topic(settings, "bpms_instance_change")
    asyncio.run(ensure_topics(settings, [topic]))
    ingress = Ingress(folder, env)
    delays: list[float] = []
    stop = threading.Event()
    reader = threading.Thread(target=lambda: asyncio.run(_read(settings, topic, delays, stop)))
    try:
        load(ingress.url, 8, 3, RATE, 0)  # warm
        reader.start()
        time.sleep(1)
        delays.clear()
        found = load(ingress.url, 32, SECONDS, RATE, 1_000_000)
        ingress.drained()
        time.sleep(1)
    finally:
        stop.set()
        if reader.ident is not None:
            reader.join()
        ingress.stop()
    ordered = sorted(delays)
    results.latency(
        RATE,
        found["p50_ms"],
        found["p99_ms"],
        ordered[len(ordered) // 2] * 1000,
        ordered[int(len(ordered) * 0.99)] * 1000,
        len(ordered),
    )


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
