"""Consumers, records and services for the worker's tests on a real Kafka."""

import asyncio
import os
import secrets
import signal
from collections import defaultdict
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from aiokafka.admin import AIOKafkaAdminClient
from sqlalchemy import select

from dingbridge import Consumer, Context, Event, Reader, Reject, Transaction, open_database
from dingbridge.events.envelope import Record
from dingbridge.kafka.client import connection, producer
from dingbridge.kafka.topic_policy import dlq_topic, event_topic
from dingbridge.kafka.topics import ensure_topics
from dingbridge.settings import ConsumerSettings, KafkaSettings
from dingbridge.worker.membership.worker import WorkerOptions
from dingbridge.worker.service import ConsumerService
from tests.support.kafka_reader import read_topic
from tests.unit.worker.support import Recording, effects, record

TYPE = "user_modify_org"
event_record = record
OPTIONS = WorkerOptions(commit_interval_s=0.05, session_timeout_ms=6_000, heartbeat_interval_ms=200)


async def publish(settings: KafkaSettings, records: Iterable[Record], topic: str | None = None) -> None:
    """Send ``records`` to their topics (or all to ``topic``), in order."""
    records = list(records)
    named = [(topic or event_topic(settings, str(r.event_type)), r) for r in records]
    await ensure_topics(settings, {name for name, _ in named})
    sender = producer(settings)
    await sender.start()
    try:
        sent = [
            await sender.send(name, key=r.key, value=r.value, headers=list(r.headers)) for name, r in named
        ]
        await asyncio.gather(*sent)
    finally:
        await sender.stop()


class EffectConsumer(Recording):
    """Writes a row for each event; subclasses misbehave."""

    retry_first_s = 0.05
    retry_max_s = 0.1
    max_attempts = 4


class Failing(EffectConsumer):
    """Fails on every event of user ``bad`` until ``fixed``; rejects those whose id begins so."""

    fixed = False

    async def prepare(self, event: Event, ctx: Context) -> None:
        if ":reject" in event.id:
            raise Reject("as asked")
        if event.subject == "bad" and not self.fixed:
            raise ValueError("private words")


def named(base: type[Consumer], **attributes: Any) -> type[Any]:
    """A subclass of ``base`` with a name, and so a consumer group, of its own."""
    return type("Named", (base,), {"name": f"t-{secrets.token_hex(4)}", **attributes})


def consumer_settings(kafka_env: dict[str, str], database_url: str, **overrides: Any) -> ConsumerSettings:
    values = {name.lower(): value for name, value in kafka_env.items()}
    return ConsumerSettings.load(**{**values, "database_url": database_url, **overrides})


@asynccontextmanager
async def serving(
    consumer: Consumer, settings: ConsumerSettings, options: WorkerOptions = OPTIONS
) -> AsyncIterator[ConsumerService]:
    """``consumer`` as its process would run it, in this one; stopped gracefully at the end."""
    service = ConsumerService(consumer, settings, options)
    task = asyncio.create_task(service.run())
    try:
        yield service
    finally:
        service.stop()
        await asyncio.wait_for(task, 90)


def given_id(event_id: str) -> str:
    """The id that DingTalk gave, of ``<type>:<given>/<subject>``."""
    return event_id.split("/")[0].rpartition(":")[2]


async def rows(database_url: str) -> list[tuple[str, str]]:
    """``(event id as given, subject)`` of all effects, in the order of writing; none before the table is."""
    database = open_database(database_url)
    try:
        found = await database.reader().execute(
            select(effects.c.event_id, effects.c.subject).order_by(effects.c.n)
        )
        return [(given_id(row.event_id), row.subject) for row in found]
    except Exception as error:
        if "effects" in str(error):
            return []
        raise
    finally:
        await database.close()


async def committed(settings: KafkaSettings, group: str) -> dict[str, int]:
    """Committed offsets of ``group``, summed over the partitions of each topic."""
    admin = AIOKafkaAdminClient(**connection(settings))
    await admin.start()
    try:
        offsets = await admin.list_consumer_group_offsets(group)
    finally:
        await admin.close()
    sums: dict[str, int] = {}
    for partition, offset in offsets.items():
        sums[partition.topic] = sums.get(partition.topic, 0) + max(0, offset.offset)
    return sums


async def has_rows(database_url: str, expected: int) -> bool:
    return len(await rows(database_url)) == expected


async def has_rows_at_least(database_url: str, expected: int) -> bool:
    return len(await rows(database_url)) >= expected


async def rows_per_key(database_url: str) -> dict[str, list[str]]:
    """Event ids by subject, in the order of writing."""
    found = defaultdict(list)
    for event_id, subject in await rows(database_url):
        found[subject].append(event_id)
    return found


async def dead_letters(settings: KafkaSettings, consumer: str, count: int) -> list[Any]:
    """The consumer's dead letters, the oldest first; none before there are ``count``."""
    letters = await read_topic(settings, dlq_topic(settings, consumer))
    letters.sort(key=lambda r: r.timestamp)
    return letters if len(letters) >= count else []


async def has_committed(settings: KafkaSettings, group: str, count: int) -> bool:
    return sum((await committed(settings, group)).values()) == count


class Mortal(EffectConsumer):
    """Kills its own process, once at each place that ``DIE_AT`` names as ``<event id>:<half>``, or freezes it
    at those of ``FREEZE_AT``; a file ``at-<place>`` says that it has."""

    name = os.environ.get("TEST_CONSUMER", "mortal")
    handler_timeout_s = 1 if "FREEZE_AT" in os.environ else 60

    async def prepare(self, event: Event, ctx: Context) -> None:
        self._die(event, "prepare")
        if ":reject" in event.id:
            raise Reject("as asked")

    async def handle(self, event: Event, tx: Transaction, prepared: Any) -> None:
        await super().handle(event, tx, prepared)
        self._die(event, "handle")

    async def show(self, db: Reader) -> list[Any]:
        found = await db.execute(select(effects.c.n, effects.c.event_id).order_by(effects.c.n))
        return [("effects", ["n", "event_id"], [tuple(row) for row in found])]

    def _die(self, event: Event, half: str) -> None:
        place = f"{given_id(event.id)}:{half}"
        for variable, death in (("DIE_AT", signal.SIGKILL), ("FREEZE_AT", signal.SIGSTOP)):
            mark = Path(f"at-{place}")
            if place in os.environ.get(variable, "").split(",") and not mark.exists():
                mark.touch()
                os.kill(os.getpid(), death)


def installed(
    folder: Path, name: str, consumer: str = "tests.integration.worker_support:Mortal"
) -> dict[str, str]:
    """Environment in which ``consumer`` is an installed one called ``name``: a package of somebody else's
    that announces it by entry point."""
    info = folder / "site" / "their_consumers-1.0.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: their-consumers\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(f"[dingbridge.consumers]\n{name} = {consumer}\n")
    root = Path(__file__).parents[2]
    return {"PYTHONPATH": f"{folder / 'site'}{os.pathsep}{root}", "TEST_CONSUMER": name}
