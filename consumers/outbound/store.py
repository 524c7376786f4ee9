"""The ledger's rows: what a message or an event does to them, who works at one, and what is to be sent.

``handle`` and the agent write the same rows at the same time. ``handle`` raises ``touched``, so that the
agent sees at ``save`` that there is more to do; each agent raises ``claims``, so that one which was frozen
for longer than its lease sees that another has gone on. What is to be done is not decided here.
"""

import json
import time
from collections.abc import Collection
from dataclasses import dataclass, replace
from typing import Any

from pydantic import TypeAdapter
from sqlalchemy import ColumnElement, Row, and_, case, func, select, tuple_, update

from consumers.outbound.ledger import Decision, Kind, Ledger, Result
from consumers.outbound.ledger import release as released
from consumers.outbound.messages import (
    ROOT,
    Answers,
    ChangeData,
    Message,
    OldNew,
    Outgoing,
    ResultData,
    change_record,
    result_record,
)
from consumers.outbound.settings import DAY_MS
from consumers.outbound.tables import outbound_entity, outbound_outgoing, outbound_state
from dingbridge import Conflict, Database, Reader, Transaction

LEASE_MS = 180_000
"""For so long no other agent takes an entity up, in ms: a read and a write end long before."""

ROOT_ID = "1"
"""The company itself, as DingTalk's dept_id."""

Key = tuple[str, Kind, str]
"""corpId, kind and own id."""

REFERENCES: dict[str, Kind] = {
    "parent": "department", "departments": "department", "manager": "user", "managers": "user",
}  # fmt: skip
"""The fields that hold own ids, and of what."""

_ledgers = TypeAdapter(Ledger)
_e = outbound_entity.c
_RANK = case((and_(_e.absent, _e.kind == "user"), 2), (_e.absent, 3), (_e.kind == "department", 0), else_=1)
"""Departments, people in them, then removals: people, and departments when they are empty."""


def now_ms() -> int:
    return time.time_ns() // 1_000_000


@dataclass(frozen=True, slots=True)
class Entity:
    """A row as an agent took it up. ``wish`` is the last message's data, with own ids."""

    corp_id: str
    kind: Kind
    own_id: str
    app: str | None
    version: int
    absent: bool
    wish: dict[str, Any]
    since_ms: int
    flagged: bool
    touched: int
    ledger: Ledger
    claims: int = 0

    @property
    def key(self) -> Key:
        return self.corp_id, self.kind, self.own_id


# What messages and events do


async def want(tx: Transaction, message: Message, now: int) -> None:
    """Store what ``message`` (of a user or a department) wants, unless a newer version came before it."""
    kind: Kind = "user" if message.kind == "user" else "department"
    key, version = (message.corp_id, kind, message.id), message.version or 0
    answers = json.dumps({"source": message.source, "id": message.message_id})
    wanted = {
        "app": message.app, "version": version, "absent": message.absent, "since_ms": now,
        "answers": answers, "result": None, "due_ms": now,
    }  # fmt: skip
    if not message.absent:  # who it was stays known
        wanted["wish"] = json.dumps(wish_in(message), ensure_ascii=False)
    row = await _locked(tx, key)
    if row is None:
        corp_id, _, own_id = key
        empty = {
            "wish": "{}", "flagged": False, "touched": 0, "present": False, "adopted": False,
            "removal_approved": False, "leased_ms": 0, "claims": 0,
        }  # fmt: skip
        new = {"corp_id": corp_id, "kind": kind, "own_id": own_id, **empty, **wanted}
        new["ding_id"] = _chosen_userid(kind, own_id, message.data)
        if not (await tx.execute(tx.insert(outbound_entity).values(**new).on_conflict_do_nothing())).rowcount:
            raise Conflict("another message about this entity came first")
        return
    if version < row.version:
        await _answer(tx, row, Result("superseded", version), request=message.type, answers=answers)
        return
    values: dict[str, Any] = {"answers": answers}
    if version == row.version:  # said again; the answer too
        if row.result is not None:
            await _answer(tx, row, _last_result(row), answers=answers)
    else:
        if row.result in (None, "pending"):
            await _answer(tx, row, Result("superseded", row.version))
        if row.absent and message.absent:
            wanted["since_ms"] = row.since_ms  # the grace days go on
        else:
            wanted["removal_approved"] = False
        said = dict.fromkeys(("reason", "code", "words", "fields", "waits_for"))
        values = {**wanted, **said, "touched": _e.touched + 1}
    await tx.execute(update(outbound_entity).where(_is(key)).values(**values))


