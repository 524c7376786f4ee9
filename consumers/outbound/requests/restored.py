"""Outbound after its database went back in time: paused until an operator resumes it. Meanwhile it reads the
messages since then, so that it goes on with the newest desired states. Requests among them may have been
carried out.
"""

import json
from typing import Final

import structlog
from aiokafka import TopicPartition
from sqlalchemy import delete, select

from dingbridge import Reader, Restored, Transaction
from dingbridge.consumers.outbound.tables import PAUSED, outbound_state
from dingbridge.kafka.group_offsets import committed_offsets
from dingbridge.kafka.reader import Span, TopicReader
from dingbridge.kafka.topics import existing_topics
from dingbridge.settings import KafkaSettings

log = structlog.get_logger(__name__)

_THIS: Final = outbound_state.c.name == PAUSED
_STORED: Final = select(outbound_state.c.value).where(_THIS)


async def pause(tx: Transaction, restored: Restored) -> None:
    """Write nothing to DingTalk until ``resume``. Each member reports its own partitions, and a member that
    was killed reports them again: the pause is the sum of all reports."""
    # of two members that notice it at once, the second waits for the first
    await tx.execute(tx.insert(outbound_state).values(name=PAUSED).on_conflict_do_nothing())
    before = _restored(await tx.scalar(_STORED.with_for_update()))
    both = restored if before is None else _both(before, restored)
    value = json.dumps({"at_ms": both.at_ms, "ends": both.ends, "lost": both.lost})
    await tx.upsert(outbound_state, {"name": PAUSED, "value": value}, ["name"])


def _both(one: Restored, other: Restored) -> Restored:
    ends = {topic: dict(of_topic) for topic, of_topic in one.ends.items()}
    for topic, of_topic in other.ends.items():
        mine = ends.setdefault(topic, {})
        mine |= {number: max(end, mine.get(number, 0)) for number, end in of_topic.items()}
    return Restored(min(one.at_ms, other.at_ms), ends, one.lost or other.lost)


def warn_paused() -> None:
    log.warning("outbound.paused", remedy="dingbridge outbound status, then dingbridge outbound resume")


async def resume(tx: Transaction) -> None:
    await tx.execute(delete(outbound_state).where(_THIS))


async def paused(db: Reader | Transaction) -> Restored | None:
    """What the database lost when it went back, for which outbound is paused; None: it is not paused."""
    return _restored(await db.scalar(_STORED))


def _restored(value: str | None) -> Restored | None:
    return None if value is None else Restored(**json.loads(value))


async def doubt_since_ms(tx: Transaction) -> int | None:
    """Since when (epoch ms) the request being handled may have been carried out without a trace in the
    database; None: it was not. So may any replayed request, and, where Kafka has lost records, any request at
    all: the OA may be sending it again."""
    restored = await paused(tx)
    if restored is None:
        return None
    doubt = restored.lost or tx.ctx.replay_id or restored.may_be_known(tx.ctx.position)
    return restored.at_ms if doubt else None


async def still_to_read(settings: KafkaSettings, consumer: str, restored: Restored) -> int:
    """How many records ``consumer`` has not read of those that were there when the database went back, at
    most; 0 is exact. Raises ``KafkaUnavailable``."""
    done = await committed_offsets(settings, consumer)
    there = await existing_topics(settings, restored.ends)
    left = dict[TopicPartition, Span]()
    async with TopicReader(settings) as reader:
        spans = await reader.spans({name: there[name] for name in restored.ends if name in there})
        for partition, span in spans.items():
            end = min(restored.ends[partition.topic].get(str(partition.partition), 0), span.end)
            begin = max(span.begin, done[partition].offset if partition in done else 0)
            left[partition] = Span(begin, max(begin, end))
        async for _ in reader.read(left):  # behind the last one, a transaction's end may have an offset
            return sum(span.end - span.begin for span in left.values())
    return 0
