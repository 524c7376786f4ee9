"""Dead letters and records at chosen times, on a real Kafka, without a worker."""

import asyncio
import signal
import subprocess
import sys
import time
from collections.abc import Iterable, Mapping
from typing import Any

from dingbridge.events.envelope import Record
from dingbridge.kafka.client import producer
from dingbridge.kafka.topic_policy import dlq_topic, event_topic, inbox_topic
from dingbridge.kafka.topics import ensure_topics
from dingbridge.settings import KafkaSettings
from dingbridge.worker.dead_letters import HEADER
from tests.integration.worker_support import event_record
from tests.support.kafka_reader import Record as KafkaRecord
from tests.support.kafka_reader import read_topic
from tests.support.processes import Processes, environment

Headers = list[tuple[str, bytes]]

MORTAL = """
import os, signal, sys
from dingbridge.cli.main import main
from dingbridge.replay import copying

left = int(sys.argv.pop(1))
acknowledged = copying.Copier.flush

async def flush(self):
    global left
    await acknowledged(self)
    left -= 1
    if left == 0:
        os.kill(os.getpid(), signal.SIGKILL)

copying.BATCH_RECORDS = 10
copying.Copier.flush = flush
main()
"""


async def killed(processes: Processes, env: Mapping[str, str], batches: int, *arguments: str) -> None:
    """Run ``dingbridge <arguments>``, which SIGKILL ends when Kafka has acknowledged the nth batch, of copies
    or of notes."""
    result = await asyncio.to_thread(
        subprocess.run,
        [sys.executable, "-c", MORTAL, str(batches), *arguments],
        env=environment(env),
        cwd=processes.folder,
        capture_output=True,
        text=True,
        timeout=180,
        stdin=subprocess.DEVNULL,
        check=False,
    )
    assert result.returncode == -signal.SIGKILL, result.stderr


def letter_headers(offset: int, error: str = "ValueError at billing:1 in handle", **more: str) -> Headers:
    """What the worker adds to a record that it gives up, which stood at ``offset``."""
    ours = {
        "topic": "somewhere",
        "partition": "0",
        "offset": str(offset),
        "error": error,
        "attempts": "4",
        "at": f"2026-11-25T04:00:{offset % 60:02}.000Z",
        **more,
    }
    return [(HEADER + name.replace("_", "-"), text.encode()) for name, text in ours.items()]


async def bury(
    settings: KafkaSettings, consumer: str, letters: Iterable[tuple[Record, Headers]], partitions: int = 2
) -> None:
    """Put ``letters`` into the consumer's dead letters, a millisecond apart, and make its inbox."""
    topic, inbox = dlq_topic(settings, consumer), inbox_topic(settings, consumer)
    await ensure_topics(settings, [topic, inbox], partitions={topic: partitions, inbox: 3})
    now = time.time_ns() // 1_000_000
    await send(settings, ((topic, r, list(r.headers) + more, now + n) for n, (r, more) in enumerate(letters)))


async def publish_at(settings: KafkaSettings, records: Iterable[tuple[Record, int]]) -> None:
    """Publish records with timestamps (epoch ms), in order."""
    listed = [(event_topic(settings, str(r.event_type)), r, list(r.headers), at) for r, at in records]
    await ensure_topics(settings, {topic for topic, *_ in listed})
    await send(settings, listed)


async def send(settings: KafkaSettings, records: Iterable[tuple[str, Record, Headers, int | None]]) -> None:
    sender = producer(settings, linger_ms=5)
    await sender.start()
    try:
        sent = [
            await sender.send(topic, key=r.key, value=r.value, headers=headers, timestamp_ms=at)
            for topic, r, headers, at in records
        ]
        await asyncio.gather(*sent)
    finally:
        await sender.stop()


async def inbox(settings: KafkaSettings, consumer: str) -> list[KafkaRecord]:
    """All copies."""
    return await read_topic(settings, inbox_topic(settings, consumer))


def headers_of(record: KafkaRecord) -> dict[str, str]:
    """Header texts by name; fails on a name that stands there twice."""
    names = [name for name, _ in record.headers]
    assert len(names) == len(set(names)), names
    return {name: value.decode() for name, value in record.headers}


def numbered(count: int, users: int = 5, **more: Any) -> list[Record]:
    """Events ``e0`` … of several users, and so keys."""
    return [event_record(f"e{n}", f"u{n % users}", **more) for n in range(count)]


def number(record: KafkaRecord) -> int:
    """Which of ``numbered`` it is."""
    return int(dict(record.headers)["dingbridge-id"].decode().split("/")[0].rpartition(":e")[2])
