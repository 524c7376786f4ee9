"""The life of one consumer's process: database, Open API client, private listener, worker, and a clean end.

This module only joins these parts; each part has a module of its own.
"""

import asyncio
import signal
from contextlib import AsyncExitStack
from functools import partial
from typing import Any

import structlog
from aiohttp import web
from prometheus_client import CollectorRegistry
from sqlalchemy.exc import DBAPIError

from dingbridge.errors import BridgeError, SettingsError
from dingbridge.events.catalogue import misspelt
from dingbridge.health_server import AdminServer, json_response
from dingbridge.kafka.topic_policy import inbox_topic, topics_read
from dingbridge.settings import ConsumerSettings
from dingbridge.tasks import WatchedTasks
from dingbridge.tracing import open_tracer
from dingbridge.worker.api.budget import ApiCalls
from dingbridge.worker.api.clients import open_clients
from dingbridge.worker.attempts.executor import Executor
from dingbridge.worker.attempts.watchdog import CANCEL_GRACE_S
from dingbridge.worker.consumer import Consumer, Table
from dingbridge.worker.membership.worker import Worker, WorkerOptions
from dingbridge.worker.metrics import WorkerMetrics
from dingbridge.worker.outcomes import DependencyUnavailable
from dingbridge.worker.store.database import Database, open_database
from dingbridge.worker.store.errors import is_missing_table
from dingbridge.worker.store.migrations import WorkerTables, migrate
from dingbridge.worker.store.offsets import register
from dingbridge.worker.store.pruning import prune_regularly
from dingbridge.worker.supervise import cancel_on, retry_until_available

log = structlog.get_logger(__name__)

API_CALLS_EVERY_S = 10

STOP_REST_S = 18
"""How long a stop may take beyond ``SHUTDOWN_TIMEOUT_S``, in s: together less than the 30 s of Kubernetes."""


