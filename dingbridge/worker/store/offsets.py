"""The offsets of a consumer once more, in its database, and by which id its members know that database.

A row says the same as the offset that is committed to Kafka, and goes back in time with the effects if the
database does. What is concluded from the two is in ``commits.py``.
"""

import time
import uuid
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, NamedTuple, cast

from aiokafka import TopicPartition
from sqlalchemy import (
    BigInteger,
    Column,
    Integer,
    Select,
    String,
    Table,
    bindparam,
    func,
    select,
    update,
)

from dingbridge.errors import BridgeError
from dingbridge.worker.store.database import Database
from dingbridge.worker.store.inbox import metadata
from dingbridge.worker.store.transaction import Transaction
from dingbridge.worker.store.utc import UtcDateTime

consumers = Table(
    "dingbridge_consumers",
    metadata,
    Column("consumer", String(100), primary_key=True),
    Column("id", String(32), nullable=False, comment="of this database, in Kafka's offsets"),
    Column("since", UtcDateTime, nullable=False, comment="when the consumer was first started here"),
    Column("keep_s", BigInteger, comment="how long it needs inbox rows, in s; null: for ever, or unknown"),
)

offsets = Table(
    "dingbridge_offsets",
    metadata,
    Column("consumer", String(100), primary_key=True),
    Column("topic", String(249), primary_key=True),
    Column("partition", Integer, primary_key=True, autoincrement=False),
    Column("offset", BigInteger, nullable=False, comment="below which all effects are in this database"),
    Column("version", BigInteger, nullable=False, comment="how often the row was written"),
    Column("at_ms", BigInteger, nullable=False, comment="when it was written, epoch ms"),
)
_c = offsets.c

_MOVE = (
    update(offsets)
    .where(
        _c.consumer == bindparam("who"),
        _c.topic == bindparam("of_topic"),
        _c.partition == bindparam("of_partition"),
        _c.version == bindparam("before"),
    )
    .values({"offset": bindparam("to"), "version": bindparam("before") + 1, "at_ms": bindparam("now")})
)


class MovedByAnother(BridgeError):
    """A row was not as this member left it: another member, or an earlier state of the database."""


class Kept(NamedTuple):
    """One row: the offset, and how often the row was written."""

    offset: int
    version: int


@dataclass(frozen=True, slots=True)
class Registered:
    """A consumer in its database: the database's id, and when the consumer was first started there."""

    id: str
    since: datetime


async def register(database: Database, consumer: str) -> Registered:
    """Note that ``consumer`` works with this database."""
    row = {"consumer": consumer, "id": uuid.uuid4().hex, "since": datetime.now(UTC)}
    async with database.transaction() as tx:
        await tx.execute(tx.insert(consumers).values(row).on_conflict_do_nothing())
        found = await tx.execute(select(consumers).where(consumers.c.consumer == consumer))
    one = found.one()
    return Registered(one.id, one.since)


async def keep_inbox(database: Database, consumer: str, needed: timedelta | None) -> timedelta | None:
    """Note how long ``consumer`` needs inbox rows (None: for ever). Returns how long all consumers of this
    database do."""
    keep_s = None if needed is None else int(needed.total_seconds())
    async with database.transaction() as tx:
        mine = update(consumers).where(consumers.c.consumer == consumer)
        await tx.execute(mine.values(keep_s=keep_s))
        wanted = (await tx.execute(select(consumers.c.keep_s))).scalars().all()
    return None if None in wanted else timedelta(seconds=max(wanted))


def of_consumer(consumer: str) -> Select[Any]:
    """Selects ``topic``, ``partition``, ``offset`` and ``version`` of all rows of ``consumer``."""
    return select(_c.topic, _c.partition, _c.offset, _c.version).where(_c.consumer == consumer)


async def locked(
    tx: Transaction, consumer: str, partitions: Collection[TopicPartition]
) -> dict[TopicPartition, Kept]:
    """The rows of ``partitions``, which no other transaction may change until ``tx`` ends."""
    topics = {partition.topic for partition in partitions}
    # in one order everywhere, else two members could wait for each other
    mine = of_consumer(consumer).where(_c.topic.in_(topics)).order_by(_c.topic, _c.partition)
    rows = await tx.execute(mine.with_for_update())
    found = {TopicPartition(row.topic, row.partition): Kept(row.offset, row.version) for row in rows}
    return {partition: found[partition] for partition in partitions if partition in found}


async def latest_ms(tx: Transaction, consumer: str) -> int:
    """When this database was last written for ``consumer``, epoch ms; 0 if it never was."""
    return cast(int, await tx.scalar(select(func.max(_c.at_ms)).where(_c.consumer == consumer)) or 0)


async def put(tx: Transaction, consumer: str, rows: Mapping[TopicPartition, Kept]) -> None:
    """Write ``rows`` whatever stands there: their partitions have just been assigned to this member."""
    for (topic, partition), kept in sorted(rows.items()):
        place = {"consumer": consumer, "topic": topic, "partition": partition}
        values = {**place, **kept._asdict(), "at_ms": _now_ms()}
        await tx.upsert(offsets, values, list(place))


async def move(tx: Transaction, consumer: str, rows: Iterable[tuple[TopicPartition, int, int]]) -> None:
    """Move rows, each ``(partition, offset, version before)``. Raises ``MovedByAnother`` where another
    version stands; ``tx`` must be rolled back then."""
    for (topic, partition), offset, before in sorted(rows):
        values = {
            "who": consumer,
            "of_topic": topic,
            "of_partition": partition,
            "before": before,
            "to": offset,
            "now": _now_ms(),
        }
        if (await tx.execute(_MOVE, values)).rowcount != 1:
            raise MovedByAnother(
                f"the row of {topic}-{partition} in dingbridge_offsets is not as this member left it: the "
                "database went back in time, or another member has the partition"
            )


def _now_ms() -> int:
    return int(time.time() * 1000)
