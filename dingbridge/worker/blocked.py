"""Keys that are blocked: their events follow the one that failed into the dead letters, in order.

For consumers with ``on_dead_letter = "block"``. A row of ``dingbridge_blocked`` stands in the consumer's own
database from the moment that a key's record is given up until its dead letters were replayed to the last one;
every process of the consumer asks this table, none trusts its memory. docs/decisions/0022 has the reasons.

Here: the table and each change of it, for one transaction each. Not here: when they are made
(``burial.py``, ``process.py``), and the command that replays (``dingbridge dlq replay``), which does this:

1. ``begin_replay``; it returns the row as it is, or None when the key is not blocked (any more).
2. Copy into the consumer's inbox topic, in their order, the dead letters of the key that carry
   ``BLOCKING_ID_HEADER`` with the row's blocking id and whose offset lies above ``replayed_to``: key, value
   and headers as they are, plus ``dingbridge-replay-id`` and ``LETTER_HEADER`` (the letter's own offset).
3. Wait: the row is gone: all is applied, the key goes on. Its ``replay_id`` is None: one failed again, and
   ``reason`` says why; the letters wait where they are. ``last_letter`` has grown: new events came meanwhile
   and stand in the dead letters too; go on with 2 from there.

Letters with a blocking id that no row has (any more) are settled: they must not be replayed.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any
from uuid import uuid4

from sqlalchemy import (
    BigInteger,
    Column,
    Integer,
    LargeBinary,
    MetaData,
    Row,
    String,
    Table,
    and_,
    delete,
    func,
    or_,
    select,
    update,
)

from dingbridge.worker.context import Reader
from dingbridge.worker.store.transaction import Transaction
from dingbridge.worker.store.utc import UtcDateTime

BLOCKING_ID_HEADER = "dingbridge-dlq-blocking-id"
"""On every dead letter of a blocked key: the id of the block, the same for all of them."""

LETTER_HEADER = "dingbridge-dlq-letter"
"""On a blocked key's letter that was copied into the inbox: its offset in the dead letters, in digits."""

metadata = MetaData()

table = Table(
    "dingbridge_blocked",
    metadata,
    Column("consumer", String(100), primary_key=True),
    Column("key", LargeBinary, primary_key=True, comment="the records' key; a hash of a long one"),
    Column("blocking_id", String(32), nullable=False),
    Column("since", UtcDateTime, nullable=False),
    Column("topic", String, nullable=False, comment="place of the record that failed first"),
    Column("partition", Integer, nullable=False),
    Column("offset", BigInteger, nullable=False),
    Column("reason", String, nullable=False, comment="type and place of the error, no text"),
    Column("attempts", Integer, nullable=False),
    Column("letters", Integer, nullable=False, default=0, comment="dead letters so far"),
    Column("last_letter", BigInteger, comment="offset of the last one in the dead letters; null before it"),
    Column("replayed_to", BigInteger, comment="offset of the last letter that was replayed and applied"),
    Column("replay_id", String, comment="the replay under way; null for none"),
)


@dataclass(frozen=True, slots=True)
class Blocked:
    """One blocked key. ``key`` is as it stands in the table (``storable``); ``topic``, ``partition`` and
    ``offset`` are the place of the record that failed first, ``reason`` the type and place of its error;
    offsets of letters are those of the dead-letter topic."""

    key: bytes
    blocking_id: str
    since: datetime
    topic: str
    partition: int
    offset: int
    reason: str
    attempts: int
    letters: int
    last_letter: int | None
    replayed_to: int | None
    replay_id: str | None

    @property
    def place(self) -> tuple[str, int, int]:
        """Topic, partition and offset of the record that failed first."""
        return self.topic, self.partition, self.offset


_ROW = [column for column in table.c if column.name != "consumer"]


def _blocked(row: Row[Any]) -> Blocked:
    return Blocked(*tuple(row))


LONGEST_KEY = 1_024
"""Bytes of a key that stands in a row as it is; PostgreSQL keeps a row of an index in a third of a page."""


def storable(key: bytes) -> bytes:
    """``key`` as it stands in the table; what stands there already is left as it is."""
    return key if len(key) <= LONGEST_KEY else b"sha256:" + hashlib.sha256(key).digest()


def _is(consumer: str, key: bytes) -> Any:
    return and_(table.c.consumer == consumer, table.c.key == storable(key))


def _this(consumer: str, row: Blocked) -> Any:
    return and_(_is(consumer, row.key), table.c.blocking_id == row.blocking_id)


