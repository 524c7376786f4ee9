"""Resyncs that the bridge requests when events may be lost: stored, then done beside the events.

A request is in ``approval_resyncs`` until it is done, so a process that dies goes on with it. Actions are
called as if the events had come, for what ended since the archive's first event. An instance that cannot be
fetched, or whose action fails, goes to ``approval_fetches``, which tries again. Not here: the comparison
itself (``reconciler.py``).
"""

import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, ClassVar, Final

import structlog
from sqlalchemy import Row, case

from dingbridge import Conflict, Event, Transaction
from dingbridge.consumers.approval.fetcher import ClientOf, Fetcher
from dingbridge.consumers.approval.queues.fetches import fetch_later
from dingbridge.consumers.approval.queues.worker import QueueWorker
from dingbridge.consumers.approval.reconcile.reconciler import Reconciler, Scope, reachable, template_codes
from dingbridge.consumers.approval.tables import approval_resyncs
from dingbridge.dingtalk.errors import ApiError
from dingbridge.error_location import error_location
from dingbridge.events.envelope import NO_CORP_ID
from dingbridge.logging import excerpt
from dingbridge.snapshots.coerce import from_epoch_ms
from dingbridge.work_queue import RECONCILE, WorkQueue

log = structlog.get_logger(__name__)

LEASE_S: Final = 900.0
"""For so long after it got on no other process takes up a request."""
FAR_BACK: Final = timedelta(days=7)
"""How far a request goes that does not say since when."""

resyncs: Final = WorkQueue(approval_resyncs, lease_s=LEASE_S)


@dataclass(frozen=True, slots=True)
class ResyncRequest:
    """Compare the approvals started after ``since`` with what the app ``app`` sees of a company.
    ``corp_id`` None: the company is not known."""

    corp_id: str | None
    app: str
    since: datetime

    @classmethod
    def of(cls, event: Event) -> "ResyncRequest":
        """The request that ``event`` is."""
        named = None if event.corp_id == NO_CORP_ID else event.corp_id
        return cls(named, event.app, from_epoch_ms(event.data.get("since")) or event.time - FAR_BACK)


async def save(tx: Transaction, request: ResyncRequest, event: Event) -> None:
    """Write it down. One that waits for the same company and app is widened instead."""
    about = {"event_id": excerpt(event.id), "reason": excerpt(event.data.get("reason"))}
    if request.corp_id is None:
        log.warning("approval.resync_for_nobody", app=excerpt(request.app), **about)
        return
    log.warning("approval.resync_requested", since=request.since.isoformat(), **about)
    key = {"corp_id": request.corp_id, "app": request.app}
    columns, now_ms = approval_resyncs.c, resyncs.now_ms()
    new = tx.insert(approval_resyncs).values(**key, since=request.since, due_ms=now_ms, priority=RECONCILE)
    # one that is given up waits for nothing
    waits = columns.due_ms.is_not(None) & (columns.since < request.since)
    widened = {"since": case((waits, columns.since), else_=request.since), **resyncs.due(RECONCILE, now_ms)}
    await tx.execute(new.on_conflict_do_update(index_elements=list(key), set_=widened))


class RequestedResyncs(QueueWorker):
    """Does what was requested, in one consumer process; each request is done by one of them."""

    at_once: ClassVar[int] = 1

    def __init__(
        self, fetcher: Fetcher, client_of: ClientOf, *, on_compared: Callable[[], None] = lambda: None
    ) -> None:
        """``on_compared`` is called when a request is done: all is compared, or named as failed."""
        super().__init__(fetcher.database, resyncs)
        self._fetcher, self._client_of, self._on_compared = fetcher, client_of, on_compared

    async def work(self, row: Row[Any]) -> None:
        client, renewed = self._client_of(row.app, row.corp_id), time.monotonic()

        async def still_at_it(count: int) -> None:
            nonlocal renewed
            if time.monotonic() - renewed > LEASE_S / 10:
                renewed = time.monotonic()
                async with self._database.transaction() as tx:
                    if not await self._queue.renew(tx, row):
                        raise Conflict("another process does this resync")

        codes = await template_codes(client)
        since, until = reachable(row.since), datetime.now(UTC)
        scope = Scope(row.corp_id, row.app, since, until, codes, "since_first_event")
        work = Reconciler(self._fetcher, client, scope)
        counts = await work.archive(await work.list_ids(still_at_it), still_at_it)
        async with self._database.transaction() as tx:
            for instance_id, code in counts.left.items():
                key = {"corp_id": row.corp_id, "instance_id": instance_id}
                await fetch_later(
                    tx, key, row.app, after_s=0, priority=RECONCILE, process_code=code, with_actions=True
                )
            await self._queue.done(tx, row)
        self._on_compared()
        log.info(
            "approval.resynced",
            since=row.since.isoformat(),
            archived=counts.archived,
            missing=counts.missing,
            failed=len(counts.left),
        )

    def failed(self, row: Row[Any], error: Exception, retry_in_s: float | None) -> dict[str, Any]:
        log.error(
            "approval.resync_refused",
            app=row.app,
            code=error.code if isinstance(error, ApiError) else None,
            error=error_location(error, "consumers"),
            retry_in_s=retry_in_s,
        )
        return {}
