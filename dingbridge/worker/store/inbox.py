"""The inbox table: which events this consumer has applied. It makes database effects happen once.

The row is written in the handler's own transaction, so it exists exactly if the effect does. Not here: the
inbox *topic*, which is where replayed records arrive.
"""

import hashlib
from datetime import UTC, datetime, timedelta
from typing import cast

from sqlalchemy import Column, ColumnElement, Index, MetaData, String, Table, delete, func, select, tuple_
from sqlalchemy.dialects import postgresql
from sqlalchemy.dialects.postgresql.asyncpg import PGDialect_asyncpg

from dingbridge.worker.context import Reader
from dingbridge.worker.store.database import Database
from dingbridge.worker.store.errors import translated
from dingbridge.worker.store.transaction import Transaction
from dingbridge.worker.store.utc import UtcDateTime

EventId = tuple[str, str]
"""``(source, id)``: what tells one event from every other."""

metadata = MetaData()

inbox = Table(
    "dingbridge_inbox",
    metadata,
    Column("consumer", String(100), primary_key=True),
    Column("source", String, primary_key=True, comment="a hash where it is long, as the next two"),
    Column("id", String, primary_key=True),
    Column("replay_id", String, primary_key=True, default="", comment="empty for ordinary records"),
    Column("at", UtcDateTime, nullable=False, comment="when the event was applied"),
    Index("dingbridge_inbox_at", "consumer", "at"),
)

_COLUMNS = ("consumer", "source", "id", "replay_id", "at")
_DIALECT = PGDialect_asyncpg()  # type: ignore[no-untyped-call]
_ENTER = str(
    postgresql.insert(inbox).on_conflict_do_nothing().compile(dialect=_DIALECT, column_keys=_COLUMNS)
)

KEEP_BEYOND_RETENTION = timedelta(days=8)
"""Kafka deletes whole segments, so a record outlives its topic's retention; ours roll once a day."""

PRUNE_ROWS = 5_000
"""Rows deleted in one transaction: pruning must not hold SQLite's only writer for long."""


LONGEST_TEXT = 512
"""Bytes of a text that is in a row as it is. PostgreSQL keeps a row of an index in a third of a page, and
four texts are in this one."""

HASHED = "sha256:"
"""What a text begins with that is in a row as its hash."""


def storable(text: str) -> str:
    """``text`` as it is in the table. One that PostgreSQL could not keep, or not in an index, stands as
    its hash: ids are DingTalk's, and one that cannot be a row would stop its partition for ever."""
    if len(text) <= LONGEST_TEXT and text.isascii() and "\0" not in text and not text.startswith(HASHED):
        return text
    raw = text.encode("utf-8", "surrogatepass")
    if len(raw) > LONGEST_TEXT or b"\0" in raw or text.startswith(HASHED) or _has_surrogate(text):
        return HASHED + hashlib.sha256(raw).hexdigest()
    return text


def _has_surrogate(text: str) -> bool:
    return any("\ud800" <= character <= "\udfff" for character in text)


def _is(consumer: str, event: EventId, replay_id: str) -> tuple[ColumnElement[bool], ...]:
    return (
        inbox.c.consumer == consumer,
        inbox.c.source == storable(event[0]),
        inbox.c.id == storable(event[1]),
        inbox.c.replay_id == storable(replay_id),
    )


async def seen(db: Reader | Transaction, consumer: str, event: EventId, replay_id: str) -> bool:
    """Whether ``event`` has been applied under ``replay_id`` (empty for an ordinary record), or given up."""
    return await db.scalar(select(inbox.c.at).where(*_is(consumer, event, replay_id))) is not None


async def begins_at(db: Reader, consumer: str) -> datetime | None:
    """When ``consumer`` applied its first event, as far as its rows go back. None: it has none."""
    oldest = select(func.min(inbox.c.at)).where(inbox.c.consumer == consumer)
    return cast("datetime | None", await db.scalar(oldest))


async def enter(tx: Transaction, consumer: str, event: EventId, replay_id: str) -> bool:
    """Write the inbox row. False when it stands there already, so that nothing may be done.

    In PostgreSQL this waits for another transaction that is writing the same row to end.
    """
    row = (consumer, storable(event[0]), storable(event[1]), storable(replay_id), datetime.now(UTC))
    if tx.driver is not None:  # the one statement that every event costs: half of it would be SQLAlchemy's
        with translated():
            return bool(await tx.driver.execute(_ENTER, *row) == "INSERT 0 1")
    values = dict(zip(_COLUMNS, row, strict=True))
    return (await tx.execute(tx.insert(inbox).values(values).on_conflict_do_nothing())).rowcount == 1


async def withdraw(tx: Transaction, consumer: str, event: EventId, replay_id: str) -> None:
    """Delete the row that this transaction has entered."""
    await tx.execute(delete(inbox).where(*_is(consumer, event, replay_id)))


async def prune(database: Database, consumer: str, older_than: datetime) -> int:
    """Delete the rows of ``consumer`` written before ``older_than``; returns how many."""
    key = (inbox.c.source, inbox.c.id, inbox.c.replay_id)
    old = select(*key).where(inbox.c.consumer == consumer, inbox.c.at < older_than).limit(PRUNE_ROWS)
    total = 0
    while True:
        async with database.transaction() as tx:
            result = await tx.execute(
                delete(inbox).where(inbox.c.consumer == consumer, tuple_(*key).in_(old))
            )
        total += result.rowcount
        if result.rowcount < PRUNE_ROWS:
            return total
