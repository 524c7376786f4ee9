"""Runs a consumer in this process against a real Kafka, with the interface of ``MemoryRuntime``.

Group and topics are this run's own, also on somebody else's cluster, and the topics are deleted at the end.
The worker is the real one; only how each attempt ended is listened to.
"""

import asyncio
import secrets
import tempfile
from collections.abc import Coroutine, Mapping, Sequence
from contextlib import AsyncExitStack
from pathlib import Path
from types import TracebackType
from typing import Any, Self, TypeVar

import orjson
from prometheus_client import CollectorRegistry
from sqlalchemy import Executable, Row

from dingbridge.errors import BridgeError
from dingbridge.events.control import RESYNC_REQUESTED
from dingbridge.events.envelope import Record
from dingbridge.events.event import Event, NotAnEvent, Sent, decode
from dingbridge.kafka.admin import admin_client, explaining
from dingbridge.kafka.client import discard_producer, producer, start_producer
from dingbridge.kafka.reader import TopicReader
from dingbridge.kafka.topic_policy import (
    RESYNC,
    control_topic,
    dlq_topic,
    event_topic,
    foreign_topics,
    inbox_topic,
    topics_read,
)
from dingbridge.kafka.topics import existing_topics
from dingbridge.replay.copying import header
from dingbridge.settings import ConsumerSettings
from dingbridge.testing.memory import no_dingtalk, with_faults_raised
from dingbridge.worker.attempts.executor import Delivered, Executor, Outcome
from dingbridge.worker.attempts.watchdog import Turn
from dingbridge.worker.consumer import Consumer
from dingbridge.worker.dead_letters import FIRST_PLACE
from dingbridge.worker.delivery import REPLAY_HEADER
from dingbridge.worker.membership.worker import Worker, WorkerOptions
from dingbridge.worker.metrics import WorkerMetrics
from dingbridge.worker.service import ConsumerService
from dingbridge.worker.store.database import Database

OPTIONS = WorkerOptions(commit_interval_s=0.1, session_timeout_ms=6_000, heartbeat_interval_ms=500)
POLL_S = 0.05
STOP_S = 5

Place = tuple[str, int, int]
T = TypeVar("T")


