"""Asks for documents that no event will bring: of approvals that are over, where DingTalk's API had said that
they run, and of those that only another one's document names, which they change or are changed by.

The API may lag behind the event that an approval ended. Mostly another event of the instance follows and has
it fetched once more; where none does, this does: after a minute, and then whenever as much time has gone by
again, so that one that DingTalk has wrong for a year costs some twenty calls. One that only a document names,
and that DingTalk refuses or does not know, is given up after a few: its ``document_state`` is ``missing``.
"""

import asyncio
from datetime import UTC, datetime, timedelta
from typing import Any

import structlog
from sqlalchemy import Row, and_, func, or_, select, update

from consumers.approval.archive.links import NO_EVENTS
from consumers.approval.archive.document import UNFINISHED
from consumers.approval.fetcher import ClientOf, Fetcher
from consumers.approval.tables import KIND, approval_instances, guard
from dingbridge import Conflict
from dingbridge.dingtalk.errors import ApiError
from dingbridge.error_location import error_location
from dingbridge.worker.supervise import is_unavailable

log = structlog.get_logger(__name__)

LOOK_EVERY_S = 30.0
FIRST = timedelta(minutes=1)
"""The least time between a fetch and the next one."""
BELIEVED_AFTER = timedelta(minutes=5)
"""From when on, after it was named, an answer counts that there is no such instance, or none for this app."""
LONGEST_PAUSE_S = 3600.0
"""How long an app is not asked at most: somebody may have ticked the right by then, or bought calls."""


def due(now: datetime, ended: datetime, fetched: datetime | None) -> bool:
    """Whether an instance that ended (or was first named) at ``ended`` and was last fetched at ``fetched`` is
    to be fetched."""
    since = fetched or ended
    return now - since >= max(FIRST, since - ended)


class Refetch:
    """The repeated fetches of one consumer process."""

    def __init__(self, fetcher: Fetcher, client_of: ClientOf) -> None:
        self._fetcher, self._client_of = fetcher, client_of
        self._paused: dict[str, datetime] = {}
        """Apps whose API does not answer now, or which lack the right, and until when they are not asked:
        another company's may answer."""

    async def run(self) -> None:
        """Fetch what is due until cancelled. Raises ``DatabaseDown``."""
        while True:
            await self.once(datetime.now(UTC))
            await asyncio.sleep(LOOK_EVERY_S)

    async def once(self, now: datetime) -> int:
        """Fetch those that are due; how many were. Raises as ``run``."""
        columns, guarded = approval_instances.c, guard.table.c
        lagging = (
            select(
                columns.corp_id,
                columns.instance_id,
                columns.app,
                columns.outcome,
                func.coalesce(columns.finished_at, columns.updated_at).label("ended"),
                guarded.fetched_at,
            )
            .join_from(
                approval_instances,
                guard.table,
                and_(
                    guarded.corp_id == columns.corp_id,
                    guarded.kind == KIND,
                    guarded.entity_id == columns.instance_id,
                ),
                isouter=True,
            )
            .where(
                or_(
                    and_(columns.status.in_(UNFINISHED), columns.outcome.is_not(None)),
                    and_(columns.document_state == "pending", columns.raw_events == NO_EVENTS),
                )
            )
            .order_by(guarded.fetched_at)  # who failed just now comes after the others
        )
        rows = (await self._fetcher.database.reader().execute(lagging)).all()
        asked = 0
        for row in rows:
            if due(now, row.ended, row.fetched_at) and self._paused.get(row.app, now) <= now:
                asked += 1
                await self._fetch(row, now)
        return asked

    async def _fetch(self, row: Row[Any], now: datetime) -> None:
        """Fetch and write one."""
        database = self._fetcher.database
        db = database.reader()
        snapshot = await guard.snapshot(db, row.corp_id, KIND, row.instance_id)
        found = False
        try:
            client = self._client_of(row.app, row.corp_id)
            fetched = await self._fetcher.fetch(client, row.app, snapshot, db, by_title=True)
            await self._fetcher.write_alone(fetched)
            found = fetched.document is not None
        except Conflict:
            return  # an event of the instance was faster
        except Exception as error:
            about = error.about if isinstance(error, ApiError) else None
            code = error.code if isinstance(error, ApiError) else None
            if isinstance(error, ApiError) and about != "entity":
                pause = min(error.retry_after_s or LOOK_EVERY_S, LONGEST_PAUSE_S)
                self._paused[row.app] = now + timedelta(seconds=pause)
                log.warning("approval.refetch_waits", app=row.app, code=code, retry_in_s=pause)
                if about != "busy":
                    return
                # trouble with this one alone looks the same: it must not keep the others from their turn
            elif is_unavailable(error):
                raise
            else:
                log.warning(
                    "approval.refetch_failed",
                    instance_id=row.instance_id,
                    code=code,
                    error=error_location(error, "consumers"),
                )
            async with database.transaction() as tx:
                await guard.try_claim(tx, snapshot)  # so that it is not asked for again at once
            found = about != "entity"
        if not found and row.outcome is None and now - row.ended >= BELIEVED_AFTER:
            await self._give_up(row)

    async def _give_up(self, row: Row[Any]) -> None:
        """No more calls for one that only a document names, unless an event comes."""
        columns = approval_instances.c
        log.warning("approval.named_only", instance_id=row.instance_id)
        async with self._fetcher.database.transaction() as tx:
            await tx.execute(
                update(approval_instances)
                .where(
                    columns.corp_id == row.corp_id,
                    columns.instance_id == row.instance_id,
                    columns.document_state == "pending",
                    columns.raw_events == NO_EVENTS,
                )
                .values(document_state="missing", updated_at=datetime.now(UTC))
            )
