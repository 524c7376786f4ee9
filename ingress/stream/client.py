"""The connections of one app in Stream mode: opens them, replaces them, hands over from one to the next.

Each of ``STREAM_CONNECTIONS`` is a task of its own. On a ``disconnect``, or when nothing comes any more, the
new connection is opened before the old one is closed; a lost one is opened again after a pause that grows.
"""

import asyncio
import time
from contextlib import suppress
from typing import Any, Final, Literal

import aiohttp
import structlog

from dingbridge.dingtalk.gateway import open_connection
from dingbridge.dingtalk.transport import Transport
from dingbridge.errors import BridgeError
from dingbridge.ingress.callback import accept
from dingbridge.ingress.errors import JournalUnavailable
from dingbridge.ingress.journal.writer import Journal
from dingbridge.ingress.metrics import StreamMetrics
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

Reason = Literal["disconnect", "silent", "lost", "refused"]

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
    """One app's connections in one process, each kept by one of ``tasks``."""

    def __init__(
        self,
        app: App,
        settings: IngressSettings,
        journal: Journal,
        gaps: Gaps,
        metrics: StreamMetrics,
        tasks: WatchedTasks,
    ) -> None:
        self.app = app
        self._key, self._secret = app.api_credentials()
        self._settings, self._journal, self._gaps = settings, journal, gaps
        self._metrics, self._tasks = metrics, tasks
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
        metrics.last_frame.labels(app.name).set(0)
        metrics.connections.labels(app.name).set_function(lambda: gaps.open)
        name = f"that keeps a Stream connection of {app.name}"
        self._slots = [tasks.need(name, self._keep_one) for _ in range(settings.stream_connections)]

    async def stop(self, within_s: float) -> None:
        """Read nothing more, answer what was taken, close; ``within_s`` at most."""
        await end(*self._slots)
        with suppress(TimeoutError):
            async with asyncio.timeout(within_s):
                await asyncio.gather(*(one.close() for one in self._connections))
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
        failures, wait_s = 0, 0.0
        old: Connection | None = None
        while True:
            await asyncio.sleep(wait_s)
            try:
                connection = await self._connect()
            except BridgeError as error:
                reason: Reason = "refused"
                failures += 1
                self._refused = str(error)
                log.warning("stream.refused", app=self.app.name, reason=self._refused)
            else:
                if old is not None:
                    self._leave(old)
                    old = None
                reason = await self._use(connection)
                lasted = time.monotonic() - connection.opened_at >= LASTED_S
                failures = 0 if lasted or reason == "silent" else failures + 1
                if reason == "lost":
                    self._leave(connection)
                else:
                    old = connection
            self._metrics.reconnects.labels(self.app.name, reason).inc()
            at_once = reason in ("disconnect", "silent") and failures < 2
            wait_s = 0.0 if at_once else delay(max(failures, 1), PAUSE_S, PAUSE_MAX_S)

    async def _connect(self) -> Connection:
        """Raises ``BridgeError``."""
        socket = await connect(self._session, await open_connection(self._transport, self._key, self._secret))
        self._refused = None
        connection = Connection(self.app.name, socket, self._keep, self._note_frame, self._tasks)
        self._connections.add(connection)
        return connection

    async def _use(self, connection: Connection) -> Reason:
        """Why another one is needed, once one is."""
        self._gaps.opened()
        log.info("stream.opened", app=self.app.name)
        silent_s = self._settings.stream_watchdog_s
        try:
            while not connection.ended.done():
                left_s = connection.last_frame_at + silent_s - time.monotonic() if silent_s else None
                if left_s is not None and left_s <= 0:
                    log.warning("stream.silent", app=self.app.name, for_s=silent_s)
                    return "silent"
                await asyncio.wait({connection.ended}, timeout=left_s)
            return connection.ended.result()
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
