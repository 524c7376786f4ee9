"""How many removals the last 24 hours have seen: beyond OUTBOUND_MAX_REMOVALS they wait for a hand."""

import json

from sqlalchemy import select, update

from consumers.outbound.settings import DAY_MS
from consumers.outbound.tables import outbound_state
from dingbridge import Reader, Transaction


async def removals_left(db: Reader | Transaction, corp_id: str, most: int, now: int) -> bool:
    """Whether the last 24 hours have seen fewer removals than ``most``."""
    return len(await _removals(db, corp_id, now)) < most


async def count_removal(tx: Transaction, corp_id: str, most: int, now: int) -> bool:
    """Count one more; False, and nothing is counted, when there were ``most`` already."""
    name = f"removals:{corp_id}"
    await tx.execute(tx.insert(outbound_state).values(name=name, value="[]").on_conflict_do_nothing())
    await tx.execute(select(outbound_state).where(outbound_state.c.name == name).with_for_update())
    removals = await _removals(tx, corp_id, now)
    if len(removals) >= most:
        return False
    value = json.dumps([*removals, now])
    await tx.execute(update(outbound_state).where(outbound_state.c.name == name).values(value=value))
    return True


async def _removals(db: Reader | Transaction, corp_id: str, now: int) -> list[int]:
    found = await db.scalar(
        select(outbound_state.c.value).where(outbound_state.c.name == f"removals:{corp_id}")
    )
    return [at for at in json.loads(found or "[]") if at > now - DAY_MS]
