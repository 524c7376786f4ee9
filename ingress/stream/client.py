"""The connections of the apps in Stream mode: opens them, replaces them, hands over from one to the next.

Each of an app's ``STREAM_CONNECTIONS`` is a task of its own. After a ``disconnect``, or when no frame comes
any more, the new connection is opened before the old one is closed. A lost connection is opened again after a
pause that grows. Apps come and go, and change their mode, with ``DINGTALK_APPS_FILE`` while the ingress runs.
"""

import asyncio
import time
from collections.abc import Mapping
from contextlib import suppress
from typing import Any, Final

import aiohttp
import structlog
from aiohttp import web

from dingbridge.dingtalk.gateway import open_connection
from dingbridge.dingtalk.transport import Transport
from dingbridge.errors import BridgeError
from dingbridge.health_server import json_response
from dingbridge.ingress.callback import accept
from dingbridge.ingress.errors import JournalUnavailable
from dingbridge.ingress.journal.writer import Journal
from dingbridge.ingress.metrics import StreamMetrics
from dingbridge.ingress.per_app import Apps, PerApp
from dingbridge.ingress.stream.connection import Connection, connect
from dingbridge.ingress.stream.frames import Frame, Status, new_callback
from dingbridge.ingress.stream.gaps import Gaps
from dingbridge.logging import LogLimiter, place_of
from dingbridge.retry import delay
from dingbridge.settings import IngressSettings
from dingbridge.settings.apps import App
from dingbridge.tasks import WatchedTasks, end
from dingbridge.worker.api.budget import ApiCalls

log = structlog.get_logger(__name__)

OPEN_S: Final = 10.0
"""For one call that asks for a connection."""
HANDOVER_S: Final = 10.0
"""An old connection is read for so long at most, once the new one is open: DingTalk closes it about 10 s
after its ``disconnect`` (protocol.md)."""
LASTED_S: Final = 60.0
"""A connection that lasted so long was a good one: the next failure counts as the first."""
PAUSE_S: Final = 0.5
PAUSE_MAX_S: Final = 60.0
"""Between attempts that fail, first and at most."""