async def find(db: Reader | Transaction, consumer: str, key: bytes) -> Blocked | None:
    """The block of ``key``, if it is blocked."""
    row = (await db.execute(select(*_ROW).where(_is(consumer, key)))).one_or_none()
    return None if row is None else _blocked(row)


async def blocked(db: Reader, consumer: str) -> Sequence[Blocked]:
    """All blocked keys of ``consumer``, the longest blocked first."""
    statement = select(*_ROW).where(table.c.consumer == consumer).order_by(table.c.since, table.c.key)
    return [_blocked(row) for row in (await db.execute(statement)).all()]


async def count(db: Reader, consumer: str) -> tuple[int, datetime | None]:
    """How many keys are blocked, and since when the first of them."""
    statement = select(func.count(), func.min(table.c.since)).where(table.c.consumer == consumer)
    number, since = tuple((await db.execute(statement)).one())
    return int(number), since


async def block(
    tx: Transaction, consumer: str, key: bytes, place: tuple[str, int, int], reason: str, attempts: int
) -> Blocked | None:
    """Block ``key``: the record at ``place`` (topic, partition, offset) is given up. None: it was blocked."""
    row = Blocked(
        storable(key), uuid4().hex, datetime.now(UTC), *place, reason, attempts, 0, None, None, None
    )
    values = {column.name: getattr(row, column.name) for column in _ROW}
    statement = tx.insert(table).values(consumer=consumer, **values).on_conflict_do_nothing()
    return row if (await tx.execute(statement)).rowcount == 1 else None


async def add_letter(tx: Transaction, consumer: str, row: Blocked, letter: int) -> bool:
    """A letter of this block stands at offset ``letter`` of the dead letters. False: the block is over."""
    newest = or_(table.c.last_letter.is_(None), table.c.last_letter < letter)
    counted = update(table).where(_this(consumer, row)).values(letters=table.c.letters + 1)
    if (await tx.execute(counted)).rowcount == 0:
        return False
    await tx.execute(update(table).where(_this(consumer, row), newest).values(last_letter=letter))
    return True


async def begin_replay(tx: Transaction, consumer: str, key: bytes, replay_id: str) -> Blocked | None:
    """Let the letters of ``key`` pass that carry ``replay_id``, and no others; a replay that was under way
    is superseded. Returns the row, None when the key is not blocked."""
    await tx.execute(update(table).where(_is(consumer, key)).values(replay_id=replay_id))
    return await find(tx, consumer, key)


async def lock_replay(tx: Transaction, consumer: str, key: bytes, replay_id: str) -> Blocked | None:
    """The row of ``key``, held for this transaction, if ``replay_id`` is its replay under way."""
    statement = select(*_ROW).where(_is(consumer, key), table.c.replay_id == replay_id).with_for_update()
    row = (await tx.execute(statement)).one_or_none()
    return None if row is None else _blocked(row)


async def applied(tx: Transaction, consumer: str, row: Blocked, letter: int) -> bool:
    """The letter at offset ``letter`` is done. Returns whether it was the last: the key is then free."""
    last = or_(table.c.last_letter.is_(None), table.c.last_letter <= letter)
    if (await tx.execute(delete(table).where(_this(consumer, row), last))).rowcount:
        return True
    await tx.execute(update(table).where(_this(consumer, row)).values(replayed_to=letter))
    return False


async def replay_failed(
    tx: Transaction, consumer: str, key: bytes, replay_id: str, reason: str, attempts: int
) -> bool:
    """A letter failed again: its replay is over, the rest of its letters will be passed over. Returns
    whether that replay was under way."""
    statement = (
        update(table)
        .where(_is(consumer, key), table.c.replay_id == replay_id)
        .values(replay_id=None, reason=reason, attempts=attempts)
    )
    return (await tx.execute(statement)).rowcount == 1


async def skip(tx: Transaction, consumer: str, key: bytes, letter: int) -> bool:
    """Give up the letters of ``key`` up to offset ``letter`` for good: a replay begins behind it. Returns
    whether nothing is left, and the key is free. A replay under way is superseded."""
    row = await find(tx, consumer, key)
    if row is None:
        return True
    await tx.execute(update(table).where(_this(consumer, row)).values(replay_id=None))
    return await applied(tx, consumer, row, letter)


async def unblock(tx: Transaction, consumer: str, key: bytes) -> bool:
    """Free ``key`` whatever waits: its letters are then settled and stay where they are. Returns whether it
    was blocked. To apply them first, replay: the last one frees the key by itself."""
    return (await tx.execute(delete(table).where(_is(consumer, key)))).rowcount == 1
