"""The ledger's rows: claim one, store what was decided about it.

``handle`` and the agent write the same rows at the same time; ``QUEUE`` knows whether a row became due
meanwhile, and who holds its lease. Not here: what to do (``decide.py``).
"""

import json
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Final

from pydantic import TypeAdapter
from sqlalchemy import ColumnElement, Row, and_, or_, select, update

from dingbridge import Conflict, Reader, Transaction
from dingbridge.consumers.outbound.contacts.answers import in_words, send_change, send_result
from dingbridge.consumers.outbound.fields import DINGTALK_IDS
from dingbridge.consumers.outbound.ledger import Decision, Kind, Ledger, Observed, Result
from dingbridge.consumers.outbound.store import now_ms, own_id_of
from dingbridge.consumers.outbound.tables import NOT_PAUSED, outbound_entity
from dingbridge.work_queue import ORDINARY, WorkQueue

QUEUE: Final = WorkQueue(outbound_entity, NOT_PAUSED, lease_s=75, clock=lambda: now_ms() / 1000)
"""The lease is longer than an entity's reads and its write together may take."""

Key = tuple[str, Kind, str]
"""corpId, kind and own id."""

_ledgers = TypeAdapter(Ledger)
_e = outbound_entity.c


@dataclass(frozen=True, slots=True)
class Entity:
    """A row as an agent claimed it; a plan's has no ``row``. ``desired`` is the last message's data, with own
    ids."""

    corp_id: str
    kind: Kind
    own_id: str
    app: str | None
    version: int
    absent: bool
    desired: dict[str, Any]
    since_ms: int
    flagged: bool
    ledger: Ledger
    immediate: bool = False
    row: Any = field(default=None, repr=False, compare=False)

    @property
    def key(self) -> Key:
        return self.corp_id, self.kind, self.own_id


async def make_due(tx: Transaction, *which: ColumnElement[bool], priority: int = ORDINARY) -> int:
    """Make the entities due, or those that ``which`` names. Returns how many."""
    statement = update(outbound_entity).where(*which).values(**QUEUE.due(priority))
    return (await tx.execute(statement)).rowcount


def as_json(ledger: Ledger) -> str:
    return _ledgers.dump_json(ledger).decode()


def entity_of(row: Row[Any]) -> Entity:
    """The row as a value."""
    ledger = Ledger() if row.ledger is None else _ledgers.validate_json(row.ledger)
    ledger = replace(ledger, removal_approved=row.removal_approved)  # which is given by hand, too
    return Entity(
        row.corp_id, row.kind, row.own_id, row.app, row.version, row.absent, json.loads(row.desired),
        row.since_ms, row.flagged, ledger, bool(row.immediate), row,
    )  # fmt: skip


async def save(
    tx: Transaction, entity: Entity, decision: Decision, *, keep: bool = False, waits_for: str | None = None
) -> Result | None:
    """Store what was decided about ``entity``, and the records that report it; ``keep``: the caller keeps the
    lease. Returns the result if it is a new one.

    Raises ``Conflict`` when another agent has claimed it since, or when a call would follow although a newer
    message has come: nothing is written then.
    """
    came = waits_for is not None and await _came(tx, entity, waits_for)
    row = await locked(tx, entity.key)
    if row is None or row.claims != entity.row.claims:
        raise Conflict("another agent has taken this entity up")
    if decision.action is not None and row.version != entity.version:
        raise Conflict("a newer message came")
    ledger, touched = decision.ledger, row.due_ms != row.leased_ms
    there = ledger.owned_id is not None and ledger.seen is not None
    present = there and ledger.conflict != "somebody-else"  # else references would name another person
    values: dict[str, Any] = {
        "ledger": as_json(ledger),
        "owned_id": ledger.owned_id,
        "ding_id": ledger.ding_id or named_id(*entity.key[1:], entity.desired) or row.ding_id,
        "present": present,
        # unless it was approved meanwhile
        "removal_approved": row.removal_approved if touched else ledger.removal_approved,
        "waits_for": waits_for,
    }
    if not (keep or touched):
        values |= {"flagged": False, "by_userid": None}
    for change in decision.changes:
        await send_change(tx, row, change, ledger.ding_id)
    result = decision.result if row.version == entity.version else None
    before = (row.result, row.reason, row.code)
    if result is not None and (result.result, result.reason, result.code) == before:
        result = None
    if result is not None:
        result = in_words(result, entity.own_id, waits_for, absent=entity.absent)
        values |= {
            "result": result.result, "reason": result.reason, "code": result.code, "words": result.words,
            "fields": json.dumps(result.fields), "result_ms": now_ms(),
        }  # fmt: skip
        await send_result(tx, row, result)
    if keep:
        await QUEUE.renew(tx, row, **values)
    else:
        await QUEUE.release(tx, row, due_ms=now_ms() if came else decision.due_ms, **values)
    await _wake(tx, entity, ledger, comes=present and not row.present, was_there=row.present)
    return result


