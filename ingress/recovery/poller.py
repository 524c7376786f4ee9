"""Reads a failed list to its end, one step at a time: intent, call, page, journal.

What is next is decided in ``steps``; here it is done. Every step leaves the ledger so that whoever comes
next, after a crash in any place, finds what is owed.
"""

import asyncio
import time
import uuid
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from contextlib import AbstractAsyncContextManager, suppress
from dataclasses import dataclass, field
from typing import Any, Final

import structlog

from dingbridge.dingtalk.errors import ApiError
from dingbridge.errors import BridgeError, KafkaUnavailable
from dingbridge.events import known
from dingbridge.events.facts import content_hash, dedupe_key, extract_facts
from ingress.journal.store import NewCallback
from ingress.metrics import OTHER, RecoveryMetrics
from ingress.recovery.convert import Turned
from ingress.recovery.ledger import Intent, Note, Page
from ingress.recovery.ledger_topic import Log
from ingress.recovery.orders import Orders
from ingress.recovery.source import FailedPushes, page_may_be_gone
from ingress.recovery.steps import Call, End, Enter, Lost, Order, next_step

log = structlog.get_logger(__name__)

VIA: Final = "failed-list"
_BUSY_SHARE: Final = 0.75
"""Of the lease, for one call: the rest is for noting its page."""
_FAREWELL_S: Final = 1.0
"""For giving the lease back when we are stopped: whoever stops us waits for it."""


class AnotherPolls(BridgeError):
    """Another poller holds the lease."""


@dataclass(slots=True)
class Result:
    """What a run did. ``types`` counts items by EventType, ``oldest_ms`` is the earliest event's time."""

    pages: int = 0
    items: int = 0
    known_already: int = 0
    resync_requests: int = 0
    pages_missing: int = 0
    oldest_ms: int | None = None
    skipped: bool = False
    types: Counter[str] = field(default_factory=Counter)