async def look(tx: Transaction, corp_id: str, kind: Kind, ding_id: str, by: str | None) -> bool:
    """Something happened to the entity in DingTalk; ``by`` is who did it, if known. False: it is none of
    ours."""
    values: dict[str, Any] = {"touched": _e.touched + 1, "flagged": True, "due_ms": now_ms()}
    if by is not None:
        values["by_userid"] = by
    where = (_e.corp_id == corp_id, _e.kind == kind, _e.ding_id == ding_id)
    return bool((await tx.execute(update(outbound_entity).where(*where).values(**values))).rowcount)


async def look_at_all(tx: Transaction, *of: ColumnElement[bool]) -> int:
    """Have every entity looked at, or those that ``of`` names: a reconcile. Returns how many."""
    values = {"touched": _e.touched + 1, "due_ms": now_ms()}
    return (await tx.execute(update(outbound_entity).where(*of).values(**values))).rowcount


async def release(tx: Transaction, row: Row[Any]) -> None:
    """By hand: write it, whatever held us back. An agent that is at it begins again."""
    ledger = _ledgers.dump_json(released(entity_of(row).ledger)).decode()
    await _change_by_hand(tx, row, ledger=ledger, adopted=False)


async def approve(tx: Transaction, row: Row[Any]) -> None:
    """By hand: remove it, whatever the day's removals are."""
    await _change_by_hand(tx, row, removal_approved=True)


async def _change_by_hand(tx: Transaction, row: Row[Any], **values: Any) -> None:
    again = {
        "result": None, "touched": _e.touched + 1, "claims": _e.claims + 1, "leased_ms": 0, "due_ms": now_ms()
    }  # fmt: skip
    mine = _is((row.corp_id, row.kind, row.own_id))
    await tx.execute(update(outbound_entity).where(mine).values(**again, **values))


# Who works at what


async def claim(database: Database, most: int, now: int) -> list[Entity]:
    """Take up to ``most`` entities that are due, for ``LEASE_MS``; nobody else gets them meanwhile."""
    due = and_(_e.due_ms <= now, _e.leased_ms <= now)
    if await database.reader().scalar(select(_e.own_id).where(due).limit(1)) is None:
        return []
    async with database.transaction() as tx:
        statement = select(outbound_entity).where(due).order_by(_RANK, _e.due_ms).limit(most)
        rows = (await tx.execute(statement.with_for_update(skip_locked=True))).all()
        keys = [(row.corp_id, row.kind, row.own_id) for row in rows]
        await tx.execute(
            update(outbound_entity)
            .where(tuple_(_e.corp_id, _e.kind, _e.own_id).in_(keys))
            .values(leased_ms=now + LEASE_MS, claims=_e.claims + 1)
        )
    return [replace(entity_of(row), claims=row.claims + 1) for row in rows]


def entity_of(row: Row[Any]) -> Entity:
    """The row as a value."""
    ledger = Ledger() if row.ledger is None else _ledgers.validate_json(row.ledger)
    # these two are changed by hand, too
    ledger = replace(ledger, adopted=row.adopted, removal_approved=row.removal_approved)
    return Entity(
        row.corp_id, row.kind, row.own_id, row.app, row.version, row.absent, json.loads(row.wish),
        row.since_ms, row.flagged, row.touched, ledger, row.claims,
    )  # fmt: skip


