"""The mark in a database that was restored from a back-up (``dingbridge/backup``).

Until the consumer's offsets are set back as well, the mark stops its start: with newer offsets it would miss
the events since the back-up. Afterwards the consumer is notified of the restore at its next start, in the
transaction that removes the mark.
"""

import json
from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    MetaData,
    String,
    Table,
    delete,
    false,
    inspect,
    select,
    update,
)
from sqlalchemy.engine import Row

from dingbridge.errors import BridgeError
from dingbridge.worker.context import Position
from dingbridge.worker.store.database import Database
from dingbridge.worker.store.transaction import Transaction

MARKS: Final = "dingbridge_restored"

metadata = MetaData()
_marks = Table(
    MARKS,
    metadata,
    Column("consumer", String(100), primary_key=True),
    Column("backup", String(32), nullable=False, comment="id of the back-up"),
    Column("at_ms", BigInteger, nullable=False, comment="when that was begun, epoch ms"),
    Column("ends", String, comment="JSON: Restored.ends; NULL: the offsets are not set back yet"),
    Column("lost", Boolean, nullable=False, server_default=false(), comment="Restored.lost"),
)
_c = _marks.c

Ends = Mapping[str, Mapping[str, int]]
"""Topic to number of a partition (a text) to the offset behind its last record."""


class NotSetBack(BridgeError):
    """A database was restored, and its consumer's offsets are not set back yet."""


@dataclass(frozen=True, slots=True)
class Restored:
    """A restore: ``at_ms`` is when the back-up was begun (epoch ms), ``ends`` where the consumer's topics
    ended when its offsets were set back. ``lost``: Kafka no longer had all records between."""

    at_ms: int
    ends: Ends
    lost: bool = False

    def may_be_known(self, position: Position) -> bool:
        """Whether the record at ``position`` was in Kafka before the restore: it may have been handled since
        the back-up, without a trace in this database."""
        return position.offset < self.ends.get(position.topic, {}).get(str(position.partition), 0)


async def marks(database: Database) -> dict[str, Row[Any]]:
    """The marks by consumer; none where there is no such table. Raises ``DatabaseDown``."""
    async with database.reading() as connection:
        if not await connection.run_sync(lambda sync: inspect(sync).has_table(MARKS)):
            return {}
    return {row.consumer: row for row in await database.reader().execute(select(_marks))}


async def mark(database: Database, consumers: Iterable[str], backup: str, at_ms: int) -> None:
    """Mark a database that is restored from ``backup``: none of ``consumers`` may start on it. What stands
    there of the same back-up stays as it is."""
    await database.create_tables(metadata)
    rows = [{"consumer": name, "backup": backup, "at_ms": at_ms} for name in consumers]
    async with database.transaction() as tx:
        await tx.execute(delete(_marks).where(_c.backup != backup))
        await tx.execute(tx.insert(_marks).values(rows).on_conflict_do_nothing())


async def set_back(database: Database, consumer: str, ends: Ends, *, lost: bool = False) -> None:
    """The offsets of ``consumer`` are set back: it may start."""
    values = {"ends": json.dumps(ends), "lost": lost}
    async with database.transaction() as tx:
        await tx.execute(update(_marks).where(_c.consumer == consumer).values(values))


async def is_restored(database: Database, consumer: str) -> bool:
    """Whether ``consumer`` has to be notified of a restore. Raises ``NotSetBack``."""
    row = (await marks(database)).get(consumer)
    if row is not None and row.ends is None:
        raise NotSetBack(
            f"the database of {consumer} was restored from a back-up, and its offsets in Kafka are not set "
            "back yet, so what came since would be missed; run `dingbridge restore` of that back-up again, "
            "to its end"
        )
    return row is not None


async def notify(
    database: Database, consumer: str, hook: Callable[[Restored, Transaction], Awaitable[None]]
) -> None:
    """Call ``hook`` and remove the mark, in one transaction; of several processes one does it."""
    async with database.transaction() as tx:
        mine = select(_marks).where(_c.consumer == consumer).with_for_update()
        row = (await tx.execute(mine)).one_or_none()
        if row is not None:
            await hook(Restored(row.at_ms, json.loads(row.ends), row.lost), tx)
            await tx.execute(delete(_marks).where(_c.consumer == consumer))
