"""The life of one consumer's process: database, Open API client, private listener, worker, and a clean end.

Joining these parts is all that is here; each has a module of its own.
"""

import asyncio
import difflib
import signal
from collections.abc import Sequence
from contextlib import AsyncExitStack
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any

import structlog
from aiohttp import web
from prometheus_client import CollectorRegistry
from sqlalchemy.exc import DBAPIError

from dingbridge.api_budget import ApiCalls
from dingbridge.contract_routes import contract_routes
from dingbridge.error_location import error_location
from dingbridge.errors import BridgeError, KafkaUnavailable, SettingsError
from dingbridge.events.catalogue import UNCLASSIFIED, catalogue
from dingbridge.health_server import AdminServer, json_response
from dingbridge.kafka.topics import inbox_topic, topics_read
from dingbridge.settings import ConsumerSettings
from dingbridge.tracing import open_tracer
from dingbridge.worker.api.clients import open_clients
from dingbridge.worker.consumer import Consumer, Table
from dingbridge.worker.executor import CANCEL_GRACE_S, Executor
from dingbridge.worker.metrics import WorkerMetrics
from dingbridge.worker.outcomes import Conflict, DependencyUnavailable
from dingbridge.worker.store import inbox, outbox
from dingbridge.worker.store.database import Database, open_database
from dingbridge.worker.store.errors import is_missing_table
from dingbridge.worker.store.migrations import WorkerTables, migrate
from dingbridge.worker.store.retention import Retention, longest_retention
from dingbridge.worker.supervise import being_cancelled, cancel_on, retry_until_available, run_forever
from dingbridge.worker.worker import Worker, WorkerOptions

log = structlog.get_logger(__name__)

PRUNE_INTERVAL_S = 3600
API_CALLS_EVERY_S = 10
PRUNE_RETRY_S = 30
"""When Kafka or the database did not do it, in s: the retention is to be known soon after the start."""


class ConsumerFault(BridgeError):
    """A consumer that cannot go on by a fault of its own code; the message names type and place."""