class Poller:
    """The poller of one app in one process. ``append`` keeps an entry in the journal."""

    def __init__(
        self,
        *,
        app: str,
        source: FailedPushes,
        opened: Callable[[], AbstractAsyncContextManager[Log]],
        append: Callable[[NewCallback], Awaitable[bool]],
        orders: Orders,
        metrics: RecoveryMetrics,
        lease_s: float,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._app, self._source, self._opened, self._append = app, source, opened, append
        self._orders, self._metrics, self._lease_s = orders, metrics, lease_s
        self._clock = clock
        self._me = ""
        self._stopping = False

    def stop(self) -> None:
        """End the run under way where nothing is owed by it."""
        self._stopping = True

    async def run(self, *, unless_since_ms: int | None = None) -> Result:
        """Read the list to its end; not if somebody has done so after ``unless_since_ms``.

        Raises ``AnotherPolls``; ``ApiError`` when DingTalk does not give the list, ``KafkaUnavailable`` and
        ``JournalUnavailable`` with nothing lost: call it again.
        """
        self._me = uuid.uuid4().hex
        result = Result()
        async with self._opened() as ledger:
            ended_ms = ledger.ledger.ended_ms
            if unless_since_ms is not None and ended_ms is not None and ended_ms > unless_since_ms:
                self._metrics.read(self._app, ended_ms / 1000)
                result.skipped = True
                return result
            await self._note(ledger, "claim")
            if ledger.ledger.holder != self._me:
                raise AnotherPolls(
                    "another poller is reading the failed list just now, of this or another instance; it "
                    f"holds it until {_moment(ledger.ledger.until_ms)} unless it goes on"
                )
            within_s = None
            try:
                await self._steps(ledger, result)
            except asyncio.CancelledError:
                within_s = _FAREWELL_S
                raise
            finally:
                with suppress(KafkaUnavailable, TimeoutError):  # then the lease ends by itself
                    async with asyncio.timeout(within_s):
                        await self._note(ledger, "release")
        oldest_ms = result.oldest_ms
        age_s = 0 if oldest_ms is None else max(0.0, time.time() - oldest_ms / 1000)
        self._metrics.found(self._app, age_s)
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

    async def _steps(self, ledger: Log, result: Result) -> None:
        more = True
        while True:
            match next_step(ledger.ledger, self._me, more=more):
                case Lost():
                    log.warning("recovery.lease_lost", app=self._app)
                    raise AnotherPolls("this poller was too slow, and another one has gone on in its place")
                case Order(intent):
                    await self._missing(ledger, intent, result)
                case Enter(page):
                    await self._enter(ledger, page, result)
                case Call():
                    if self._stopping:
                        return
                    more = await self._call(ledger, result)
                    result.pages += 1
                case End():
                    await self._note(ledger, "end")
                    self._metrics.read(self._app, time.time())
                    return

    async def _call(self, ledger: Log, result: Result) -> bool:
        """Intent, call, page; whether there is more. Raises ``ApiError``, ``TimeoutError``."""
        intent, began = uuid.uuid4().hex, self._clock()
        await self._note(ledger, "intent", intent=intent)
        # a process that was frozen finds here that its time is over; the call itself nobody can fence
        if not ledger.ledger.allows(self._me, intent) or self._late(began):
            raise AnotherPolls("this poller was too slow, and another one may have gone on in its place")
        try:
            async with asyncio.timeout(self._lease_s * _BUSY_SHARE):
                page = await self._source.page()
        except (ApiError, TimeoutError) as error:
            if isinstance(error, ApiError) and not (self._source.destroys and page_may_be_gone(error)):
                await self._note(ledger, "refused", intent=intent)
            else:
                await self._missing(ledger, ledger.ledger.open[intent], result)
            raise
        try:
            await self._note(ledger, "page", intent=intent, items=page.items, more=page.has_more)
        except KafkaUnavailable:
            # it will count as a page that may be gone; but what is in our hands need not be
            await self._keep(page.items, intent, result)
            raise
        return page.has_more

    def _late(self, began: float) -> bool:
        return self._clock() - began > self._lease_s * (1 - _BUSY_SHARE)

    async def _missing(self, ledger: Log, intent: Intent, result: Result) -> None:
        """An intent without a page: another poller's that died or froze, or ours of an earlier run."""
        if self._source.destroys:
            reason = "a page of the failed list may be gone"
            log.error("recovery.page_missing", app=self._app, intent=intent.id, at=_moment(intent.at_ms))
            await self._orders.contacts(ledger, f"page-{intent.id}", corp_id=None, part="all", reason=reason)
            await self._orders.approvals(
                ledger, f"page-{intent.id}", corp_id=None, since_ms=intent.since_ms, reason=reason
            )
            self._metrics.pages_missing.inc()
            self._metrics.resync_requests.inc(2)
            result.pages_missing += 1
            result.resync_requests += 2
        await self._note(ledger, "ordered", intent=intent.id)

    async def _enter(self, ledger: Log, page: Page, result: Result) -> None:
        """A kept page into the journal, and what is too poor for it to whoever has to look."""
        turned = await self._keep(page.items, page.intent, result)
        beside = await self._source.kept(page.items)
        turned += await self._keep(beside, f"{page.intent}-beside", result)
        await self._ask(ledger, turned, page.intent, result)
        await self._note(ledger, "entered", intent=page.intent)
        for one in turned:
            name = one.event_type if known(one.event_type) and one.event_type else OTHER
            self._metrics.items.labels(name).inc()
            result.types[one.event_type or "-"] += 1
            if one.time_ms is not None:
                result.oldest_ms = min(one.time_ms, result.oldest_ms or one.time_ms)
        result.items += len(turned)

    async def _keep(self, items: Sequence[Any], page: str, result: Result) -> list[Turned]:
        turned = [self._source.turn(item if isinstance(item, dict) else {"item": item}) for item in items]
        entries = [
            _entry(self._app, one.body, page, number)
            for number, one in enumerate(turned)
            if one.body is not None
        ]
        new = await asyncio.gather(*(self._append(entry) for entry in entries))
        result.known_already += new.count(False)
        return turned

    async def _ask(self, ledger: Log, turned: list[Turned], page: str, result: Result) -> None:
        reason = "an item of the failed list does not say what changed"
        for corp_id in dict.fromkeys(one.corp_id for one in turned):
            of_corp = [one for one in turned if one.corp_id == corp_id]
            id = f"poor-{page}-{corp_id or ''}"
            asked = {one.contacts for one in of_corp} - {None}
            if asked:
                await self._orders.contacts(
                    ledger,
                    id,
                    corp_id=corp_id,
                    part="departments" if asked == {"departments"} else "all",
                    reason=reason,
                )
            times = [one.time_ms for one in of_corp if one.approvals]
            if times:
                since_ms = None if None in times else min(t for t in times if t is not None)
                await self._orders.approvals(ledger, id, corp_id=corp_id, since_ms=since_ms, reason=reason)
            asks = bool(asked) + bool(times)
            result.resync_requests += asks
            self._metrics.resync_requests.inc(asks)

    async def _note(self, ledger: Log, kind: Any, **values: Any) -> None:
        await ledger.write(Note(kind, self._me, round(self._lease_s * 1000), **values))


def _entry(app: str, body: bytes, page: str, number: int) -> NewCallback:
    view = extract_facts(body)
    signature_key = None
    if not view.has_identity:
        # as for a push without one: its place in the page stands for the request's signature
        signature_key = bytes(8) + b"f" + content_hash(f"{page} {number}".encode())
    return NewCallback(
        received_ms=int(time.time() * 1000),
        app=app,
        via=VIA,
        body=body,
        key=dedupe_key(view, app, body),
        signature_key=signature_key,
    )


def _moment(epoch_ms: int) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(epoch_ms / 1000))
