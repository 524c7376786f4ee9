"""Reads a failed list to its end, page by page: note the intent, call, keep the page in the journal.

A crash in any place leaves the page at DingTalk, or in the journal, or an intent: then the page may be
gone, and the consumers are asked to look anew.
"""

import asyncio
import time
import uuid
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, TypeVar

import structlog

from dingbridge.dingtalk.errors import ApiError
from dingbridge.events import content_hash, dedupe_key, extract_facts
from dingbridge.events.catalogue import Part
from ingress.journal.rows import NewCallback, ResyncRequest
from ingress.metrics import RecoveryMetrics, known_type
from ingress.recovery.convert import ConvertedItem
from ingress.recovery.source import FailedPushes, answer_may_be_lost
from ingress.recovery.state import MARGIN_MS, Intent, RecoveryState, Row, now_ms

log = structlog.get_logger(__name__)
T = TypeVar("T")

_CALL_S: Final = 60.0
"""For one call, our client's own retries included."""


@dataclass(slots=True)
class Result:
    """What a run did. ``types`` counts items by EventType, ``oldest_ms`` is the earliest event's time."""

    pages: int = 0
    items: int = 0
    known_already: int = 0
    resync_requests: int = 0
    pages_missing: int = 0
    oldest_ms: int | None = None
    types: Counter[str] = field(default_factory=Counter)


class Poller:
    """The poller of one app in one process. One run at a time."""

    def __init__(
        self, *, app: str, source: FailedPushes, state: RecoveryState, metrics: RecoveryMetrics
    ) -> None:
        self._app, self._source, self._state, self._metrics = app, source, state, metrics
        self._unkept: tuple[Sequence[Any], Intent] | None = None
        self._stopping = False

    def stop(self) -> None:
        """End the run under way after the page that it is at."""
        self._stopping = True

    def close(self) -> None:
        """There will be no further run. A page that the journal would not take counts as gone."""
        if self._unkept is not None:
            self._state.abandon(self._unkept[1])

    async def run(self) -> Result:
        """Read the list to its end.

        Raises ``ApiError`` or ``TimeoutError`` when DingTalk does not give the list, ``JournalUnavailable``
        with nothing lost: call it again.
        """
        result = Result()
        if self._unkept is not None:  # of an earlier run: the journal took no writes
            await self._keep(*self._unkept, result)
        await self._settle(result)
        more, began_ms = True, now_ms()
        while more and not self._stopping:
            began_ms = now_ms()
            more = await self._page(result)
            result.pages += 1
        if not more:
            await self._state.end(self._app, began_ms)
            self._metrics.read(self._app, time.time())
        oldest_ms = result.oldest_ms
        self._metrics.found(self._app, 0 if oldest_ms is None else max(0.0, time.time() - oldest_ms / 1000))
        log.info(
            "recovery.done",
            app=self._app,
            pages=result.pages,
            items=result.items,
            known_already=result.known_already,
            resync_requests=result.resync_requests,
            pages_missing=result.pages_missing,
        )
        return result

    async def _settle(self, result: Result) -> None:
        missing = await settle(self._state, self._metrics)
        result.pages_missing += missing
        result.resync_requests += missing

    async def _page(self, result: Result) -> bool:
        """Read one page and keep it; whether there is more."""
        if self._source.reading_deletes:
            page, intent = await self._call_that_deletes(self._source.page, result)
            await self._keep(page.items, intent, result)
            return page.has_more
        page = await self._in_time(self._source.page())
        await self._keep(page.items, None, result)
        if page.items:
            beside, intent = await self._call_that_deletes(lambda: self._source.confirm(page.items), result)
            await self._keep(beside, intent, result)
        return page.has_more

    async def _call_that_deletes(self, call: Callable[[], Awaitable[T]], result: Result) -> tuple[T, Intent]:
        """What it returned, and its intent, which is still open. Raises ``ApiError``, ``TimeoutError``."""
        intent = await self._state.begin(self._app)
        try:
            return await self._in_time(call()), intent
        except (ApiError, TimeoutError) as error:
            if isinstance(error, ApiError) and not answer_may_be_lost(error):
                await self._state.keep([], intent)
            else:
                self._state.abandon(intent)
                await self._settle(result)
            raise
        except BaseException:  # we are being stopped in the middle of the call
            self._state.abandon(intent)
            raise

    async def _in_time(self, call: Awaitable[T]) -> T:
        async with asyncio.timeout(_CALL_S):
            return await call

    async def _keep(self, items: Sequence[Any], intent: Intent | None, result: Result) -> None:
        """Commit a page: its callbacks, the requests to look anew in place of items that say too little, and
        that its call is settled."""
        self._unkept = None if intent is None else (items, intent)
        page_id = uuid.uuid4().hex if intent is None else intent.id
        converted = [self._source.convert(i if isinstance(i, dict) else {"item": i}) for i in items]
        callbacks: list[Row] = [
            _callback(self._app, self._source.via, one.body, page_id, number)
            for number, one in enumerate(converted)
            if one.body is not None
        ]
        requests = _requests(self._app, converted, page_id)
        new = await self._state.keep([*callbacks, *requests], intent)
        self._unkept = None
        self._count(converted, result)
        result.known_already += new[: len(callbacks)].count(False)
        result.resync_requests += len(requests)
        self._metrics.resync_requests.inc(len(requests))

    def _count(self, converted: Sequence[ConvertedItem], result: Result) -> None:
        for one in converted:
            self._metrics.items.labels(known_type(one.event_type)).inc()
            result.types[one.event_type or "-"] += 1
            if one.time_ms is not None:
                result.oldest_ms = min(one.time_ms, result.oldest_ms or one.time_ms)
        result.items += len(converted)


