"""The life of one consumer's process: database, Open API client, private listener, worker, and a clean end.

Joining these parts is all that is here; each has a module of its own.
"""

import asyncio
import signal
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from datetime import UTC, datetime
from typing import Any

import structlog
from prometheus_client import CollectorRegistry
from sqlalchemy.exc import DBAPIError

from bridge.admin import AdminServer
from bridge.api_calls import ApiCalls
from bridge.errors import BridgeError, KafkaUnavailable, SettingsError
from bridge.settings import ConsumerSettings
from bridge.topics import event_topic, inbox_topic
from consumers.runtime import inbox
from consumers.runtime.backoff import world_delay
from consumers.runtime.consumer import Consumer, Table
from consumers.runtime.database import Database, open_database
from consumers.runtime.database_errors import is_missing_table
from consumers.runtime.metrics import WorkerMetrics
from consumers.runtime.migrations import migrate
from consumers.runtime.outcomes import WorldDown
from consumers.runtime.process import Processor
from consumers.runtime.retention import longest_retention
from consumers.runtime.worker import Worker, WorkerOptions
from dingtalk.api import DingTalkClient

log = structlog.get_logger(__name__)

PRUNE_INTERVAL_S = 3600


class ConsumerService:
    """One consumer, from start to stop. ``run`` returns after ``stop`` or a SIGTERM/SIGINT."""

    def __init__(
        self, consumer: Consumer, settings: ConsumerSettings, options: WorkerOptions | None = None
    ) -> None:
        """Raises ``SettingsError`` for a database address or topics that cannot work."""
        self.registry = CollectorRegistry()
        self.database: Database = open_database(settings.database_url_for(consumer.name))
        self._consumer, self._settings = consumer, settings
        self._metrics = WorkerMetrics(consumer.name, self.registry)
        self._stopping = asyncio.Event()
        if not consumer.topics:
            raise SettingsError([f"consumer {consumer.name} names no topics; set the class's `topics`"])
        self.worker = Worker(consumer, settings, Processor(consumer, self.database), self._metrics, options)

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
            stack.push_async_callback(self.database.close)
            consumer.settings, consumer.database = settings, self.database
            if settings.dingtalk_app_key and settings.dingtalk_app_secret:
                key, secret = settings.api_credentials()
                budget = ApiCalls.of(settings)
                stack.callback(budget.close)
                consumer.dingtalk = await stack.enter_async_context(
                    DingTalkClient(
                        app_key=key, app_secret=secret, base=settings.dingtalk_api_base, budget=budget
                    )
                )
            if settings.admin_port is not None:
                admin = AdminServer(
                    settings.admin_host, settings.admin_port, self.registry, ready=self._ready
                )
                await admin.start()
                stack.push_async_callback(admin.stop)
                log.info("consumer.admin_listening", host=admin.host, port=admin.port)
            await self._patiently(self._create_tables)
            await self._patiently(consumer.start)
            if self._stopping.is_set():
                return
            stack.push_async_callback(consumer.stop)
            pruning = asyncio.create_task(self._prune_regularly())
            stack.callback(pruning.cancel)
            log.info("consumer.started", consumer=consumer.name, topics=list(consumer.topics))
            await self.worker.run()
        log.info("consumer.stopped", consumer=consumer.name)

    async def _create_tables(self) -> None:
        await self.database.create_tables(inbox.metadata)
        await migrate(self.database, type(self._consumer))

    async def _patiently(self, step: Callable[[], Awaitable[None]]) -> None:
        """Run ``step``, again and again while the world is down, until we are asked to stop."""
        failures = 0
        while not self._stopping.is_set():
            try:
                await step()
                return
            except BridgeError as error:
                if not (isinstance(error, WorldDown) or getattr(error, "world_down", False)):
                    raise
                failures += 1
                wait = world_delay(failures, None)
                reason = error.reason if isinstance(error, WorldDown) else type(error).__name__
                log.warning(
                    "consumer.waiting",
                    consumer=self._consumer.name,
                    reason=reason,
                    retry_in_s=round(wait, 1),
                )
                try:
                    await asyncio.wait_for(self._stopping.wait(), wait)
                except TimeoutError:
                    continue

    async def _ready(self) -> tuple[bool, dict[str, Any]]:
        ready, details = self.worker.state()
        database = await self.database.answers(2)
        return ready and database, {**details, "database": "answers" if database else "does not answer"}

    async def _prune_regularly(self) -> None:
        consumer, settings = self._consumer, self._settings
        topics = [event_topic(settings, t) for t in consumer.topics] + [inbox_topic(settings, consumer.name)]
        while True:
            try:
                keep = await longest_retention(settings, topics)
                if keep is not None:
                    oldest = datetime.now(UTC) - keep - inbox.KEEP_BEYOND_RETENTION
                    rows = await inbox.prune(self.database, consumer.name, oldest)
                    log.info("consumer.inbox_pruned", consumer=consumer.name, rows=rows)
            except (WorldDown, KafkaUnavailable) as error:
                log.warning("consumer.inbox_not_pruned", consumer=consumer.name, reason=str(error))
            await asyncio.sleep(PRUNE_INTERVAL_S)


async def show(consumer: Consumer, settings: ConsumerSettings) -> list[Table]:
    """The consumer's tables as they are now; the consumer may be running elsewhere meanwhile.

    Raises ``BridgeError`` when there is no database yet.
    """
    url = settings.database_url_for(consumer.name)
    hint = f"start it first: dingbridge consume {consumer.name}"
    consumer.settings = settings
    try:
        database = open_database(url, create=False)
        try:
            return await consumer.show(database.reader())
        finally:
            await database.close()
    except WorldDown as error:
        raise BridgeError(f"{error.reason}; check DATABASE_URL or DATA_DIR, or {hint}") from error
    except DBAPIError as error:
        if is_missing_table(error):
            raise BridgeError(f"consumer {consumer.name} has no tables yet; {hint}") from error
        raise
