"""Asks for documents that no event will bring: of approvals that are over, where DingTalk's API had said that
they run, and of those that only another one's document names, which they change or are changed by.

The API may lag behind the event that an approval ended. Mostly another event of the instance follows and has
it fetched once more; where none does, this does: after a minute, and then whenever as much time has gone by
again, so that one that DingTalk has wrong for a year costs some twenty calls.
"""

import asyncio
from datetime import UTC, datetime, timedelta
from typing import Any

import structlog
from sqlalchemy import Row, and_, func, or_, select

from consumers.approval.archive.links import NO_EVENTS
from consumers.approval.fetcher import UNFINISHED, ClientOf, Fetcher
from consumers.approval.tables import KIND, approval_instances, guard
from dingbridge import Conflict
from dingbridge.dingtalk.errors import ApiError
from dingbridge.error_location import error_location
from dingbridge.worker.supervise import is_unavailable

log = structlog.get_logger(__name__)

LOOK_EVERY_S = 30.0
FIRST = timedelta(minutes=1)
"""The least time between a fetch and the next one."""


def due(now: datetime, ended: datetime, fetched: datetime | None) -> bool:
    """Whether an instance that ended (or was first named) at ``ended`` and was last fetched at ``fetched`` is
    to be fetched."""
    since = fetched or ended
    return now - since >= max(FIRST, since - ended)


class Refetch:
    """The repeated fetches of one consumer process."""

    def __init__(self, fetcher: Fetcher, client_of: ClientOf) -> None:
        self._fetcher, self._client_of = fetcher, client_of

    async def run(self) -> None:
        """Snapshot for what is due until cancelled. Raises ``DatabaseDown``."""
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
                    and_(columns.status == UNFINISHED, columns.outcome.is_not(None)),
                    and_(columns.document_state == "pending", columns.raw_events == NO_EVENTS),
                )
            )
        )
        rows = (await self._fetcher.database.reader().execute(lagging)).all()
        asked = [row for row in rows if due(now, row.ended, row.fetched_at)]
        down: set[str] = set()
        for row in asked:
            # an app whose API is down is asked again the next time; another company's may answer
            if row.app not in down and not await self._fetch(row):
                down.add(row.app)
        return len(asked)

    async def _fetch(self, row: Row[Any]) -> bool:
        """Fetch and write one; False when the API is down for its app."""
        database = self._fetcher.database
        db = database.reader()
        snapshot = await guard.snapshot(db, row.corp_id, KIND, row.instance_id)
        try:
            client = self._client_of(row.app, row.corp_id)
            fetched = await self._fetcher.fetch(client, row.app, snapshot, db, by_title=True)
            await self._fetcher.write_alone(fetched)
        except Conflict:
            return True  # an event of the instance was faster
        except Exception as error:
            code = error.code if isinstance(error, ApiError) else None
            if isinstance(error, ApiError) and error.unavailable:
                log.warning("approval.refetch_waits", app=row.app, code=code)
                return False
            if is_unavailable(error):
                raise
            log.warning(
                "approval.refetch_failed",
                instance_id=row.instance_id,
                code=code,
                error=error_location(error, "consumers"),
            )
            async with database.transaction() as tx:
                await guard.try_claim(tx, snapshot)  # so that it is not asked for again at once
        return True
