"""Deletes what the tables have of people who have left: one whom ``dingbridge forget`` names, and those who
left longer ago than ``LEAVERS_RETENTION_DAYS``.

The row of the entity stays, so that no older read, and no listing, writes the person again. A read for a
later event finds nobody. Somebody hired under the same userid is read, and is there again.
"""

import asyncio
from datetime import UTC, datetime, timedelta
from typing import Final

import structlog
from sqlalchemy import select

from dingbridge import Conflict, Database, Forgotten, Person, Transaction
from dingbridge.consumers.address_sync.tables import memberships, user_roles, users
from dingbridge.mirror import USER, Entities
from dingbridge.worker.store.forgetting import forget_rows

log = structlog.get_logger(__name__)

EVERY_S: Final = 86_400.0
_AT_ONCE: Final = 200

TABLES: Final = {users: "userid", memberships: "userid", user_roles: "userid"}
"""The tables of people, with their columns of the userid."""


async def forget_person(tx: Transaction, entities: Entities, person: Person) -> Forgotten:
    """Delete what the tables have of ``person``."""
    counts = {entities.table.name: await entities.forget(tx, person.corp_id, USER, [person.userid])}
    return Forgotten(counts) + await forget_rows(tx, person, TABLES)


async def forget_leavers(database: Database, entities: Entities, left_before: datetime) -> int:
    """Forget all who left before (aware); returns how many. Raises ``DatabaseDown``."""
    old, count = users.c.left_at < left_before, 0
    oldest = select(users.c.corp_id, users.c.userid).where(old).order_by(users.c.left_at).limit(_AT_ONCE)
    while rows := (await database.reader().execute(oldest)).all():
        try:
            async with database.transaction() as tx:
                for row in rows:
                    # the entity first, as every write does: this waits for whoever is being written now
                    await entities.forget(tx, row.corp_id, USER, [row.userid])
                    this = (users.c.corp_id == row.corp_id, users.c.userid == row.userid)
                    if await tx.scalar(select(users.c.userid).where(*this, old)) is not None:
                        person = Person(row.corp_id, row.userid)
                        count += (await forget_rows(tx, person, TABLES)).deleted[users.name]
        except Conflict:  # PostgreSQL rolled back because of another process's
            continue
    return count


async def keep_forgetting(database: Database, entities: Entities, days: float) -> None:
    """Forget those who left more than ``days`` ago, now and every day. Never returns; raises
    ``DatabaseDown``: call it again."""
    while True:
        count = await forget_leavers(database, entities, datetime.now(UTC) - timedelta(days=days))
        if count:
            log.info("address_sync.leavers_forgotten", people=count, days=days)
        await asyncio.sleep(EVERY_S)
