"""Resyncs that the bridge asks for in the inbox, as events may be lost: kept, then done beside the events.

A request is in ``approval_resyncs`` until it is done, so a process that dies goes on with it. What it
archives is acted on as if its events had come. Not here: the comparison itself (``reconciler.py``).
"""

import asyncio
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Final

import structlog
from sqlalchemy import Row, case, delete, select, update

from consumers.approval.fetcher import ClientOf, Fetcher
from consumers.approval.reconcile.reconciler import Counts, Reconciler, Scope, reachable, template_codes
from consumers.approval.tables import approval_instances, approval_resyncs
from dingbridge import Event, Reader, Transaction
from dingbridge.dingtalk.errors import ApiError
from dingbridge.errors import BridgeError
from dingbridge.events.envelope import NOBODY
from dingbridge.snapshots.coerce import from_epoch_ms
from dingbridge.worker.supervise import is_unavailable

log = structlog.get_logger(__name__)

LOOK_EVERY_S: Final = 5.0
NEXT_ROUND_AFTER: Final = timedelta(hours=1)
"""After a refusal that does not pass by itself, as a permission that is missing, and between two rounds."""
ROUNDS: Final = 8
"""How often an instance that cannot be fetched is asked for: no event will, and the trouble may pass."""
CLAIMED_FOR: Final = timedelta(minutes=15)
"""For so long after its last batch no other process takes up a request."""
FAR_BACK: Final = timedelta(days=7)
"""How far a request goes that does not say since when."""

_columns = approval_resyncs.c


@dataclass(frozen=True, slots=True)
class ResyncRequest:
    """To compare what was started after ``since`` with what the app ``app`` sees of a company.
    ``corp_id`` None: nobody knows of which company."""

    corp_id: str | None
    app: str
    since: datetime

    @classmethod
    async def of(cls, event: Event, db: Reader, corp_id: str | None) -> "ResyncRequest":
        """The request that ``event`` is. Where it does not name the company, it is ``corp_id``, as the
        settings have it for the event's app, else the only one that the archive has of that app."""
        named = event.corp_id if event.corp_id != NOBODY else corp_id
        if named is None:
            named = await only_company(db, event.app)
        return cls(named, event.app, from_epoch_ms(event.data.get("since")) or event.time - FAR_BACK)


async def only_company(db: Reader, app: str) -> str | None:
    """The company of all approvals that the archive has by this app; None if it has several or none."""
    columns = approval_instances.c
    found = select(columns.corp_id).where(columns.app == app, columns.corp_id != NOBODY).distinct().limit(2)
    companies = [row.corp_id for row in await db.execute(found)]
    return str(companies[0]) if len(companies) == 1 else None


async def save(tx: Transaction, request: ResyncRequest, event: Event) -> None:
    """Write it down. One that waits for the same company and app is widened instead."""
    reason = event.data.get("reason")
    if request.corp_id is None:
        log.warning("approval.resync_for_nobody", app=request.app, event_id=event.id, reason=reason)
        return
    log.warning(
        "approval.resync_requested", since=request.since.isoformat(), event_id=event.id, reason=reason
    )
    now = datetime.now(UTC)
    key = {"corp_id": request.corp_id, "app": request.app}
    values = {"since": request.since, "requested_at": now, "rounds": 0}
    new = tx.insert(approval_resyncs).values(**key, **values, next_round_at=now).on_conflict_do_nothing()
    if (await tx.execute(new)).rowcount == 1:
        return
    earlier = case((_columns.since < request.since, _columns.since), else_=request.since)
    await tx.execute(update(approval_resyncs).where(_is(key)).values(**values | {"since": earlier}))


