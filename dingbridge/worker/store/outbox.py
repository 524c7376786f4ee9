"""The outbox: dead letters that are still to be sent.

The row is written in the transaction that writes the record's inbox row, before the dead letter is sent, and
is deleted when Kafka has it. So a record that was given up is not handled again when Kafka delivers it again.
A process that dies in between leaves the row, and the next delivery sends the dead letter. Not here: when
that is done (``dead_letters.py``, ``executor.py``)."""

from datetime import UTC, datetime
from typing import Any

from sqlalchemy import BigInteger, Column, Integer, String, Table, and_, delete, select

from dingbridge.worker.context import Position, Reader
from dingbridge.worker.outcomes import Failure
from dingbridge.worker.store.database import Database
from dingbridge.worker.store.inbox import metadata
from dingbridge.worker.store.transaction import Transaction
from dingbridge.worker.store.utc import UtcDateTime

outbox = Table(
    "dingbridge_outbox",
    metadata,  # the inbox's, since each needs the other
    Column("consumer", String(100), primary_key=True),
    Column("topic", String(249), primary_key=True, comment="place of the record that was given up"),
    Column("partition", Integer, primary_key=True, autoincrement=False),
    Column("offset", BigInteger, primary_key=True, autoincrement=False),
    Column("error", String, nullable=False, comment="type and place of the error, no text"),
    Column("attempts", Integer, nullable=False),
    Column("reason", String, nullable=False, comment="the handler's own words, of Reject or Retry"),
    Column("frames", String, nullable=False, comment="of any other error: file, line, function"),
    Column("at", UtcDateTime, nullable=False),
)


KEPT = ("error", "attempts", "reason", "frames")
"""The columns of a ``Failure``."""


def _is(consumer: str, position: Position) -> Any:
    place = (outbox.c[name] == value for name, value in position._asdict().items())
    return and_(outbox.c.consumer == consumer, *place)


async def add(tx: Transaction, consumer: str, position: Position, failure: Failure) -> None:
    """The record at ``position`` is given up for ``failure``."""
    why = {name: getattr(failure, name) for name in KEPT}
    row = {"consumer": consumer, **position._asdict(), **why, "at": datetime.now(UTC)}
    await tx.execute(outbox.insert().values(row))


async def find(db: Reader | Transaction, consumer: str, position: Position) -> Failure | None:
    """Why the record at ``position`` was given up, if its dead letter is still to be sent."""
    columns = [outbox.c[name] for name in KEPT]
    row = (await db.execute(select(*columns).where(_is(consumer, position)))).one_or_none()
    return None if row is None else Failure(**row._mapping)


async def remove(tx: Transaction, consumer: str, position: Position) -> None:
    """Kafka has the dead letter."""
    await tx.execute(delete(outbox).where(_is(consumer, position)))


async def prune(database: Database, consumer: str, older_than: datetime) -> None:
    """Delete rows that no record needs any more, as ``inbox.prune`` does."""
    async with database.transaction() as tx:
        await tx.execute(delete(outbox).where(outbox.c.consumer == consumer, outbox.c.at < older_than))