class ConsumerService:
    """One consumer, from start to stop. ``run`` returns after ``stop`` or a SIGTERM/SIGINT."""

    def __init__(
        self, consumer: Consumer, settings: ConsumerSettings, options: WorkerOptions | None = None
    ) -> None:
        """Raises ``SettingsError`` for a database address or topics that cannot work."""
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
        if not (consumer.topics or consumer.control_topics):
            raise SettingsError([f"consumer {consumer.name} names no topics; set the class's `topics`"])
        self._tracer = open_tracer(settings, f"dingbridge-{consumer.name}")
        executor = Executor(consumer, self.database, self._tracer)
        self.worker = Worker(consumer, settings, executor, self._metrics, options)

    def stop(self) -> None:
        """Ask ``run`` to return: what is being worked on is finished, within ``SHUTDOWN_TIMEOUT_S``."""
        self._stopping.set()
        self.worker.stop()

    async def run(self, *, handle_signals: bool = False) -> None:
        """Run until stopped. Raises what ``Consumer.start`` raises, but waits while the world is down."""
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
            if (opened := await open_clients(settings, stack)) is not None:
                consumer.clients, budget = opened
            if settings.admin_port is not None:
                admin = AdminServer(
                    settings.admin_host,
                    settings.admin_port,
                    self.registry,
                    ready=self._ready,
                    routes=[*contract_routes(settings), web.get("/in-flight", self._in_flight)],
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
            if self.database is not None:
                prune = partial(self._prune_regularly, self.database)
                stack.callback(asyncio.create_task(run_forever(prune, consumer.name, "pruning")).cancel)
            if budget is not None:
                count = partial(self._show_api_calls, budget)
                stack.callback(asyncio.create_task(run_forever(count, consumer.name, "api calls")).cancel)
            topics = [*consumer.topics, *consumer.control_topics]
            log.info("consumer.started", consumer=consumer.name, topics=topics)
            _say_unknown(consumer.name, consumer.topics)
            background = asyncio.create_task(self._run_background())
            try:
                await self.worker.run()
            finally:
                background.cancel()
                await asyncio.wait([background], timeout=settings.shutdown_timeout_s)
            if self._tracer is not None:
                await asyncio.to_thread(self._tracer.close)
            if background.done() and not background.cancelled():
                background.result()
        log.info("consumer.stopped", consumer=consumer.name)

    async def _create_tables(self, database: Database) -> None:
        await migrate(database, WorkerTables)
        await migrate(database, type(self._consumer))
        began_at = await inbox.begins_at(database.reader(), self._consumer.name)
        self._metrics.fresh_from = began_at or datetime.now(UTC)

    async def _run_background(self) -> None:
        """``Consumer.background``; an error in it ends the process, since half of a consumer is none."""
        consumer = self._consumer
        try:
            await retry_until_available(consumer.background, consumer.name, self._stopping)
        except BridgeError:
            self.stop()
            raise
        except (Exception, asyncio.CancelledError) as error:
            if isinstance(error, asyncio.CancelledError) and being_cancelled():
                raise
            self.stop()
            where = error_location(error, type(consumer).__module__.split(".")[0])
            raise ConsumerFault(
                f"consumer {consumer.name}: its background work failed ({where}), and it does not run "
                "without; fix that and start it again, nothing is lost meanwhile"
            ) from error

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

    async def _prune_regularly(self, database: Database) -> None:
        """Delete inbox rows that no record can ask for any more, by what Kafka says of the topics' retention:
        at the start and every hour."""
        consumer, settings = self._consumer, self._settings
        topics = topics_read(settings, consumer.topics, consumer.control_topics)
        topics.append(inbox_topic(settings, consumer.name))
        said: Retention | None = None
        while True:
            wait_s = PRUNE_INTERVAL_S
            try:
                retention = await longest_retention(settings, topics)
                if retention != said:
                    said = retention
                    _say(consumer.name, retention)
                if retention.longest is not None:
                    oldest = datetime.now(UTC) - retention.longest - inbox.KEEP_BEYOND_RETENTION
                    rows = await inbox.prune(database, consumer.name, oldest)
                    await outbox.prune(database, consumer.name, oldest)
                    log.info("consumer.inbox_pruned", consumer=consumer.name, rows=rows)
            except (DependencyUnavailable, Conflict, KafkaUnavailable, DBAPIError) as error:
                # of another member that prunes at the same moment, PostgreSQL rolls one back
                reason = error_location(error, "consumers") if isinstance(error, DBAPIError) else str(error)
                log.warning("consumer.inbox_not_pruned", consumer=consumer.name, reason=reason)
                wait_s = PRUNE_RETRY_S
            await asyncio.sleep(wait_s)


def _say_unknown(consumer: str, topics: Sequence[str]) -> None:
    """An EventType that is new at DingTalk is fine; one that is misspelt would wait in silence for ever."""
    for topic in topics:
        if topic not in catalogue and topic != UNCLASSIFIED:
            log.warning(
                "consumer.unknown_event_type",
                consumer=consumer,
                event_type=topic,
                near=difflib.get_close_matches(topic, catalogue, 1),
                meaning="this version knows no EventType of this name; misspelt, it never comes",
            )


def _say(consumer: str, retention: Retention) -> None:
    """How long inbox rows are kept, and why, whenever that is not what it was."""
    if retention.longest is None:
        log.warning(
            "consumer.inbox_kept_for_ever",
            consumer=consumer,
            meaning="a topic keeps its records for ever, so the table of applied events only grows; "
            "give the topic a retention.ms",
        )
    else:
        days = (retention.longest + inbox.KEEP_BEYOND_RETENTION) / timedelta(days=1)
        log.info("consumer.inbox_kept", consumer=consumer, days=round(days, 1))
    if retention.untold:
        log.warning(
            "consumer.retention_unknown",
            consumer=consumer,
            topics=retention.untold,
            meaning="Kafka does not tell their retention (no right to DESCRIBE_CONFIGS); it is taken from "
            "TOPIC_RETENTION_DAYS and its like. If they keep records for longer, an event that is read again "
            "so late is applied twice: grant the right, or set them as the topics are",
        )


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