class ConsumerService:
    """One consumer, from start to stop. ``run`` returns after ``stop`` or a SIGTERM/SIGINT."""

    def __init__(
        self, consumer: Consumer, settings: ConsumerSettings, options: WorkerOptions | None = None
    ) -> None:
        """Raises ``SettingsError`` for a database address or topics that cannot work, or are misspelt."""
        self.registry = CollectorRegistry()
        self.database: Database | None = (
            open_database(
                settings.database_url_for(consumer.name),
                idle_limit_s=consumer.handler_timeout_s + 2 * CANCEL_GRACE_S,
            )
            if consumer.uses_database
            else None
        )
        self._consumer, self._settings = consumer, settings
        self._metrics = WorkerMetrics(consumer.name, self.registry)
        self._stopping = asyncio.Event()
        self._limit: asyncio.Timeout | None = None
        if not (consumer.topics or consumer.control_topics):
            raise SettingsError([f"consumer {consumer.name} names no topics; set the class's `topics`"])
        unknown = [misspelt(topic) for topic in consumer.topics if topic not in consumer.new_event_types]
        if problems := [words for words in unknown if words is not None]:
            hint = "; one that is new at DingTalk is listed in the class's `new_event_types`"
            raise SettingsError([f"consumer {consumer.name}: {words}{hint}" for words in problems])
        self._tracer = open_tracer(settings, f"dingbridge-{consumer.name}")
        executor = Executor(consumer, self.database, self._tracer)
        self.worker = Worker(consumer, settings, executor, self._metrics, options)

    def stop(self) -> None:
        """Ask ``run`` to return. What is being worked on has ``SHUTDOWN_TIMEOUT_S`` to end, and is cancelled
        then; the offsets are committed, and the group is left. Whatever does not answer
        ``STOP_REST_S`` later is cancelled, too."""
        if self._limit is not None and not self._stopping.is_set():
            now = asyncio.get_running_loop().time()
            self._limit.reschedule(now + self._settings.shutdown_timeout_s + STOP_REST_S)
        self._stopping.set()
        self.worker.stop()

    async def run(self, *, handle_signals: bool = False) -> None:
        """Run until stopped. Raises what ``Consumer.start`` raises, but waits while a dependency is down."""
        try:
            async with asyncio.timeout(None) as limit:
                self._limit = limit
                await self._run(handle_signals)
        except TimeoutError:
            if not limit.expired():
                raise
            log.warning("consumer.stop_timed_out", consumer=self._consumer.name)
        finally:
            self._limit = None
        log.info("consumer.stopped", consumer=self._consumer.name)

    async def _run(self, handle_signals: bool) -> None:
        consumer, settings = self._consumer, self._settings
        if handle_signals:
            loop = asyncio.get_running_loop()
            for number in (signal.SIGTERM, signal.SIGINT):
                loop.add_signal_handler(number, self.stop)
        async with AsyncExitStack() as stack:
            consumer.settings, consumer.registry = settings, self.registry
            if self.database is not None:
                stack.push_async_callback(self.database.close)
                consumer.database = self.database
            budget: ApiCalls | None = None
            # a test may have set a stand-in, and must then not reach DingTalk
            if consumer.clients is None and (opened := await open_clients(settings, stack)) is not None:
                consumer.clients, budget = opened
                stack.callback(setattr, consumer, "clients", None)
            if settings.admin_port is not None:
                admin = AdminServer(
                    settings.admin_host,
                    settings.admin_port,
                    self.registry,
                    ready=self._ready,
                    routes=[web.get("/in-flight", self._in_flight)],
                    names=settings.admin_names,
                )
                await admin.start()
                stack.push_async_callback(admin.stop)
                log.info("consumer.admin_listening", host=admin.host, port=admin.port)
            if self.database is not None:
                tables = partial(self._create_tables, self.database)
                await cancel_on(self._stopping, retry_until_available(tables, consumer.name, self._stopping))
            await cancel_on(
                self._stopping, retry_until_available(consumer.start, consumer.name, self._stopping)
            )
            if self._stopping.is_set():
                return
            stack.push_async_callback(consumer.stop)
            tasks = await stack.enter_async_context(WatchedTasks())
            if self.database is not None:
                topics = topics_read(settings, consumer.topics, consumer.control_topics)
                read = [*topics, inbox_topic(settings, consumer.name)]
                prune = partial(prune_regularly, self.database, consumer.name, settings, read)
                tasks.need(f"of {consumer.name} that prunes the inbox table", prune)
            if budget is not None:
                count = partial(self._show_api_calls, budget)
                tasks.need(f"of {consumer.name} that counts API calls", count)
            names = [*consumer.topics, *consumer.control_topics]
            log.info("consumer.started", consumer=consumer.name, topics=names)
            tasks.need(f"of {consumer.name} beside its events (background)", self._background, may_end=True)
            await self.worker.run()
            if self._tracer is not None:
                await asyncio.to_thread(self._tracer.close)

    async def _create_tables(self, database: Database) -> None:
        await migrate(database, WorkerTables)
        await migrate(database, type(self._consumer))
        registered = await register(database, self._consumer.name)
        self._metrics.fresh_from = registered.since
        await self.worker.begin_on(database, registered.id)

    async def _background(self) -> None:
        """Run ``Consumer.background``. It is left behind if it ignores being cancelled."""
        consumer = self._consumer
        work = asyncio.create_task(retry_until_available(consumer.background, consumer.name, self._stopping))
        try:
            await asyncio.wait([work])
            work.result()
        finally:
            work.cancel()
            await asyncio.wait([work], timeout=self._settings.shutdown_timeout_s)

    async def _ready(self) -> tuple[bool, dict[str, Any]]:
        ready, details = self.worker.state()
        if self.database is None:
            return ready, details
        database = await self.database.answers(2)
        return ready and database, {**details, "database": "answers" if database else "does not answer"}

    async def _in_flight(self, request: web.Request) -> web.Response:
        return json_response(self.worker.in_flight())

    async def _show_api_calls(self, budget: ApiCalls) -> None:
        """Keep the metrics of this month's API calls up to date, so that a scrape waits for no disk."""
        while True:
            spent = await budget.spent()
            self._metrics.api_calls(spent["by_priority"], spent["left"])
            await asyncio.sleep(API_CALLS_EVERY_S)


async def show(consumer: Consumer, settings: ConsumerSettings) -> list[Table]:
    """The consumer's tables as they are now; the consumer may be running elsewhere meanwhile.

    Raises ``BridgeError`` when there is no database yet, or none at all.
    """
    if not consumer.uses_database:
        raise BridgeError(f"consumer {consumer.name} uses no database, so there is nothing to show")
    url = settings.database_url_for(consumer.name)
    hint = f"start it first: dingbridge consume {consumer.name}"
    consumer.settings = settings
    try:
        database = open_database(url, create=False)
        try:
            return await consumer.show(database.reader())
        finally:
            await database.close()
    except DependencyUnavailable as error:
        raise BridgeError(f"{error.reason}; check DATABASE_URL or DATA_DIR, or {hint}") from error
    except DBAPIError as error:
        if is_missing_table(error):
            raise BridgeError(f"consumer {consumer.name} has no tables yet; {hint}") from error
        raise
