"""When no connection of an app was open, and the resync request that follows.

Whether DingTalk keeps events while no connection is open is not documented. So after a time without any, also
across a restart or a kill, the consumers are asked to resync all since. What has to outlive the process
is a note in the journal; the request is committed together with it.
"""

import asyncio
import json
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from typing import Final

import structlog

from dingbridge.ingress.errors import JournalUnavailable
from dingbridge.ingress.journal.rows import ResyncRequest, now_ms
from dingbridge.ingress.journal.writer import Journal
from dingbridge.ingress.metrics import StreamMetrics

log = structlog.get_logger(__name__)

MARGIN_MS: Final = 5 * 60_000
"""What was pushed into a connection whose end was not noticed yet, and what happened before it was pushed."""
REQUEST_EVERY_MS: Final = 3_600_000
"""A request can mean a full sync: at most one in this time, and a later one covers everything since."""
_NOTE_EVERY_S: Final = 10.0


@dataclass(frozen=True, slots=True)
class Note:
    """What is known of an app's connections, in epoch ms. ``open_until_ms``: until then one was open, at
    least. ``since_ms``: a request is owed for all since then. ``requested_ms``: of the last one."""

    open_until_ms: int
    since_ms: int | None = None
    requested_ms: int | None = None

    def opened(self, now: int, gap_ms: float) -> "Note":
        """A connection is open again. After more than ``gap_ms`` without any, a request is owed for all since
        the last one, and for what was owed already."""
        if now - self.open_until_ms <= gap_ms:
            return replace(self, open_until_ms=now)
        since_ms = self.open_until_ms - MARGIN_MS
        return replace(self, open_until_ms=now, since_ms=min(since_ms, self.since_ms or since_ms))

    def due(self, now: int) -> bool:
        """Whether what is owed may be requested now. A clock that was set back delays nothing."""
        last = self.requested_ms
        return self.since_ms is not None and not (last is not None and 0 <= now - last < REQUEST_EVERY_MS)


class Gaps:
    """The note of one app in one process. ``corp_id`` goes into requests."""

    def __init__(self, app: str, journal: Journal, metrics: StreamMetrics, gap_s: float) -> None:
        self.corp_id: str | None = None
        self._app, self._journal, self._metrics = app, journal, metrics
        self._gap_ms, self._key = gap_s * 1000, f"stream/{app}"
        self._note: Note | None = None
        self._changed = asyncio.Event()
        self.open = 0
        """Connections that take events now."""
        self.known = asyncio.Event()
        """Set once the note was read; no connection may open before."""

    def opened(self) -> None:
        """One more connection takes events."""
        now, self.open = now_ms(), self.open + 1
        if self.open > 1:
            return
        before = self._note or Note(now)
        self._note = before.opened(now, self._gap_ms)
        if now - before.open_until_ms > self._gap_ms:
            self._metrics.gaps.labels(self._app).inc()
            log.warning("stream.gap", app=self._app, since_ms=self._note.since_ms)
        self._changed.set()

    def closed(self, unnoticed_s: float = 0.0) -> None:
        """One connection less takes events; it may have been gone for ``unnoticed_s`` already."""
        self.open -= 1
        if not self.open and self._note is not None:
            self._note = replace(self._note, open_until_ms=now_ms() - int(unnoticed_s * 1000))
            self._changed.set()

    async def run(self) -> None:
        """Read the note, and write it whenever it has changed, until cancelled: then for the last time."""
        await self._read()
        try:
            while True:
                await self._write()
                await self._wait()
        finally:
            await self._write()

    async def _wait(self) -> None:
        with suppress(TimeoutError):
            async with asyncio.timeout(_NOTE_EVERY_S):
                await self._changed.wait()
        self._changed.clear()

    async def _read(self) -> None:
        while not self.known.is_set():
            try:
                text = (await self._journal.notes(self._key)).get(self._key)
            except JournalUnavailable:  # the journal logs it
                await self._wait()
                continue
            # without a note, as in a new journal, nothing is known of before; the drain of an older one asks
            self._note = Note(now_ms())
            with suppress(TypeError, ValueError):
                self._note = Note(**json.loads(text or ""))
            self.known.set()

    async def _write(self) -> None:
        if self._note is None:
            return
        now, requests = now_ms(), list[ResyncRequest]()
        if self.open:
            self._note = replace(self._note, open_until_ms=now)
        before = self._note
        if self.open and before.since_ms is not None and before.due(now):
            requests.append(self._request(before.since_ms))
            self._note = replace(before, since_ms=None, requested_ms=now)
        try:
            await self._journal.commit(requests, {self._key: json.dumps(asdict(self._note))})
        except JournalUnavailable:
            if requests:  # still owed; a gap since then is a later one
                self._note = replace(self._note, since_ms=before.since_ms, requested_ms=before.requested_ms)
            return
        for one in requests:
            log.warning("stream.resync_requested", app=self._app, since_ms=one.since_ms)

    def _request(self, since_ms: int) -> ResyncRequest:
        """The same ``since_ms`` gives the same id: a request that is written twice is one."""
        last = datetime.fromtimestamp(since_ms // 1000, UTC).isoformat()
        reason = f"Stream: for a time after {last} no connection was open"
        return ResyncRequest(f"stream/{self._app}/{since_ms}", reason, self._app, self.corp_id, since_ms)
