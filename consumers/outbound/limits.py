"""Counts what has a daily limit, over the last 24 hours and all processes, for each company."""

import json
from typing import Literal

from sqlalchemy import select, update

from dingbridge import Reader, Transaction
from dingbridge.consumers.outbound.settings import DAY_MS
from dingbridge.consumers.outbound.tables import outbound_state

What = Literal["removals", "approvals"]


async def is_left(db: Reader | Transaction, what: What, corp_id: str, most: int, now: int) -> bool:
    """Whether the last 24 hours have seen fewer than ``most``."""
    return len(await _lately(db, f"{what}:{corp_id}", now)) < most


async def count_one(tx: Transaction, what: What, corp_id: str, most: int, now: int) -> bool:
    """Count one more; False, and nothing is counted, when there were ``most`` already."""
    name = f"{what}:{corp_id}"
    await tx.execute(tx.insert(outbound_state).values(name=name, value="[]").on_conflict_do_nothing())
    await tx.execute(select(outbound_state).where(outbound_state.c.name == name).with_for_update())
    lately = await _lately(tx, name, now)
    if len(lately) >= most:
        return False
    value = json.dumps([*lately, now])
    await tx.execute(update(outbound_state).where(outbound_state.c.name == name).values(value=value))
    return True


async def _lately(db: Reader | Transaction, name: str, now: int) -> list[int]:
    found = await db.scalar(select(outbound_state.c.value).where(outbound_state.c.name == name))
    return [at for at in json.loads(found or "[]") if at > now - DAY_MS]