class StreamClient:
    """The connections of one app in one process. Each is opened, and opened again, by one of ``tasks``."""

    def __init__(
        self,
        app: App,
        settings: IngressSettings,
        journal: Journal,
        metrics: StreamMetrics,
        tasks: WatchedTasks,
    ) -> None:
        self.app = app
        self._key, self._secret = app.api_credentials()
        self._settings, self._journal, self._metrics, self._tasks = settings, journal, metrics, tasks
        self._limiter = LogLimiter()
        self._session = aiohttp.ClientSession(headers={"User-Agent": "dingbridge"})
        self._calls = ApiCalls.of(settings, self._key)
        self._transport = Transport(
            settings.dingtalk_api_base,
            self._session,
            timeout_s=OPEN_S,
            new_base=settings.new_api_base,
            budget=self._calls,
        )
        self._connections: set[Connection] = set()
        self._last_frame_at: float | None = None
        self._events = 0
        self._refused: str | None = None
        self._gaps = gaps = Gaps(app, journal, metrics, settings.stream_gap_s)
        metrics.last_frame.labels(app.name).set(0)
        metrics.connections.labels(app.name).set_function(lambda: gaps.open)
        self._noting = tasks.need(f"that notes gaps of {app.name}", gaps.run)
        name = f"that keeps a Stream connection of {app.name}"
        self._slots = [tasks.need(name, self._keep_one) for _ in range(settings.stream_connections)]

    async def stop(self, within_s: float) -> None:
        """Read nothing more, answer what was taken, close, and note until when there were connections;
        ``within_s`` at most, on a disk that hangs without the note."""
        await end(*self._slots)
        with suppress(TimeoutError):
            async with asyncio.timeout(within_s):
                await asyncio.gather(*(one.close() for one in self._connections))
                await end(self._noting)
        self._noting.cancel()
        await self._session.close()
        await self._calls.close()

    def as_json(self) -> dict[str, Any]:
        """``GET /stream``: what there is now. ``refused``: why the last attempt to open one failed."""
        ago = None if self._last_frame_at is None else round(time.monotonic() - self._last_frame_at, 1)
        now = {"connections": self._gaps.open, "last_frame_s": ago, "events": self._events}
        return {**now, "refused": self._refused}

    async def _keep_one(self) -> None:
        """Keep one connection open, until cancelled."""
        await self._gaps.known.wait()
        failures, old = 0, None
        while True:
            began = time.monotonic()
            try:
                connection = await self._connect()
            except BridgeError as error:
                reason = "refused"
                self._refused = str(error)
                log.warning("stream.refused", app=self.app.name, reason=self._refused)
            else:
                if old is not None:
                    self._leave(old)
                reason, old = await self._use(connection), connection
            lasted = time.monotonic() - began >= LASTED_S and reason != "refused"
            failures = 0 if lasted or reason == "silent" else failures + 1
            self._metrics.reconnects.labels(self.app.name, reason).inc()
            if failures > 1 or reason in ("lost", "refused"):
                await asyncio.sleep(delay(max(failures, 1), PAUSE_S, PAUSE_MAX_S))

    async def _connect(self) -> Connection:
        """Raises ``BridgeError``."""
        socket = await connect(self._session, await open_connection(self._transport, self._key, self._secret))
        self._refused = None
        silent_s, name = self._settings.stream_watchdog_s, self.app.name
        connection = Connection(name, socket, self._keep, self._note_frame, self._tasks, silent_s)
        self._connections.add(connection)
        return connection

    async def _use(self, connection: Connection) -> str:
        """Why another one is needed, once one is."""
        self._gaps.opened()
        log.info("stream.opened", app=self.app.name)
        try:
            return await connection.ended
        finally:
            self._gaps.closed(connection.unnoticed_s)

    def _leave(self, connection: Connection) -> None:
        """Close it, once DingTalk has, or after ``HANDOVER_S``."""

        async def leave() -> None:
            await asyncio.wait({connection.reading}, timeout=HANDOVER_S)
            await connection.close()
            self._connections.discard(connection)

        self._tasks.need(f"that closes a Stream connection of {self.app.name}", leave, may_end=True)

    async def _keep(self, frame: Frame) -> Status:
        """The answer: ``SUCCESS`` once the event is on the disk."""
        self._events += 1
        try:
            # Invariant 1: SUCCESS is returned only after this
            await accept(self._journal, new_callback(frame, self.app.name), self._metrics.callbacks)
        except Exception as error:
            reason, words = "fault", f"a fault of ours ({type(error).__name__} at {place_of(error)})"
            if isinstance(error, JournalUnavailable):
                reason, words = error.reason, str(error)
            self._metrics.callbacks.labels("unavailable", reason, "", "stream").inc()
            if (suppressed := self._limiter.allow(reason)) is not None:
                log.warning(
                    "stream.later", app=self.app.name, reason=reason, words=words, suppressed=suppressed
                )
            return "LATER"
        return "SUCCESS"

    def _note_frame(self) -> None:
        self._last_frame_at = time.monotonic()
        self._metrics.last_frame.labels(self.app.name).set(time.time())


class Streams(PerApp[StreamClient]):
    """Stream mode in one ingress process. As it stops, the journal must still take writes."""

    what = "in Stream mode"

    def __init__(
        self, settings: IngressSettings, apps: Apps, journal: Journal, metrics: StreamMetrics
    ) -> None:
        super().__init__(apps)
        self._settings, self._journal, self._metrics = settings, journal, metrics

    def route(self) -> web.RouteDef:
        """``GET /stream`` on the private listener: ``{"apps": {name: {"connections": 2, "last_frame_s": 3.1,
        "events": 12, "refused": null}}}``, see ``StreamClient.as_json``."""

        async def show(request: web.Request) -> web.Response:
            return json_response({"apps": {name: one.as_json() for name, one in self.each.items()}})

        return web.get("/stream", show)

    def wanted(self, apps: Mapping[str, App]) -> Mapping[str, App]:
        return {name: app for name, app in apps.items() if app.mode == "stream"}

    def begin(self, app: App) -> StreamClient:
        return StreamClient(app, self._settings, self._journal, self._metrics, self._tasks)

    async def gone(self, name: str) -> None:
        self._metrics.forget(name)
