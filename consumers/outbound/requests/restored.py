"""Outbound after a restore: paused until an operator resumes it. Meanwhile it reads the messages since the
back-up, so that it goes on with the newest desired states. Requests among them may have been carried out.
"""

import asyncio
import json
from collections.abc import Awaitable, Callable
from typing import Final

import structlog
from aiokafka import TopicPartition
from sqlalchemy import delete, select

from dingbridge import Database, Reader, Restored, Transaction
from dingbridge.consumers.outbound.tables import outbound_state
from dingbridge.kafka.group_offsets import committed_offsets
from dingbridge.kafka.reader import Span, TopicReader
from dingbridge.kafka.topics import existing_topics
from dingbridge.settings import KafkaSettings

log = structlog.get_logger(__name__)

_NAME: Final = "restored"
_LOOK_EVERY_S: Final = 0.5


async def pause(tx: Transaction, restored: Restored) -> None:
    """Write nothing to DingTalk until ``resume``."""
    value = json.dumps({"at_ms": restored.at_ms, "ends": restored.ends, "lost": restored.lost})
    await tx.upsert(outbound_state, {"name": _NAME, "value": value}, ["name"])


async def resume(tx: Transaction) -> None:
    await tx.execute(delete(outbound_state).where(outbound_state.c.name == _NAME))


async def paused(db: Reader | Transaction) -> Restored | None:
    """The restore since which outbound is paused; None: it is not."""
    value = await db.scalar(select(outbound_state.c.value).where(outbound_state.c.name == _NAME))
    return None if value is None else Restored(**json.loads(value))


async def doubt_since_ms(tx: Transaction) -> int | None:
    """Since when (epoch ms) the request being handled may have been carried out without a trace in the
    restored database; None: it was not. So may any replayed request, and, where Kafka has lost records, any
    request at all: the OA may be sending it again."""
    restored = await paused(tx)
    if restored is None:
        return None
    doubt = restored.lost or tx.ctx.replay_id or restored.may_be_known(tx.ctx.position)
    return restored.at_ms if doubt else None


async def when_resumed(database: Database, work: Callable[[], Awaitable[None]]) -> None:
    """Run ``work`` once it is not paused. After that it never is: a restore needs every process stopped."""
    while await paused(database.reader()) is not None:  # noqa: ASYNC110 - a command ends it, elsewhere
        await asyncio.sleep(_LOOK_EVERY_S)
    await work()


async def still_to_read(settings: KafkaSettings, consumer: str, restored: Restored) -> int:
    """How many records ``consumer`` has not read of those that were there before the restore, at most; 0 is
    exact. Raises ``KafkaUnavailable``."""
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