class RequestedResyncs:
    """Does what was requested, in one consumer process; each request is claimed by one of them."""

    def __init__(
        self,
        fetcher: Fetcher,
        client_of: ClientOf,
        *,
        on_compared: Callable[[], None] = lambda: None,
        look_every_s: float = LOOK_EVERY_S,
    ) -> None:
        """``on_compared`` is called when all that a request asked for could be compared."""
        self._fetcher, self._client_of, self._look_every_s = fetcher, client_of, look_every_s
        self._on_compared = on_compared
        self._database = fetcher.database

    async def run(self) -> None:
        """Until cancelled. Raises ``ApiError`` or ``DatabaseDown`` when a dependency is down: call again."""
        while True:
            await self.once()
            await asyncio.sleep(self._look_every_s)

    async def once(self) -> int:
        """Do what is due; how many requests were done. Raises as ``run``."""
        done = 0
        while (row := await self._claim()) is not None:
            try:
                done += await self._do(row)
            except BaseException as error:
                refused = isinstance(error, BridgeError) and not is_unavailable(error)
                pause = NEXT_ROUND_AFTER if refused else timedelta(0)
                with suppress(BridgeError):  # a claim that cannot be given back runs out by itself
                    await self._update(row, next_round_at=datetime.now(UTC) + pause)
                if not refused:
                    raise
                code = error.code if isinstance(error, ApiError) else None
                log.error("approval.resync_refused", app=row.app, code=code, reason=str(error))
        return done

    async def _claim(self) -> Row[Any] | None:
        """The request that waits longest, kept away from other processes; None when none is due."""
        now = datetime.now(UTC)
        due = select(approval_resyncs).where(_columns.next_round_at <= now)
        for row in await self._database.reader().execute(due.order_by(_columns.next_round_at)):
            async with self._database.transaction() as tx:
                claimed = await tx.execute(
                    update(approval_resyncs)
                    .where(_is_row(row), _columns.next_round_at == row.next_round_at)
                    .values(next_round_at=now + CLAIMED_FOR)
                )
            if claimed.rowcount == 1:
                return row
        return None

    async def _do(self, row: Row[Any]) -> bool:
        """One round; whether the request is done with that. Raises ``ApiError``, or what ``ClientOf``
        raises."""
        client = self._client_of(row.app, row.corp_id)

        async def still_at_it(count: int) -> None:
            await self._update(row, next_round_at=datetime.now(UTC) + CLAIMED_FOR)

        codes = await template_codes(client)
        since, until = reachable(row.since), datetime.now(UTC)
        scope = Scope(row.corp_id, row.app, since, until, codes, with_actions=True)
        work = Reconciler(self._fetcher, client, scope)
        counts = await work.archive(await work.list_ids(still_at_it), still_at_it)
        return await self._end_round(row, counts)

    async def _end_round(self, row: Row[Any], counts: Counts) -> bool:
        rounds = row.rounds + 1
        if counts.not_fetched and rounds < ROUNDS:
            log.warning("approval.resync_left", failed=counts.failed, round=rounds, last=False)
            await self._update(row, rounds=rounds, next_round_at=datetime.now(UTC) + NEXT_ROUND_AFTER)
            return False
        if counts.failed:
            # DingTalk refuses these by themselves, or their action fails, which is in
            # ``approval_actions``; a later request asks again
            log.warning("approval.resync_left", failed=counts.failed, round=rounds, last=True)
        if not counts.not_fetched:
            self._on_compared()
        async with self._database.transaction() as tx:
            unchanged = _columns.requested_at == row.requested_at
            ended = await tx.execute(delete(approval_resyncs).where(_is_row(row), unchanged))
        if ended.rowcount == 0:  # asked for again meanwhile
            await self._update(row, next_round_at=datetime.now(UTC))
        log.info(
            "approval.resynced",
            since=row.since.isoformat(),
            archived=counts.archived,
            missing=counts.missing,
            failed=counts.failed,
        )
        return True

    async def _update(self, row: Row[Any], **values: Any) -> None:
        async with self._database.transaction() as tx:
            await tx.execute(update(approval_resyncs).where(_is_row(row)).values(**values))


def _is(key: dict[str, str]) -> Any:
    return (_columns.corp_id == key["corp_id"]) & (_columns.app == key["app"])


def _is_row(row: Row[Any]) -> Any:
    return _is({"corp_id": row.corp_id, "app": row.app})