class KafkaRuntime:
    """``async with KafkaRuntime(Billing(), settings) as runtime: outcome = await runtime.deliver(event)``.

    ``settings`` lead to the broker; their topic prefixes are replaced. ``database_url``: by default an SQLite
    file that is gone at the end. ``dingtalk`` stands in for the Open API client. Entering raises
    ``KafkaUnavailable``; waiting for anything ends with ``TimeoutError`` after ``patience_s``.
    """

    def __init__(
        self,
        consumer: Consumer,
        settings: ConsumerSettings,
        *,
        database_url: str | None = None,
        dingtalk: Any = None,
        patience_s: float = 60,
    ) -> None:
        run = secrets.token_hex(4)
        # never a member of the group that works elsewhere under this name
        consumer.name = f"{consumer.name[:80]}-test-{run}"  # type: ignore[misc]
        if dingtalk is not None:
            consumer.dingtalk = dingtalk
        elif consumer.clients is None:
            consumer.clients = no_dingtalk  # and not the clients of the environment's app
        self.consumer = consumer
        self._patience_s = patience_s
        self._folder = tempfile.TemporaryDirectory(prefix="dingbridge-test-")
        url = database_url or f"sqlite:///{Path(self._folder.name) / 'test.db'}"
        self._settings = ConsumerSettings.load(
            **settings.model_dump(include=settings.model_fields_set)
            | {
                "topic_prefix": f"test-{run}.",
                "control_prefix": f"ctl-test-{run}.",
                "topic_partitions": 1,
                "database_url": url,
                "admin_port": None,
            }
        )
        self._stack = AsyncExitStack()

    async def __aenter__(self) -> Self:
        async with AsyncExitStack() as stack:
            stack.callback(self._folder.cleanup)
            service = ConsumerService(self.consumer, self._settings, OPTIONS)
            self._listener = _Listener(self.consumer, service.database)
            metrics = WorkerMetrics(self.consumer.name, CollectorRegistry())
            service.worker = Worker(self.consumer, self._settings, self._listener, metrics, OPTIONS)
            self._database = service.database
            self._running = asyncio.create_task(service.run())
            stack.push_async_callback(self._delete_topics)
            stack.push_async_callback(self._stop, service)
            async with asyncio.timeout(self._patience_s):
                while not service.worker.state()[0]:
                    await self._wait(asyncio.sleep(POLL_S))
            self._producer = producer(self._settings)
            await start_producer(self._producer, self._settings)
            stack.push_async_callback(discard_producer, self._producer, STOP_S)
            self._stack = stack.pop_all()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._stack.aclose()

    @property
    def database(self) -> Database:
        """The consumer's database. Raises ``BridgeError`` if it uses none."""
        if self._database is None:
            raise BridgeError(f"{self.consumer.name} has `uses_database = False`, so it has no tables")
        return self._database

    async def deliver(
        self, event: Event | Record | bytes | Mapping[str, Any], *, replay_id: str = ""
    ) -> Outcome:
        """Publish ``event`` to its topic (with a ``replay_id``: to the inbox; one of another sender's: to the
        first of ``control_topics``), and return how the worker's first attempt ended; of what is no event,
        when it is in the dead letters. Raises what the handler raised, as ``MemoryRuntime.deliver`` does.

        Raises ``BridgeError`` for an event of a type that the consumer does not read.
        """
        any_sender = Sent() if foreign_topics(self.consumer.control_topics) else None
        key, value, headers = _parts(event, any_sender)
        try:
            found: Event | NotAnEvent = decode(value, any_sender)
        except NotAnEvent as error:
            found = error
        if replay_id:
            topic = inbox_topic(self._settings, self.consumer.name)
            headers = [*headers, (REPLAY_HEADER, replay_id.encode())]
        else:
            topic = self._topic_of(found)
        with explaining(self._settings):
            sent = await self._producer.send_and_wait(topic, key=key, value=value, headers=headers)
        place = (sent.topic, sent.partition, sent.offset)
        async with asyncio.timeout(self._patience_s):
            if isinstance(found, NotAnEvent):
                while not await self._is_dead_letter(place):
                    await self._wait(asyncio.sleep(POLL_S))
                return Outcome("not_an_event", found)
            return with_faults_raised(await self._wait(self._listener.first(place)))

    async def rows(self, statement: Executable) -> Sequence[Row[Any]]:
        """What ``statement`` reads from the consumer's database."""
        return (await self.database.reader().execute(statement)).all()

    def _topic_of(self, found: Event | NotAnEvent) -> str:
        reads, control = list(self.consumer.topics), list(self.consumer.control_topics)
        if isinstance(found, NotAnEvent):
            return topics_read(self._settings, reads, control)[0]
        if found.type == RESYNC_REQUESTED and RESYNC in control:
            return control_topic(self._settings, RESYNC)
        foreign = foreign_topics(control)
        if foreign and found.event_type == found.type != RESYNC_REQUESTED:
            return control_topic(self._settings, foreign[0])
        if found.event_type not in reads:
            raise BridgeError(
                f"{self.consumer.name} would not see this: its topics are {', '.join(reads)}, and the event "
                f"is {found.event_type}; add that to `topics`"
            )
        return event_topic(self._settings, found.event_type)

    async def _is_dead_letter(self, place: Place) -> bool:
        async with TopicReader(self._settings) as reader:
            name = dlq_topic(self._settings, self.consumer.name)
            counts = await existing_topics(self._settings)
            wanted = [str(part) for part in place]
            async for record in reader.read(await reader.spans({name: counts[name]})):
                if [header(record, part) for part in FIRST_PLACE] == wanted:
                    return True
        return False

    async def _wait(self, work: Coroutine[Any, Any, T]) -> T:
        """Await ``work``; the consumer's own error if it ends meanwhile."""
        waiting = asyncio.ensure_future(work)
        try:
            await asyncio.wait({waiting, self._running}, return_when=asyncio.FIRST_COMPLETED)
            if not waiting.done():
                await self._running
                raise BridgeError(f"consumer {self.consumer.name} ended by itself")
            return await waiting
        finally:
            waiting.cancel()

    async def _stop(self, service: ConsumerService) -> None:
        service.stop()
        await self._running

    async def _delete_topics(self) -> None:
        prefixes = (self._settings.topic_prefix, self._settings.control_prefix)
        names = [name for name in await existing_topics(self._settings) if name.startswith(prefixes)]
        async with admin_client(self._settings) as admin:
            await admin.delete_topics(names)


class _Listener(Executor):
    """An executor that remembers how the first attempt at each record ended."""

    def __init__(self, consumer: Consumer, database: Database | None) -> None:
        super().__init__(consumer, database)
        self._outcomes: dict[Place, Outcome] = {}
        self._came = asyncio.Condition()

    async def attempt_together(self, delivered: Sequence[Delivered], number: int, turn: Turn) -> Outcome:
        outcome = await super().attempt_together(delivered, number, turn)
        if len(delivered) == 1 or outcome.kind == "done":
            async with self._came:
                for _, delivery in delivered:
                    self._outcomes.setdefault(delivery.position, outcome)
                self._came.notify_all()
        return outcome

    async def first(self, place: Place) -> Outcome:
        """How the first attempt at the record at ``place`` ended, as soon as it did."""
        async with self._came:
            await self._came.wait_for(lambda: place in self._outcomes)
            return self._outcomes[place]


def _parts(
    event: Event | Record | bytes | Mapping[str, Any], any_sender: Sent | None
) -> tuple[bytes | None, bytes, list[tuple[str, bytes]]]:
    """Key, value and headers."""
    if isinstance(event, Record):
        return event.key, event.value, list(event.headers)
    if isinstance(event, Event):
        event = event.envelope
    value = event if isinstance(event, bytes) else orjson.dumps(event)
    try:
        return decode(value, any_sender).partitionkey.encode() or None, value, []
    except NotAnEvent:
        return None, value, []
