"""The inbox table: which events this consumer has applied. It makes database effects happen once.

The row is written in the handler's own transaction, so it exists exactly if the effect does. There is one for
each event, so it is small: a hash of the event's identity, the time, and the attempt. Not here: the inbox
*topic*, which is where replayed records arrive.
"""

import hashlib
import uuid
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from typing import Any

from sqlalchemy import Column, Index, Integer, LargeBinary, MetaData, SmallInteger, Table, delete, select
from sqlalchemy.dialects import postgresql
from sqlalchemy.ext.asyncio import AsyncConnection
from sqlalchemy.types import TypeDecorator

from dingbridge.worker.context import Reader
from dingbridge.worker.store.database import Database
from dingbridge.worker.store.transaction import Transaction

EventId = tuple[str, str]
"""``(source, id)``: the identity of an event."""

BEGINNING = datetime(2020, 1, 1, tzinfo=UTC)
"""Times in the table are s since then: four bytes of them last until 2088."""


class Hash(TypeDecorator[bytes]):
    """16 bytes: PostgreSQL's ``uuid``, which takes no more than that, and a blob in SQLite."""

    impl = LargeBinary(16)
    cache_ok = True

    def load_dialect_impl(self, dialect: Any) -> Any:
        if dialect.name == "postgresql":
            return dialect.type_descriptor(postgresql.UUID(as_uuid=True))
        return dialect.type_descriptor(LargeBinary(16))

    def process_bind_param(self, value: bytes | None, dialect: Any) -> Any:
        return uuid.UUID(bytes=value) if value is not None and dialect.name == "postgresql" else value

    def process_result_value(self, value: Any, dialect: Any) -> bytes | None:
        return value.bytes if isinstance(value, uuid.UUID) else value


metadata = MetaData()

inbox = Table(
    "dingbridge_inbox",
    metadata,
    Column("hash", Hash, primary_key=True, comment="of consumer, source, id and replay id"),
    Column("at", Integer, nullable=False, comment="when it was applied, in s since 2020-01-01 UTC"),
    Column("attempt", SmallInteger, comment="which one applied it; null: it was given up"),
    # equal entries share one in PostgreSQL, so it costs 7 bytes a row
    Index("dingbridge_inbox_at", "at"),
    sqlite_with_rowid=False,
)

_ENTER_POSTGRES = (
    "INSERT INTO dingbridge_inbox (hash, at, attempt) "
    "SELECT hash, $2::integer, attempt FROM unnest($1::uuid[], $3::smallint[]) AS new (hash, attempt) "
    "ORDER BY hash "  # in one order everywhere, else two members could wait for each other
    "ON CONFLICT DO NOTHING RETURNING hash"
)

PRUNE_ROWS = 1_000
"""Rows deleted in one transaction: pruning must not hold SQLite's only writer for long."""

MOST_ATTEMPTS = 32_767
"""The largest number that the column holds; a consumer may try for ever."""

LONGEST_TEXT = 512
HASHED = "sha256:"
"""The prefix of a text that is stored as its hash."""


@dataclass(frozen=True, slots=True)
class Applied:
    """When an event was applied, and by which attempt; ``attempt`` is None of one that was given up."""

    at: datetime
    attempt: int | None = None


def storable(text: str) -> str:
    """``text``, or its hash where a database or an index could not keep it: ids are DingTalk's."""
    if len(text) <= LONGEST_TEXT and text.isascii() and "\0" not in text and not text.startswith(HASHED):
        return text
    raw = text.encode("utf-8", "surrogatepass")
    if len(raw) > LONGEST_TEXT or b"\0" in raw or text.startswith(HASHED) or _has_surrogate(text):
        return HASHED + hashlib.sha256(raw).hexdigest()
    return text


def _has_surrogate(text: str) -> bool:
    return any("\ud800" <= character <= "\udfff" for character in text)


def hash_of(consumer: str, event: EventId, replay_id: str) -> bytes:
    """The key of the row of ``event``, applied by ``consumer`` under ``replay_id``: 16 bytes."""
    parts = (consumer, storable(event[0]), storable(event[1]), storable(replay_id))
    return hashlib.blake2b("\0".join(parts).encode(), digest_size=16).digest()


def seconds(at: datetime) -> int:
    """``at`` as the column of that name has it."""
    return int((at - BEGINNING).total_seconds())


async def attempts_of(
    db: Reader | Transaction | AsyncConnection, hashes: Collection[bytes]
) -> dict[bytes, int | None]:
    """Those of ``hashes`` that have a row, and which attempt applied it (None: it was given up)."""
    rows = await db.execute(select(inbox.c.hash, inbox.c.attempt).where(inbox.c.hash.in_(hashes)))
    return {row.hash: row.attempt for row in rows}


async def applied(
    reader: Reader, consumer: str, wanted: Iterable[tuple[EventId, str]]
) -> dict[tuple[EventId, str], Applied]:
    """Return the rows of ``wanted``, each ``(event, replay id)``; events without a row are left out."""
    names = {hash_of(consumer, *one): one for one in wanted}
    columns = select(inbox.c.hash, inbox.c.at, inbox.c.attempt)
    rows = await reader.execute(columns.where(inbox.c.hash.in_(names)))
    return {names[r.hash]: Applied(BEGINNING + timedelta(seconds=r.at), r.attempt) for r in rows}


async def enter(tx: Transaction, rows: Sequence[tuple[bytes, int | None]]) -> set[bytes]:
    """Write ``rows``, each a hash and the attempt that applies it (None: it is given up), in one statement.
    Returns the hashes that had no row before; of the others nothing may be done.

    In PostgreSQL this waits while another transaction is writing a row with the same hash.
    """
    now = seconds(datetime.now(UTC))
    attempts = [attempt if attempt is None else min(attempt, MOST_ATTEMPTS) for _, attempt in rows]
    if tx.dialect == "postgresql":
        hashes = [uuid.UUID(bytes=hash_) for hash_, _ in rows]
        entered = await tx.execute_driver_sql(_ENTER_POSTGRES, (hashes, now, attempts))
        return {row[0].bytes for row in entered}
    values = [
        value for (hash_, _), attempt in zip(rows, attempts, strict=True) for value in (hash_, now, attempt)
    ]
    return {row[0] for row in await tx.execute_driver_sql(_enter_sqlite(len(rows)), tuple(values))}


@lru_cache(maxsize=64)
def _enter_sqlite(rows: int) -> str:
    places = ", ".join(["(?, ?, ?)"] * rows)
    return (
        f"INSERT INTO dingbridge_inbox (hash, at, attempt) VALUES {places} "  # noqa: S608 - question marks
        "ON CONFLICT DO NOTHING RETURNING hash"
    )


async def withdraw(tx: Transaction, hashes: Collection[bytes]) -> None:
    """Delete rows that ``tx`` has entered: it will not have their effects."""
    await tx.execute(delete(inbox).where(inbox.c.hash.in_(hashes)))


async def prune(database: Database, older_than: datetime) -> int:
    """Delete the rows that were written before ``older_than``; returns how many."""
    old = select(inbox.c.hash).where(inbox.c.at < seconds(older_than)).order_by(inbox.c.at).limit(PRUNE_ROWS)
    total = 0
    while True:
        async with database.transaction() as tx:
            # as one statement PostgreSQL would join them by reading the whole table
            hashes = (await tx.execute(old)).scalars().all()
            deleted = (await tx.execute(delete(inbox).where(inbox.c.hash.in_(hashes)))).rowcount
        total += deleted
        if len(hashes) < PRUNE_ROWS:
            return total