async def _came(tx: Transaction, entity: Entity, waits_for: str) -> bool:
    """Whether what ``entity`` waits for has come since the last read; from here on its arrival makes it
    due."""
    kind, own_id = waits_for.split(":", 1)
    awaited = and_(_e.corp_id == entity.corp_id, _e.kind == kind, _e.own_id == own_id)
    return bool(await tx.scalar(select(_e.present).where(awaited).with_for_update(read=True)))


async def _wake(tx: Transaction, entity: Entity, ledger: Ledger, *, comes: bool, was_there: bool) -> None:
    """Make those due that waited for ``entity`` to exist, or to join or leave their department."""
    before, now = _above(entity.ledger) if was_there else set(), _above(ledger)
    others = []
    if comes:
        others.append(_e.waits_for == f"{entity.kind}:{entity.own_id}")
    if before - now:
        others.append(and_(_is_department(before - now), _e.reason == "not-empty"))
    if entity.kind == "user" and now - before:
        at_it = _e.leased_ms > now_ms()  # DingTalk may just have answered that this is no member
        others.append(and_(_is_department(now - before), or_(_e.reason == "manager-missing", at_it)))
    if others:
        await make_due(tx, _e.corp_id == entity.corp_id, or_(*others))


def _above(ledger: Ledger) -> set[str]:
    """The dept_ids of the departments that it is in."""
    seen = ledger.seen or {}
    return {str(dept_id) for dept_id in [*seen.get("departments", ()), seen.get("parent")] if dept_id}


def _is_department(dept_ids: Collection[str]) -> ColumnElement[bool]:
    return and_(_e.kind == "department", _e.owned_id.in_(dept_ids))


async def members_among(db: Reader, corp_id: str, own_ids: Collection[str], dept_id: str | None) -> set[str]:
    """Those of the users ``own_ids`` who are in the department, as last seen."""
    mine = (_e.corp_id == corp_id, _e.kind == "user", _e.own_id.in_(own_ids))
    found = map(entity_of, await db.execute(select(outbound_entity).where(*mine)))
    return {user.own_id for user in found if dept_id in _above(user.ledger)}


async def owned_by_another(
    db: Reader, entity: Entity, ledger: Ledger, observed: Observed | None
) -> Result | None:
    """A conflict when the entity found, or the userid to be created, belongs to another row."""
    if ledger.owned_id is not None and observed is not None:
        return None
    ding_id = observed.ding_id if observed else userid_of(entity) if entity.kind == "user" else None
    if ding_id is None:
        return None
    other = await own_id_of(db, entity.corp_id, entity.kind, ding_id, but=entity.own_id)
    if other is None:
        return None
    words = (
        f"{entity.own_id}: {ding_id} in DingTalk belongs to {other}, and to one own id only. Correct the "
        f"userid, the deptId, the mobile or the name of one of the two, or let the OA say that {other} is "
        "absent"
    )
    return Result("conflict", entity.version, reason="owned-by-another", words=words, ding_id=ding_id)


def userid_of(entity: Entity) -> str:
    """The userid of a user that we create."""
    return str(entity.desired.get("userid") or entity.own_id)


def named_id(kind: Kind, own_id: str, data: Mapping[str, Any]) -> str | None:
    """DingTalk's id by the message: of a user the one that they get, or have; of a department None unless it
    is given. Events may come before the reply that confirms it."""
    return data.get(DINGTALK_IDS[kind]) or (own_id if kind == "user" else None)


def is_(key: Key) -> ColumnElement[bool]:
    corp_id, kind, own_id = key
    return and_(_e.corp_id == corp_id, _e.kind == kind, _e.own_id == own_id)


async def locked(tx: Transaction, key: Key) -> Row[Any] | None:
    return (await tx.execute(select(outbound_entity).where(is_(key)).with_for_update())).one_or_none()
