"""Deletes what the tables have of people who have left: one whom ``dingbridge forget`` names, and those who
left longer ago than ``LEAVERS_RETENTION_DAYS``.

The generation stays and rises, so that no older fetch writes the person again; a fetch for a later event
finds nobody. Somebody hired under the same userid is fetched, and is there again.
"""

import asyncio
from collections import Counter
from collections.abc import Collection
from datetime import UTC, datetime, timedelta
from typing import Final

import structlog
from sqlalchemy import ColumnElement, Table, delete, select, true

from dingbridge import Conflict, Database, Transaction
from dingbridge.consumers.address_sync.store import no_details
from dingbridge.consumers.address_sync.sync.tables import runs, staged
from dingbridge.consumers.address_sync.sync.worklist import UNREAD
from dingbridge.consumers.address_sync.tables import guard, look_again, memberships, user_roles, users
from dingbridge.mirror.leavers import COUNTED

log = structlog.get_logger(__name__)

EVERY_S: Final = 86_400.0
_AT_ONCE: Final = 200
_PEOPLE: Final = ("user", "holder", UNREAD["user"])


async def forget_people(
    tx: Transaction, corp_id: str, userids: Collection[str], which: ColumnElement[bool] | None = None
) -> Counter[str]:
    """Delete what the tables have of those ``userids`` for whom ``which`` still holds; returns the rows by
    table."""
    # the generation first, as every write does: this waits for whoever is being written now
    await guard.outdate(tx, corp_id, "user", sorted(userids))
    chosen = (users.c.corp_id == corp_id, users.c.userid.in_(userids))
    gone = await tx.execute(delete(users).where(*chosen, true() if which is None else which))
    here = {row.userid for row in await tx.execute(select(users.c.userid).where(*chosen))}
    ids = sorted(set(userids) - here)
    counts = Counter({users.name: gone.rowcount})
    of_company = select(runs.c.run_id).where(runs.c.corp_id == corp_id)
    rest: dict[Table, tuple[ColumnElement[bool], ...]] = {
        memberships: (memberships.c.corp_id == corp_id, memberships.c.userid.in_(ids)),
        user_roles: (user_roles.c.corp_id == corp_id, user_roles.c.userid.in_(ids)),
        look_again: (
            look_again.c.corp_id == corp_id,
            look_again.c.kind.in_(("user", COUNTED)),
            look_again.c.entity_id.in_(ids),
        ),
        staged: (
            staged.c.run_id.in_(of_company),
            staged.c.kind.in_(_PEOPLE),
            staged.c.entity_id.in_(ids),
        ),
    }
    for table, where in rest.items():
        counts[table.name] = (await tx.execute(delete(table).where(*where))).rowcount
    await no_details(tx, corp_id, ids)
    return counts


async def forget_leavers(database: Database, left_before: datetime) -> int:
    """Forget all who left before (aware); returns how many. Raises ``DatabaseDown``."""
    old, count = users.c.left_at < left_before, 0
    oldest = select(users.c.corp_id, users.c.userid).where(old).order_by(users.c.left_at).limit(_AT_ONCE)
    while rows := (await database.reader().execute(oldest)).all():
        try:
            async with database.transaction() as tx:
                for corp_id in sorted({row.corp_id for row in rows}):
                    ids = [row.userid for row in rows if row.corp_id == corp_id]
                    count += (await forget_people(tx, corp_id, ids, old))[users.name]
        except Conflict:  # PostgreSQL rolled back because of another process's
            continue
    return count


async def keep_forgetting(database: Database, days: float) -> None:
    """Forget those who left more than ``days`` ago, now and every day. Never returns; raises
    ``DatabaseDown``: call it again."""
    while True:
        count = await forget_leavers(database, datetime.now(UTC) - timedelta(days=days))
        if count:
            log.info("address_sync.leavers_forgotten", people=count, days=days)
        await asyncio.sleep(EVERY_S)