async def settle(state: RecoveryState, metrics: RecoveryMetrics) -> int:
    """Ask the consumers to look anew for each page that may be gone; how many those were. Safe to do twice.
    Raises ``JournalUnavailable``."""
    async with state.settling:
        intents = await state.left_behind()
        for intent in intents:
            log.error("recovery.page_missing", app=intent.app, intent=intent.id, at=_utc(intent.at_ms))
            reason = "a page of the failed list may be gone"
            request = ResyncRequest(f"page-{intent.id}", reason, app=intent.app, since_ms=intent.since_ms)
            await state.keep([request], intent)
            metrics.pages_missing.inc()
            metrics.resync_requests.inc()
    return len(intents)


def _requests(app: str, converted: Sequence[ConvertedItem], page_id: str) -> list[ResyncRequest]:
    """One for each company of which items say too little."""
    poor = [one for one in converted if one.resync is not None]
    requests = []
    for corp_id in dict.fromkeys(one.corp_id for one in poor):
        of_corp = [one for one in poor if one.corp_id == corp_id]
        times = [one.time_ms for one in of_corp]
        parts: set[Part | None] = {one.resync for one in of_corp}
        requests.append(
            ResyncRequest(
                f"poor-{page_id}-{corp_id or ''}",
                "an item of the failed list does not say what changed",
                app=app,
                corp_id=corp_id,
                since_ms=None if None in times else min(t for t in times if t is not None) - MARGIN_MS,
                part=parts.pop() or "all" if len(parts) == 1 else "all",
            )
        )
    return requests


def _callback(app: str, via: str, body: bytes, page_id: str, number: int) -> NewCallback:
    """The row of the item with this ``number`` on its page.

    One that nothing identifies is known by its place, and has a time of receipt of its own, which becomes
    part of its id: an item in the same words beside it is another event.
    """
    facts, received_ms = extract_facts(body), now_ms()
    key = dedupe_key(facts, app, body)
    if not facts.has_identity:
        received_ms += number
        key = bytes(8) + content_hash(f"{page_id} {number}".encode())[:16]
    return NewCallback(received_ms=received_ms, app=app, via=via, body=body, key=key)


def _utc(epoch_ms: int) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(epoch_ms / 1000))
