"""Queries that all parts of outbound share: which id belongs to which own id, and what is to be sent."""

import time
from collections.abc import Collection
from typing import Any

from sqlalchemy import select

from dingbridge import Reader, Transaction
from dingbridge.consumers.outbound.ledger import Kind
from dingbridge.consumers.outbound.messages import ROOT, Outgoing
from dingbridge.consumers.outbound.tables import outbound_entity, outbound_outgoing

ROOT_ID = "1"
"""The company itself, as DingTalk's dept_id."""

REFERENCES: dict[str, Kind] = {
    "parent": "department", "departments": "department", "manager": "user", "managers": "user",
}  # fmt: skip
"""The fields that hold own ids, and of what."""

_e = outbound_entity.c


def now_ms() -> int:
    return time.time_ns() // 1_000_000


async def ding_ids(
    db: Reader | Transaction, corp_id: str, kind: Kind, own_ids: Collection[str]
) -> dict[str, str]:
    """DingTalk's ids of those of ``own_ids`` that exist and that the OA owns, by own id; also of ``root``."""
    found = await db.execute(
        select(_e.own_id, _e.owned_id).where(
            _e.corp_id == corp_id, _e.kind == kind, _e.own_id.in_(own_ids), _e.present
        )
    )
    root = {ROOT: ROOT_ID} if kind == "department" and ROOT in own_ids else {}
    return {row.own_id: row.owned_id for row in found} | root


async def named(db: Reader | Transaction, corp_id: str, kind: Kind, own_ids: Collection[str]) -> set[str]:
    """Those of ``own_ids`` that the OA has named in a message of their own."""
    where = (_e.corp_id == corp_id, _e.kind == kind, _e.own_id.in_(own_ids))
    return {row.own_id for row in await db.execute(select(_e.own_id).where(*where))}


async def own_id_of(
    db: Reader | Transaction, corp_id: str, kind: Kind, ding_id: str, *, but: str = ""
) -> str | None:
    """The own id, other than ``but``, that owns ``ding_id``; None: no row owns it."""
    where = (_e.corp_id == corp_id, _e.kind == kind, _e.owned_id == ding_id, _e.own_id != but)
    own_id: str | None = await db.scalar(select(_e.own_id).where(*where))
    return own_id


async def in_own_ids(db: Reader | Transaction, corp_id: str, name: str, value: Any) -> Any:
    """The value of field ``name`` with own ids where it holds references, as far as the ledger knows them."""
    if name not in REFERENCES or value is None:
        return value
    if isinstance(value, list):
        return [await in_own_ids(db, corp_id, name, item) for item in value]
    if REFERENCES[name] == "department" and str(value) == ROOT_ID:
        return ROOT
    return await own_id_of(db, corp_id, REFERENCES[name], str(value)) or str(value)


async def put(tx: Transaction, *outgoing: Outgoing) -> None:
    """Queue records, which are sent in this order once ``tx`` is committed."""
    values = [{"topic": one.topic, "key": one.key, "value": one.value.decode()} for one in outgoing]
    await tx.execute(outbound_outgoing.insert(), values)
