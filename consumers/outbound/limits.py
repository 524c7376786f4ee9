"""Counts what has a daily limit, over the last 24 hours and all processes, for each DingTalk app.

The app is the one that makes the calls. A message's corpId is only what its sender claims.
"""

import json
from collections.abc import Callable
from typing import Final, Literal

from sqlalchemy import select, update

from dingbridge import Reader, Transaction
from dingbridge.consumers.outbound.settings import DAY_MS
from dingbridge.consumers.outbound.tables import outbound_state

What = Literal["removals", "updates", "approvals"]
AppOf = Callable[[str | None], str]
"""The name of the app that makes the calls for a message that names an app, or none."""

_MINUTE_MS: Final = 60_000


def as_named(app: str | None) -> str:
    """An ``AppOf`` that takes each name for an app of its own."""
    return app or ""


async def is_left(db: Reader | Transaction, what: What, app: str, most: int, now: int) -> bool:
    """Whether the last 24 hours have seen fewer than ``most``."""
    return sum((await _by_minute(db, f"{what}:{app}", now)).values()) < most


async def count_one(tx: Transaction, what: What, app: str, most: int, now: int) -> bool:
    """Count one more; False, and nothing is counted, when there were ``most`` already."""
    name, minute = f"{what}:{app}", str(now // _MINUTE_MS)
    await tx.execute(tx.insert(outbound_state).values(name=name, value="{}").on_conflict_do_nothing())
    await tx.execute(select(outbound_state).where(outbound_state.c.name == name).with_for_update())
    counts = await _by_minute(tx, name, now)
    if sum(counts.values()) >= most:
        return False
    value = json.dumps({**counts, minute: counts.get(minute, 0) + 1})
    await tx.execute(update(outbound_state).where(outbound_state.c.name == name).values(value=value))
    return True


async def _by_minute(db: Reader | Transaction, name: str, now: int) -> dict[str, int]:
    """``{epoch minute: count}`` of the last 24 hours."""
    found = await db.scalar(select(outbound_state.c.value).where(outbound_state.c.name == name))
    begin = (now - DAY_MS) // _MINUTE_MS
    return {minute: count for minute, count in json.loads(found or "{}").items() if int(minute) > begin}
