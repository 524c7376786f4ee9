"""When no connection of an app was open, and the order to look anew that follows.

Whether DingTalk keeps events while no connection is open is not documented. So after a time without any, also
across a restart or a kill, the consumers are asked to look anew at all since. What has to outlive the process
is a note in the journal; the order is committed together with it.
"""

import asyncio
import json
from collections.abc import Callable
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from typing import Any, Final

import structlog

from dingbridge.logging import place_of
from ingress.errors import JournalUnavailable
from ingress.journal.rows import ResyncRequest
from ingress.metrics import StreamMetrics
from ingress.recovery.state import Journal, now_ms

log = structlog.get_logger(__name__)

MARGIN_MS: Final = 5 * 60_000
"""What was pushed into a connection whose end was not noticed yet, and what happened before it was pushed."""
ORDER_EVERY_MS: Final = 3_600_000
"""An order can mean a full sync: at most one in this time, and a later one covers everything since."""
_NOTE_EVERY_S: Final = 10.0


@dataclass(frozen=True, slots=True)
class Note:
    """What is known of an app's connections, in epoch ms. ``open_until_ms``: until then one was open, at
    least. ``since_ms``: an order is owed for all since then. ``ordered_ms``: when the last one was given."""

    open_until_ms: int
    since_ms: int | None = None
    ordered_ms: int | None = None


def is_gap(note: Note, now: int, gap_ms: float) -> bool:
    """Whether no connection was open for too long before ``now`` (epoch ms)."""
    return now - note.open_until_ms > gap_ms


def with_gap(note: Note) -> Note:
    """An order is owed for all since the end of ``open_until_ms``, and for what was owed already."""
    since_ms = note.open_until_ms - MARGIN_MS
    return replace(note, since_ms=since_ms if note.since_ms is None else min(since_ms, note.since_ms))


def order_due(note: Note, now: int) -> bool:
    """Whether what is owed may be ordered now. A clock that was set back delays nothing."""
    recently = note.ordered_ms is not None and 0 <= now - note.ordered_ms < ORDER_EVERY_MS
    return note.since_ms is not None and not recently


def _note(found: dict[str, Any]) -> Note:
    """What an earlier process wrote, also one of a later version that says more."""
    return Note(found["open_until_ms"], found.get("since_ms"), found.get("ordered_ms"))


class Gaps:
    """The note of one app in one process; make it in a running event loop. ``corp_id`` goes into orders;
    ``clock`` gives epoch ms."""

    def __init__(
        self,
        app: str,
        journal: Journal,
        metrics: StreamMetrics,
        gap_s: float,
        clock: Callable[[], int] = now_ms,
    ) -> None:
        self.corp_id: str | None = None
        self._app, self._journal, self._metrics, self._clock = app, journal, metrics, clock
        self._gap_ms, self._key = gap_s * 1000, f"stream/{app}"
        self._note: Note | None = None
        self._written: Note | None = None
        self.open = 0
        """Connections that take events now."""
        self.known = asyncio.Event()
        """Set once the note was read; no connection may open before."""
        self._changed, self._stopping = asyncio.Event(), False
        self._task = asyncio.get_running_loop().create_task(self._run())

    def opened(self) -> None:
        """One more connection takes events."""
        now, self.open = self._clock(), self.open + 1
        if self.open > 1:
            return
        note = self._note or Note(now)
        if is_gap(note, now, self._gap_ms):
            note = with_gap(note)
            self._metrics.gaps.labels(self._app).inc()
            log.warning("stream.gap", app=self._app, since_ms=note.since_ms)
        self._note = replace(note, open_until_ms=now)
        self._changed.set()

    def closed(self, unnoticed_s: float = 0.0) -> None:
        """One connection less takes events; it may have been gone for ``unnoticed_s`` already."""
        self.open -= 1
        if not self.open and self._note is not None:
            self._note = replace(self._note, open_until_ms=self._clock() - int(unnoticed_s * 1000))
            self._changed.set()

    async def stop(self) -> None:
        """Write the note for the last time."""
        self._stopping = True
        self._changed.set()
        await self._task

    async def _run(self) -> None:
        while not self._stopping and not self.known.is_set():
            try:
                text = (await self._journal.notes(self._key)).get(self._key)
            except JournalUnavailable:  # the journal itself says so
                await self._wait()
                continue
            try:
                self._note = self._written = None if text is None else _note(json.loads(text))
            except (KeyError, TypeError, ValueError) as error:  # as before a first start: nothing is known
                log.error("stream.fault", app=self._app, error=type(error).__name__, place=place_of(error))
            self.known.set()
        stopping = False
        while not stopping:
            stopping = self._stopping
            await self._write()
            if not stopping:
                await self._wait()

    async def _wait(self) -> None:
        with suppress(TimeoutError):
            async with asyncio.timeout(_NOTE_EVERY_S):
                await self._changed.wait()
        self._changed.clear()

    async def _write(self) -> None:
        now = self._clock()
        if self._note is None:
            return
        before = replace(self._note, open_until_ms=now) if self.open else self._note
        note, orders = before, []
        if self.open and before.since_ms is not None and order_due(before, now):
            orders.append(self._order(before.since_ms))
            note = replace(before, since_ms=None, ordered_ms=now)
        self._note = note
        if note == self._written:
            return
        try:
            await self._journal.commit(orders, {self._key: json.dumps(asdict(note))})
        except JournalUnavailable:
            if orders:  # still owed; a gap since then is a later one
                self._note = replace(self._note, since_ms=before.since_ms, ordered_ms=before.ordered_ms)
            return
        self._written = note
        for one in orders:
            log.warning("stream.resync_requested", app=self._app, since_ms=one.since_ms)

    def _order(self, since_ms: int) -> ResyncRequest:
        """The same ``since_ms`` gives the same id: an order that is written twice is one order."""
        last = datetime.fromtimestamp(since_ms // 1000, UTC).isoformat()
        reason = f"Stream: for a time after {last} no connection was open"
        return ResyncRequest(f"stream/{self._app}/{since_ms}", reason, self._app, self.corp_id, since_ms)
