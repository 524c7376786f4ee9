"""The inbox table: which events this consumer has applied. It makes database effects happen once.

The row is written in the handler's own transaction, so it exists exactly if the effect does. There is one for
each event, so it is small: a hash of the event's identity, the time, the attempt, and a number for its topic,
which decides how long the row is needed (``pruning.py``). Not here: the inbox *topic*, which
is where replayed records arrive.
"""

import hashlib
import uuid
import zlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from operator import itemgetter
from typing import Any, cast

from sqlalchemy import (
    Column,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    SmallInteger,
    String,
    Table,
    delete,
    func,
    inspect,
    select,
)
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.engine import Row
from sqlalchemy.types import TypeDecorator

from dingbridge.worker.context import Reader
from dingbridge.worker.store.database import Database
from dingbridge.worker.store.transaction import Transaction
from dingbridge.worker.store.utc import UtcDateTime

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
    Column("topic", Integer, nullable=False, comment="number in dingbridge_inbox_topics"),
    Column("at", Integer, nullable=False, comment="when it was applied, in s since 2020-01-01 UTC"),
    Column("attempt", SmallInteger, comment="which one applied it; null: it was given up"),
    # equal entries share one in PostgreSQL, so it costs 7 bytes a row
    Index("dingbridge_inbox_topic_at", "topic", "at"),
    sqlite_with_rowid=False,
)

topics = Table(
    "dingbridge_inbox_topics",
    metadata,
    Column("consumer", String(100), primary_key=True),
    Column("topic", String(249), primary_key=True),
    Column("number", Integer, nullable=False, comment="of the rows in dingbridge_inbox that came from it"),
    Column("since", UtcDateTime, nullable=False, comment="when the consumer was first started with it"),
)

_ENTER = {
    "sqlite": sqlite.insert(inbox).on_conflict_do_nothing(),
    "postgresql": postgresql.insert(inbox).on_conflict_do_nothing(),
}
"""Made once: each event costs one, and making it costs as much as sending it."""

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


def number_of(consumer: str, topic: str) -> int:
    """The number of a topic in the rows of ``consumer``, computed from its name. If two of a few hundred
    topics had the same (1 in 100,000), the rows of both would be deleted by the shorter retention."""
    return zlib.crc32(f"{consumer}\0{topic}".encode()) - 2**31


def seconds(at: datetime) -> int:
    """``at`` as the column of that name has it."""
    return int((at - BEGINNING).total_seconds())


async def seen(db: Reader | Transaction, consumer: str, event: EventId, replay_id: str) -> bool:
    """Whether ``event`` has been applied under ``replay_id`` (empty for an ordinary record), or given up."""
    of_event = select(inbox.c.at).where(inbox.c.hash == hash_of(consumer, event, replay_id))
    return await db.scalar(of_event) is not None


async def applied(
    reader: Reader, consumer: str, wanted: Iterable[tuple[EventId, str]]
) -> dict[tuple[EventId, str], Applied]:
    """What the table has of ``wanted``, each ``(event, replay id)``; those that it does not have are left
    out."""
    names = {hash_of(consumer, *one): one for one in wanted}
    columns = select(inbox.c.hash, inbox.c.at, inbox.c.attempt)
    rows = await reader.execute(columns.where(inbox.c.hash.in_(names)))
    return {names[r.hash]: Applied(BEGINNING + timedelta(seconds=r.at), r.attempt) for r in rows}


async def enter(
    tx: Transaction, consumer: str, event: EventId, replay_id: str, topic: str, attempt: int | None
) -> bool:
    """Write the inbox row of a record of ``topic``, applied by ``attempt``, or given up (None). False when it
    stands there already, so that nothing may be done.

    In PostgreSQL this waits for another transaction that is writing the same row to end.
    """
    row = _row(consumer, event, replay_id, topic, datetime.now(UTC), attempt)
    return (await tx.execute(_ENTER[tx.dialect], row)).rowcount == 1


async def enter_all(
    tx: Transaction, consumer: str, came: Iterable[tuple[EventId, str, str]], attempt: int
) -> bool:
    """``enter`` for several records, each ``(event, replay id, topic)``, in one statement. False when a row
    of any stands there already; ``tx`` must be rolled back then."""
    now = datetime.now(UTC)
    rows = [_row(consumer, *one, now, attempt) for one in came]
    rows.sort(key=itemgetter("hash"))  # in one order everywhere, else two could wait for each other
    entered = await tx.execute(tx.insert(inbox).values(rows).on_conflict_do_nothing())
    return entered.rowcount == len(rows)


def _row(
    consumer: str, event: EventId, replay_id: str, topic: str, at: datetime, attempt: int | None
) -> dict[str, Any]:
    return {
        "hash": hash_of(consumer, event, replay_id),
        "topic": number_of(consumer, topic),
        "at": seconds(at),
        "attempt": attempt if attempt is None else min(attempt, MOST_ATTEMPTS),
    }


async def register(database: Database, consumer: str, names: Sequence[str]) -> datetime:
    """Note that ``consumer`` reads the topics ``names``; returns when it was first started with any."""
    now = datetime.now(UTC)
    rows = [{"consumer": consumer, "topic": t, "number": number_of(consumer, t), "since": now} for t in names]
    async with database.transaction() as tx:
        await tx.execute(tx.insert(topics).values(rows).on_conflict_do_nothing())
        since = await tx.scalar(select(func.min(topics.c.since)).where(topics.c.consumer == consumer))
    return cast(datetime, since)


async def registered(reader: Reader, consumer: str) -> Sequence[Row[Any]]:
    """``topic`` and ``number`` of all topics that ``consumer`` has read, also of those that it no longer
    does."""
    known = select(topics.c.topic, topics.c.number).where(topics.c.consumer == consumer)
    return (await reader.execute(known)).all()


async def consumers(database: Database) -> frozenset[str]:
    """The consumers that have worked with this database, installed here or not. Raises ``DatabaseDown``."""
    async with database.reading() as connection:
        if not await connection.run_sync(lambda sync: inspect(sync).has_table(topics.name)):
            return frozenset()
        return frozenset(await connection.scalars(select(topics.c.consumer).distinct()))


async def prune(database: Database, number: int, older_than: datetime) -> int:
    """Delete the rows of the topic ``number`` that were written before ``older_than``; returns how many."""
    old = (
        select(inbox.c.hash)
        .where(inbox.c.topic == number, inbox.c.at < seconds(older_than))
        .order_by(inbox.c.at)
        .limit(PRUNE_ROWS)
    )
    total = 0
    while True:
        async with database.transaction() as tx:
            # as one statement PostgreSQL would join them by reading the whole table
            hashes = (await tx.execute(old)).scalars().all()
            deleted = (await tx.execute(delete(inbox).where(inbox.c.hash.in_(hashes)))).rowcount
        total += deleted
        if len(hashes) < PRUNE_ROWS:
            return total