async def let_go(database: Database, entity: Entity) -> None:
    """Give ``entity`` back as it was."""
    async with database.transaction() as tx:
        mine = and_(_is(entity.key), _e.claims == entity.claims)
        await tx.execute(update(outbound_entity).where(mine).values(leased_ms=0))


async def save(
    tx: Transaction, entity: Entity, decision: Decision, *, keep: bool = False, waits_for: str | None = None
) -> Result | None:
    """Write what was decided about ``entity``, and the records that tell of it; ``keep``: more follows at
    once. Returns the result if it is news.

    Raises ``Conflict`` when another agent has taken it up since: nothing is written then.
    """
    came = waits_for is not None and await _came(tx, entity, waits_for)
    row = await _locked(tx, entity.key)
    if row is None or row.claims != entity.claims:
        raise Conflict("another agent has taken this entity up")
    ledger, touched = decision.ledger, row.touched != entity.touched
    values: dict[str, Any] = {
        "ledger": _ledgers.dump_json(ledger).decode(),
        "ding_id": ledger.ding_id or _chosen_userid(*entity.key[1:], entity.wish),
        "present": ledger.seen is not None,
        # unless it was released or approved meanwhile
        "adopted": ledger.adopted and row.adopted >= entity.ledger.adopted,
        "removal_approved": row.removal_approved if touched else ledger.removal_approved,
        "waits_for": waits_for,
    }
    if not keep:
        values["leased_ms"] = 0
        if not touched:
            due_ms = now_ms() if came else decision.due_ms
            values |= {"due_ms": due_ms, "flagged": False, "by_userid": None}
    for change in decision.changes:
        fields = {
            name: OldNew(
                old=await in_own_ids(tx, row.corp_id, name, old),
                new=await in_own_ids(tx, row.corp_id, name, new),
            )
            for name, (old, new) in change.fields.items()
        }
        data = ChangeData(
            corp_id=row.corp_id, kind=row.kind, id=row.own_id, verdict=change.verdict,
            dingtalk_id=ledger.ding_id, fields=fields, by=row.by_userid,
        )  # fmt: skip
        await put(tx, change_record(data, app=row.app, turn=_turn(row), now_ms=now_ms()))
    result = decision.result if row.version == entity.version else None
    said = (row.result, row.reason, row.code)
    if result is not None and (result.result, result.reason, result.code) == said:
        result = None
    if result is not None:
        values |= {
            "result": result.result, "reason": result.reason, "code": result.code, "words": result.words,
            "fields": json.dumps(result.fields), "result_ms": now_ms(),
        }  # fmt: skip
        await _answer(tx, row, result)
    await tx.execute(update(outbound_entity).where(_is(entity.key)).values(**values))
    if row.present != values["present"]:
        await _wake(tx, entity, here=values["present"])
    return result


async def _came(tx: Transaction, entity: Entity, waits_for: str) -> bool:
    """Whether what ``entity`` waits for has come since we looked; from here on its coming wakes us."""
    kind, own_id = waits_for.split(":", 1)
    awaited = and_(_e.corp_id == entity.corp_id, _e.kind == kind, _e.own_id == own_id)
    return bool(await tx.scalar(select(_e.present).where(awaited).with_for_update(read=True)))


async def _wake(tx: Transaction, entity: Entity, *, here: bool) -> None:
    """Have those looked at that waited for ``entity`` to be there, or to leave their department."""
    others = _e.waits_for == f"{entity.kind}:{entity.own_id}"
    if not here:
        seen = entity.ledger.seen or {}
        above = [str(dept_id) for dept_id in [*seen.get("departments", ()), seen.get("parent")]]
        others = and_(_e.kind == "department", _e.ding_id.in_(above), _e.reason == "not-empty")
    await look_at_all(tx, _e.corp_id == entity.corp_id, others)


