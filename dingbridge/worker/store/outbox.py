"""Letters that are owed: of records that were given up, until their dead letter has been taken.

For records that block no key. The row is written in the transaction that writes the record's inbox row,
before the letter is sent, and goes when Kafka has it. So what is given up is not handled again when it is
delivered again, and a process that dies on its way leaves behind what it owes: the next delivery finds the
row and sends the letter. Not here: when that is done (``burial.py``, ``process.py``).
"""

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import BigInteger, Column, Integer, String, Table, and_, delete, select

from dingbridge.worker.context import Reader
from dingbridge.worker.store.database import Database
from dingbridge.worker.store.inbox import metadata
from dingbridge.worker.store.transaction import Transaction
from dingbridge.worker.store.utc import UtcDateTime

Place = tuple[str, int, int]

table = Table(
    "dingbridge_owed_letters",
    metadata,  # the inbox's: neither is of use without the other
    Column("consumer", String(100), primary_key=True),
    Column("topic", String(249), primary_key=True, comment="place of the record that was given up"),
    Column("partition", Integer, primary_key=True, autoincrement=False),
    Column("offset", BigInteger, primary_key=True, autoincrement=False),
    Column("reason", String, nullable=False, comment="type and place of the error, no text"),
    Column("attempts", Integer, nullable=False),
    Column("at", UtcDateTime, nullable=False),
)


@dataclass(frozen=True, slots=True)
class Owed:
    """What the letter will say: type and place of the error, and how often the record was tried."""

    reason: str
    attempts: int


def _is(consumer: str, place: Place) -> Any:
    topic, partition, offset = place
    return and_(
        table.c.consumer == consumer,
        table.c.topic == topic,
        table.c.partition == partition,
        table.c.offset == offset,
    )


async def owe(tx: Transaction, consumer: str, place: Place, owed: Owed) -> None:
    """The record at ``place`` is given up."""
    topic, partition, offset = place
    values = {"topic": topic, "partition": partition, "offset": offset, "at": datetime.now(UTC)}
    await tx.execute(
        table.insert().values(consumer=consumer, reason=owed.reason, attempts=owed.attempts, **values)
    )


async def find(db: Reader | Transaction, consumer: str, place: Place) -> Owed | None:
    """What is owed for the record at ``place``, if anything."""
    statement = select(table.c.reason, table.c.attempts).where(_is(consumer, place))
    row = (await db.execute(statement)).one_or_none()
    return None if row is None else Owed(*tuple(row))


async def paid(tx: Transaction, consumer: str, place: Place) -> None:
    """Kafka has the letter."""
    await tx.execute(delete(table).where(_is(consumer, place)))


async def prune(database: Database, consumer: str, older_than: datetime) -> None:
    """Delete what can be asked for by no record any more, as ``inbox.prune`` does."""
    async with database.transaction() as tx:
        await tx.execute(delete(table).where(table.c.consumer == consumer, table.c.at < older_than))
