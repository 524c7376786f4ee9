"""Puts the ingress together, in the order in which a callback travels, and takes it down again.

The journal is open and the folder is ours before anything listens; Kafka may be absent. At the end: accept
nothing new, answer what was accepted, let the relay finish what is under way, close the journal.
"""

import asyncio
import signal
import time
from typing import Any

import structlog

from dingbridge.admin_token import admin_token
from dingbridge.health_server import AdminServer
from dingbridge.ingress.admin.routes import retention, routes, verbs
from dingbridge.ingress.callback import CallbackReceiver
from dingbridge.ingress.credentials import CredentialsWatcher
from dingbridge.ingress.diagnostics import Diagnostics
from dingbridge.ingress.errors import JournalDamaged, JournalUnavailable
from dingbridge.ingress.journal.drain import Drainer
from dingbridge.ingress.journal.folder import prepare_folder, rename_damaged
from dingbridge.ingress.journal.inspect import JournalStatus, journal_status
from dingbridge.ingress.journal.locks import journal_lock
from dingbridge.ingress.journal.writer import Journal
from dingbridge.ingress.metrics import (
    FolderMetrics,
    HttpMetrics,
    JournalMetrics,
    RecoveryMetrics,
    StreamMetrics,
    process_registry,
)
from dingbridge.ingress.recovery.apps import Recovery
from dingbridge.ingress.relay.relay import Relay
from dingbridge.ingress.relay.status import RelayStatus
from dingbridge.ingress.server import PublicServer
from dingbridge.ingress.stream.client import Streams
from dingbridge.settings import IngressSettings
from dingbridge.tasks import WatchedTasks

log = structlog.get_logger(__name__)

_STATUS_EVERY_S = 2.0


class Ingress:
    """An ingress with a journal, a relay, two listeners and Stream connections."""

    def __init__(self, settings: IngressSettings) -> None:
        """Raises ``JournalError`` when the journal's folder cannot be used, ``SettingsError`` for the apps
        file."""
        self._settings = settings
        self._folder = settings.journal_path
        warning = prepare_folder(self._folder, allow_unsafe=settings.journal_allow_unsafe)
        if warning is not None:
            log.warning("journal.unsafe", words=warning)
        registry = process_registry()
        self._folder_metrics = FolderMetrics(registry)
        http = HttpMetrics(registry)
        self._journal = journal = Journal(self._folder, retention(settings), JournalMetrics(registry))
        self._drainer = Drainer(journal)
        diagnostics = Diagnostics()
        self._public = PublicServer(settings, CallbackReceiver(settings, journal, http, diagnostics), http)
        self._credentials = credentials = CredentialsWatcher(settings, self._public.serve, http)
        self._relay = Relay(settings, lambda: credentials.companies, journal, RelayStatus(registry))
        self._recovery = Recovery(settings, lambda: credentials.apps, journal, RecoveryMetrics(registry))
        stream = StreamMetrics(registry, http.callbacks)
        self._streams = Streams(settings, lambda: credentials.apps, journal, stream)
        self._admin = AdminServer(
            settings.admin_host,
            settings.admin_port,
            registry,
            ready=self.ready,
            routes=[
                *routes({**verbs(self._drainer, self._relay), "recover": self._recovery.verb}),
                *diagnostics.routes(),
                self._credentials.route(),
                self._streams.route(),
            ],
            token=admin_token(settings.data_dir),
            names=settings.admin_names,
        )

    async def run(self) -> None:
        """Serve until SIGTERM or SIGINT. Raises ``BridgeError`` when it cannot begin, or when the journal is
        damaged or a task that it needs has ended."""
        stop, loop = asyncio.Event(), asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, stop.set)
        with journal_lock(self._folder):
            try:
                async with WatchedTasks() as tasks:
                    await self._journal.start()
                    try:
                        await self._begin(tasks)
                        await stop.wait()
                    finally:
                        await self._stop()
            except JournalDamaged as damage:  # the next start begins an empty journal, and drains this one
                rename_damaged(self._folder, str(damage))
                raise

    async def _begin(self, tasks: WatchedTasks) -> None:
        settings = self._settings
        tasks.need("that waits for damage of the journal", self._journal.until_damaged)
        self._recovery.start(tasks)
        await self._admin.start()
        callback = await self._listen()
        self._streams.start(tasks)
        tasks.need("that publishes the journal", self._relay.run)
        tasks.need("that measures the journal", self._measure)
        tasks.need("that drains journals put aside", self._drainer.run)
        tasks.need("that deletes what is old from the journal", self._journal.prune_regularly)
        if settings.dingtalk_apps_file is not None:
            tasks.need("that follows the apps' file", self._credentials.watch)
        log.info(
            "ingress.ready",
            callback=callback,
            admin=f"http://{self._admin.host}:{self._admin.port}",
            journal=str(self._folder),
            kafka=settings.kafka_bootstrap_servers,
        )

    async def _listen(self) -> str | None:
        """Where callbacks come to; nowhere if the only app is in Stream mode."""
        settings = self._settings
        if settings.dingtalk_mode == "stream" and settings.dingtalk_apps_file is None:
            return None
        port = await self._public.start(
            settings.ingress_host, settings.ingress_port, reuse_port=settings.ingress_reuse_port
        )
        return f"http://{settings.ingress_host}:{port}{settings.callback_path}"

    async def _stop(self) -> None:
        began = time.monotonic()
        budget = self._settings.shutdown_timeout_s
        log.info("ingress.stopping", within_s=budget)
        await asyncio.gather(self._public.stop(), self._streams.stop(budget / 4))
        await asyncio.gather(self._recovery.stop(1), self._relay.stop())
        await asyncio.gather(self._journal.stop(budget / 4), self._admin.stop(budget / 4))
        log.info("ingress.stopped", after_s=round(time.monotonic() - began, 2))

    async def ready(self) -> tuple[bool, dict[str, Any]]:
        """Ready means: the journal takes a write. Kafka may be away, and callbacks are kept meanwhile."""
        kafka = self._relay.status.as_json()
        try:
            await self._journal.probe()
        except JournalUnavailable as error:
            return False, {"journal": {"takes_writes": False, "words": str(error)}, "kafka": kafka}
        status = await self._status()
        details = {"words": status} if isinstance(status, str) else status.as_json()
        return True, {"journal": {"takes_writes": True, **details}, "kafka": kafka}

    async def _measure(self) -> None:
        while True:
            if isinstance(status := await self._status(), str):
                log.warning("journal.status_failed", error=status)
            else:
                status.show(self._folder_metrics)
            await asyncio.sleep(_STATUS_EVERY_S)

    async def _status(self) -> JournalStatus | str:
        """The journal's status; the name of the error if it cannot be read just now."""
        try:
            return await asyncio.to_thread(journal_status, self._folder)
        except Exception as error:  # nobody needs it: it must not end the ingress
            return type(error).__name__
