"""When no connection of an app was open, and the resync request that follows.

Whether DingTalk keeps events while no connection is open is not documented. So after a time without any, also
across a restart or a kill, the consumers are asked to resync all since. What has to outlive the process
is a note in the journal: until when the events of the app came, or were requested. The request is committed
together with it.
"""

import asyncio
from contextlib import suppress
from typing import Final

import structlog

from dingbridge.ingress.errors import JournalUnavailable
from dingbridge.ingress.journal.rows import ResyncRequest, now_ms
from dingbridge.ingress.journal.writer import Journal
from dingbridge.ingress.metrics import StreamMetrics
from dingbridge.settings.apps import App

log = structlog.get_logger(__name__)

MARGIN_MS: Final = 5 * 60_000
"""What was pushed into a connection whose end was not noticed yet, and what happened before it was pushed."""
REQUEST_EVERY_MS: Final = 3_600_000
"""A request can mean a full sync: at most one in this time, and a later one covers everything since."""
_NOTE_EVERY_S: Final = 10.0


class Gaps:
    """The note of one app. Times are epoch ms."""

    def __init__(self, app: App, journal: Journal, metrics: StreamMetrics, gap_s: float) -> None:
        self._app, self._journal, self._metrics = app, journal, metrics
        self._gap_ms, self._key = gap_s * 1000, f"stream/{app.name}"
        self._closed_ms = self._requested_ms = 0
        self._since_ms: int | None = None  # a request is owed for all since then
        self.open = 0
        """Connections that take events now."""
        self.known = asyncio.Event()
        """Set once the note was read; no connection may open before."""

    def opened(self) -> None:
        """One more connection takes events."""
        self.open += 1
        if self.open > 1:
            return
        if now_ms() - self._closed_ms > self._gap_ms:
            self._since_ms = self._since_ms or self._closed_ms - MARGIN_MS
            self._metrics.gaps.labels(self._app.name).inc()
            log.warning("stream.gap", app=self._app.name, since_ms=self._since_ms)

    def closed(self, unnoticed_s: float = 0.0) -> None:
        """One connection less takes events; it may have been gone for ``unnoticed_s`` already."""
        self.open -= 1
        self._closed_ms = now_ms() - int(unnoticed_s * 1000)

    async def run(self) -> None:
        """Read the note, and write it at once, now and then, and for the last time when cancelled."""
        while not self.known.is_set():
            try:
                await self._read()
            except JournalUnavailable:  # the journal logs it
                await asyncio.sleep(_NOTE_EVERY_S)
        try:
            while True:
                await self._write()
                await asyncio.sleep(_NOTE_EVERY_S)
        finally:
            await self._write()

    async def _read(self) -> None:
        text = (await self._journal.notes(self._key)).get(self._key, "")
        # without a note, as in a new journal, nothing is known of before; the drain of an older one asks
        self._closed_ms = now_ms()
        with suppress(ValueError):
            self._closed_ms, self._requested_ms = map(int, text.split())
        self.known.set()

    async def _write(self) -> None:
        now, since_ms, requests = now_ms(), self._since_ms, list[ResyncRequest]()
        until_ms, requested_ms = now if self.open else self._closed_ms, self._requested_ms
        if since_ms is not None:
            if 0 <= now - requested_ms < REQUEST_EVERY_MS:
                return  # the note still says until when events came
            app, reason = self._app, "Stream: for a time no connection was open"
            id = f"stream/{app.name}/{since_ms}"  # one that is committed twice is one request
            requests.append(ResyncRequest(id, reason, app.name, app.corp_id, since_ms))
            requested_ms, self._since_ms = now, None
        try:
            await self._journal.commit(requests, {self._key: f"{until_ms} {requested_ms}"})
        except JournalUnavailable:
            self._since_ms = since_ms or self._since_ms  # still owed, and with it a gap since then
            return
        self._requested_ms = requested_ms
        if requests:
            log.warning("stream.resync_requested", app=self._app.name, since_ms=since_ms)