async def _answer(
    tx: Transaction, row: Row[Any], result: Result, *, request: str | None = None, answers: str | None = None
) -> None:
    """Tell the sender of the row's last message, or of another that ``request`` and ``answers`` name."""
    data = ResultData(
        corp_id=row.corp_id, kind=row.kind, id=row.own_id,
        request=request or f"{row.kind}.{'absent' if row.absent else 'desired'}",
        version=result.version, result=result.result, reason=result.reason, code=result.code,
        words=result.words, dingtalk_id=result.ding_id, fields=list(result.fields) or None,
        answers=Answers(**json.loads(answers or row.answers)),
    )  # fmt: skip
    await put(tx, result_record(data, app=row.app, turn=_turn(row), now_ms=now_ms()))


def _last_result(row: Row[Any]) -> Result:
    fields = tuple(json.loads(row.fields or "[]"))
    return Result(row.result, row.version, row.reason, row.code, row.words, row.ding_id, fields)


def _turn(row: Row[Any]) -> int:
    """Rises with each message, each event and each look."""
    return int(row.touched + row.claims)


async def standing(db: Reader, now: int) -> tuple[dict[str, int], float]:
    """How many entities are in which state, and how long the oldest that waits for no calendar and no release
    has been pending, in s."""
    waiting = and_(_e.result == "pending", _e.reason.not_in(("grace", "adopted")))
    states = {
        "pending": _e.result == "pending", "conflict": _e.result == "conflict", "adopted": _e.adopted,
        "waiting-removal": _e.reason == "removal-approval",
    }  # fmt: skip
    counts = [func.count().filter(state).label(f"n{number}") for number, state in enumerate(states.values())]
    oldest = func.min(_e.result_ms).filter(waiting)
    found = (await db.execute(select(oldest, *counts).select_from(outbound_entity))).one()
    since = found[0]
    return dict(zip(states, found[1:], strict=True)), 0.0 if since is None else max(0, now - since) / 1000


# The brake


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


# Ids, and what is to be sent


async def ding_ids(
    db: Reader | Transaction, corp_id: str, kind: Kind, own_ids: Collection[str]
) -> dict[str, str]:
    """DingTalk's ids of those of ``own_ids`` that it has, by own id; of ``root`` too."""
    found = await db.execute(
        select(_e.own_id, _e.ding_id).where(
            _e.corp_id == corp_id, _e.kind == kind, _e.own_id.in_(own_ids), _e.present
        )
    )
    root = {ROOT: ROOT_ID} if kind == "department" and ROOT in own_ids else {}
    return {row.own_id: row.ding_id for row in found} | root


async def own_id_of(db: Reader | Transaction, corp_id: str, kind: Kind, ding_id: str) -> str | None:
    """The own id of what DingTalk calls ``ding_id``; None: it is none of ours."""
    where = (_e.corp_id == corp_id, _e.kind == kind, _e.ding_id == ding_id)
    own_id: str | None = await db.scalar(select(_e.own_id).where(*where).limit(1))
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
    """Have records sent after ``tx``, in this order."""
    values = [{"topic": one.topic, "key": one.key, "value": one.value.decode()} for one in outgoing]
    await tx.execute(outbound_outgoing.insert(), values)


def wish_in(message: Message) -> dict[str, Any]:
    """What a row keeps of a message: the fields, and the userid if one is given."""
    given = {"userid": message.data["userid"]} if "userid" in message.data else {}
    return {**message.fields, **given}


def _chosen_userid(kind: str, own_id: str, data: dict[str, Any]) -> str | None:
    """The userid that a user gets, or has; events may come before the reply that confirms it."""
    return str(data.get("userid") or own_id) if kind == "user" else None


def _is(key: Key) -> ColumnElement[bool]:
    corp_id, kind, own_id = key
    return and_(_e.corp_id == corp_id, _e.kind == kind, _e.own_id == own_id)


async def _locked(tx: Transaction, key: Key) -> Row[Any] | None:
    return (await tx.execute(select(outbound_entity).where(_is(key)).with_for_update())).one_or_none()
