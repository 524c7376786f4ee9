"""Outbound after a restore: it is paused until a hand resumes it. Meanwhile it reads what came since the
back-up, so that it begins with the newest that is wanted; requests among that may have been carried out.
"""

import asyncio
import json
from collections.abc import Awaitable, Callable
from typing import Final

import structlog
from sqlalchemy import delete, select

from dingbridge import Database, Reader, Restored, Transaction
from dingbridge.consumers.outbound.tables import outbound_state
from dingbridge.kafka.group_offsets import committed_offsets
from dingbridge.settings import KafkaSettings

log = structlog.get_logger(__name__)

_NAME: Final = "restored"
_LOOK_EVERY_S: Final = 0.5


async def pause(tx: Transaction, restored: Restored) -> None:
    """Have nothing written to DingTalk until ``resume``."""
    value = json.dumps({"at_ms": restored.at_ms, "ends": restored.ends})
    await tx.upsert(outbound_state, {"name": _NAME, "value": value}, ["name"])


async def resume(tx: Transaction) -> None:
    await tx.execute(delete(outbound_state).where(outbound_state.c.name == _NAME))


async def paused(db: Reader | Transaction) -> Restored | None:
    """The restore after which nobody has resumed yet; None: there was none."""
    value = await db.scalar(select(outbound_state.c.value).where(outbound_state.c.name == _NAME))
    return None if value is None else Restored(**json.loads(value))


async def when_resumed(database: Database, work: Callable[[], Awaitable[None]]) -> None:
    """Run ``work`` once it is not paused. After that it never is: a restore needs every process stopped."""
    while await paused(database.reader()) is not None:  # noqa: ASYNC110 - a command ends it, elsewhere
        await asyncio.sleep(_LOOK_EVERY_S)
    await work()


async def still_to_read(settings: KafkaSettings, consumer: str, restored: Restored) -> int:
    """How many records ``consumer`` has not read of those that were there before the restore. Raises
    ``KafkaUnavailable``."""
    done = {tuple(p): at.offset for p, at in (await committed_offsets(settings, consumer)).items()}
    ends = ((t, int(n), end) for t, partitions in restored.ends.items() for n, end in partitions.items())
    return sum(max(0, end - done.get((topic, number), 0)) for topic, number, end in ends)
