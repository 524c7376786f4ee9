"""Compares the archive with DingTalk where events may be lost: since when, the order in the inbox says.

What began since then is listed by template and time, as a backfill does, and archived with its action, as if
its events had come; what began earlier and has not ended in the archive is asked for, one by one. An order
stands in ``approval_backfills`` until it is done, so a process that dies goes on with it.
"""

import asyncio
import json
from collections import Counter
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Any, Final

import structlog
from sqlalchemy import select, update

from consumers.approval.backfill import Backfill, Run
from consumers.approval.looks import Looks
from consumers.approval.tables import approval_backfills, approval_instances
from dingbridge import Event, Reader, Transaction
from dingbridge.dingtalk.errors import ApiError
from dingbridge.events.envelope import NOBODY
from dingbridge.snapshots.coerce import from_epoch_ms

log = structlog.get_logger(__name__)

ORDERED: Final = "ordered"
"""``spec`` and first ``state`` of an order among the backfills."""
LOOK_EVERY_S: Final = 5.0
RETRY_AFTER: Final = timedelta(hours=1)
"""After a refusal that does not pass by itself, as a permission that is missing; and between two rounds."""
ROUNDS: Final = 8
"""How often an order asks for an instance that cannot be fetched: no event will, and the trouble may pass."""
FAR_BACK: Final = timedelta(days=7)
"""How far an order goes that does not say since when."""

_runs = approval_backfills.c


@dataclass(frozen=True, slots=True)
class Order:
    """A wish to compare what happened after ``since``; ``corp_id`` None: nobody knows of which company."""

    corp_id: str | None
    since: datetime

    @classmethod
    async def of(
        cls, event: Event, db: Reader, configured: str | None, *, other_app: bool = False
    ) -> "Order":
        """The order that ``event`` is. An order may not know the company: then it is the archive's one.
        ``other_app``: of another app than the one that is compared with, and so only for the same company."""
        named = event.corp_id if event.corp_id != NOBODY else None
        corp_id = configured or (None if other_app else named)
        if corp_id is None:
            rows = await db.execute(select(approval_instances.c.corp_id).distinct())
            found = [row.corp_id for row in rows if row.corp_id != NOBODY]
            corp_id = found[0] if len(found) == 1 else None
        if other_app and named not in (None, corp_id):
            corp_id = None
        return cls(corp_id, from_epoch_ms(event.data.get("since")) or event.time - FAR_BACK)


async def keep(tx: Transaction, order: Order, event: Event) -> None:
    """Write it down. One that nobody has begun is widened instead: once is enough."""
    reason = event.data.get("reason")
    if order.corp_id is None:
        log.warning("approval.order_for_nobody", event_id=event.id, reason=reason)
        return
    log.warning("approval.ordered", since=order.since.isoformat(), event_id=event.id, reason=reason)
    waiting = (_runs.corp_id == order.corp_id, _runs.spec == ORDERED, _runs.state == ORDERED)
    found = (await tx.execute(select(_runs.run_id, _runs.since).where(*waiting))).first()
    now = datetime.now(UTC)
    if found is not None:
        values = {"since": min(found.since, order.since), "until": now}
        widened = await tx.execute(
            update(approval_backfills).where(_runs.run_id == found.run_id, *waiting).values(**values)
        )
        if widened.rowcount == 1:
            return
    new = {
        "run_id": event.id,
        "corp_id": order.corp_id,
        "spec": ORDERED,
        "since": order.since,
        "until": now,
        "listed": "[]",
        "with_actions": True,
        "state": ORDERED,
        "created_at": now,
    }
    await tx.execute(tx.insert(approval_backfills).values(new).on_conflict_do_nothing())


class Reconciles:
    """The orders of one consumer process. Two that do the same only cost calls: every write is guarded.

    ``looks`` at the priority of a resync: an event's own call comes first when the month's calls are short.
    """

    def __init__(self, looks: Looks, *, look_every_s: float = LOOK_EVERY_S) -> None:
        self._looks, self._database = looks, looks.database
        self._look_every_s = look_every_s
        self._not_before = datetime.min.replace(tzinfo=UTC)
        self.not_before: dict[str, datetime] = {}
        """Of orders of which a round is over: when the next one begins."""
        self._rounds: Counter[str] = Counter()

    async def run(self) -> None:
        """Until cancelled. Raises ``ApiError`` or ``DatabaseDown`` when the world is down: call again."""
        while True:
            if datetime.now(UTC) >= self._not_before:
                await self.once()
            await asyncio.sleep(self._look_every_s)

    async def once(self) -> int:
        """Do what is ordered; how many orders were done. Raises as ``run``."""
        done = 0
        while (run := await self._next()) is not None:
            try:
                done += await self._do(run)
            except ApiError as error:
                if error.unavailable:
                    raise
                self._not_before = datetime.now(UTC) + RETRY_AFTER
                log.error("approval.reconcile_failed", run=run.run_id, errcode=error.errcode)
                return done
        return done

    async def _next(self) -> Run | None:
        """The oldest order that is not done, and whose next round may begin."""
        found = await self._database.reader().execute(
            select(approval_backfills)
            .where(_runs.spec == ORDERED, _runs.state != "done")
            .order_by(_runs.created_at, _runs.run_id)
        )
        now = datetime.now(UTC)
        row = next((row for row in found if self.not_before.get(row.run_id, now) <= now), None)
        if row is None:
            return None
        return Run(
            run_id=row.run_id,
            corp_id=row.corp_id,
            since=row.since,
            until=row.until,
            process_codes=tuple(json.loads(row.process_codes or "[]")),
            with_actions=row.with_actions,
            listed=frozenset((code, start, end) for code, start, end in json.loads(row.listed)),
            resumed=row.state != ORDERED,
        )

    async def _do(self, run: Run) -> bool:
        """A round of an order; whether it is done with that."""
        work = Backfill(self._looks)
        if not run.process_codes:
            run = await self._begin(run)
        run = await work.list_ids(run)
        await work.add_unfinished(run)
        counts: dict[str, Any] = await work.fetch(run)
        if counts["failed"]:
            self._rounds[run.run_id] += 1
            last = not work.not_fetched or self._rounds[run.run_id] >= ROUNDS
            log.warning("approval.reconcile_left", run=run.run_id, failed=counts["failed"], last=last)
            if not last:
                self.not_before[run.run_id] = datetime.now(UTC) + RETRY_AFTER
                return False
            async with self._database.transaction() as tx:
                # DingTalk refuses these by themselves, or their action fails, which stands in
                # ``approval_actions``; a later order asks again
                await tx.execute(
                    update(approval_backfills)
                    .where(_runs.run_id == run.run_id)
                    .values(state="done", done_at=datetime.now(UTC))
                )
        self.not_before.pop(run.run_id, None)
        self._rounds.pop(run.run_id, None)
        log.info("approval.reconciled", run=run.run_id, since=run.since.isoformat(), **counts)
        return True

    async def _begin(self, run: Run) -> Run:
        """Snapshot the templates up; from now on the order is not widened any more."""
        templates = await self._looks.dingtalk.templates()
        codes = tuple(str(t["process_code"]) for t in templates if t.get("process_code"))
        until = datetime.now(UTC)
        async with self._database.transaction() as tx:
            await tx.execute(
                update(approval_backfills)
                .where(_runs.run_id == run.run_id, _runs.state == ORDERED)
                .values(process_codes=json.dumps(codes), until=until, state="running")
            )
        again = await self._next()
        return (
            again if again is not None and again.run_id == run.run_id else replace(run, process_codes=codes)
        )
