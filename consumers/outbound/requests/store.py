"""Stores what messages and events say about requests, and builds a row's result. ``agent.py`` does the
rest."""

import json
from collections.abc import Mapping
from typing import Any, Final

from sqlalchemy import ColumnElement, Row, and_, case, delete, func, insert, not_, or_, select, update

from dingbridge import Database, Event, Transaction
from dingbridge.consumers.outbound.forms import Answers, ResultData
from dingbridge.consumers.outbound.messages import Message, Outgoing, result_record
from dingbridge.consumers.outbound.requests.tables import key_of, outbound_requests
from dingbridge.consumers.outbound.store import now_ms, put
from dingbridge.consumers.outbound.tables import NOT_PAUSED
from dingbridge.work_queue import PEOPLE_WAIT, RECONCILE, WorkQueue

LEASE_S: Final = 180.0
REQUESTS: Final = WorkQueue(outbound_requests, NOT_PAUSED, lease_s=LEASE_S)

_UNKNOWN: Final = (
    "It may have been carried out before outbound's database went back. dingbridge outbound release, "
    "with its id, looks for it in DingTalk, and carries it out if it is not there"
)
_ANOTHERS: Final = (
    "Another sender (`source`) has made a request under this id; give this one an id of its own"
)
_REUSED: Final = "Another request has this id already, and is carried out; give this one an id of its own"

_columns = outbound_requests.c

ENDED: Final = and_(
    _columns.result.in_(("done", "unchanged", "refused", "conflict")), _columns.due_ms.is_(None)
)
"""The results of requests that are over."""

UNKNOWN: Final = and_(_columns.result == "pending", _columns.reason == "unknown")
"""Requests that may have been carried out before the database went back: ``release`` finds out."""


async def store_request(tx: Transaction, message: Message, now: int, *, doubt_ms: int | None = None) -> None:
    """Make ``message`` a row. The same request again gets the same result again; one that was refused or
    not begun may be sent again under its id, by the same sender. ``now`` is epoch ms. ``doubt_ms``: since
    then it may have been carried out without a trace in this database, so it waits for an operator."""
    key = key_of(message.corp_id, message.kind, message.id)
    row = (await tx.execute(select(outbound_requests).where(key).with_for_update())).one_or_none()
    values: dict[str, Any] = {
        "type": message.type,
        "body": json.dumps(message.data, ensure_ascii=False, sort_keys=True),
        "app": message.app,
        "source": message.source,
        "message_id": message.message_id,
    }
    begins = {"result": None, "reason": None, "code": None, "words": None, "attempts": 0}
    if row is None:
        identity = {"corp_id": message.corp_id, "kind": message.kind, "request_id": message.id}
        new = {**identity, **values, **begins, "due_ms": now, "priority": PEOPLE_WAIT}
        new |= {} if doubt_ms is None else _unknown(doubt_ms, now)
        await tx.execute(insert(outbound_requests).values(**new))
    elif row.source != message.source:  # Invariant 7: neither replaced, nor answered to another sender
        await put(tx, _refusal(row, values, _ANOTHERS, now))
    elif row.opened_ms is None and row.result in (None, "pending", "refused"):
        due = REQUESTS.due(PEOPLE_WAIT, now)
        again = {**values, **begins, **due, "leased_ms": 0, "claims": row.claims + 1}
        again |= {} if doubt_ms is None else _unknown(doubt_ms, now)
        await tx.execute(update(outbound_requests).where(key).values(**again))
    elif (row.type, row.body) == (values["type"], values["body"]):
        answered = {"source": message.source, "message_id": message.message_id}
        await tx.execute(update(outbound_requests).where(key).values(**answered))
        if row.result is not None:
            await put(tx, result_record_of({**row._mapping, **answered}, now))
    else:
        await put(tx, _refusal(row, values, _REUSED, now))


def _refusal(row: Row[Any], values: Mapping[str, Any], words: str, now: int) -> Outgoing:
    """The refusal of a message, by its ``values``, whose id ``row`` has."""
    refused = {"result": "refused", "reason": None, "code": None, "words": words, "ding_id": None}
    return result_record_of({**row._mapping, **values, **refused}, now)


def _unknown(since_ms: int, now: int) -> dict[str, Any]:
    """The columns of a request that may have been carried out. It waits for an operator. Then DingTalk is
    read first, as after a call whose answer was lost."""
    answer = {"result": "pending", "reason": "unknown", "code": None, "words": _UNKNOWN, "result_ms": now}
    return {**answer, "opened_ms": since_ms, "due_ms": None}


async def doubt_all(tx: Transaction, since_ms: int, now: int) -> None:
    """Have each request that had not ended at ``since_ms`` wait for an operator: the database went back."""
    begun = func.coalesce(_columns.opened_ms, since_ms)
    values = {**_unknown(since_ms, now), "opened_ms": begun, "leased_ms": 0, "claims": _columns.claims + 1}
    not_done = or_(_columns.result.is_(None), _columns.result == "pending")
    await tx.execute(update(outbound_requests).where(not_done).values(**values))


async def release(tx: Transaction, row: Row[Any]) -> None:
    """By an operator: carry out a request of unknown outcome, unless DingTalk shows that it was."""
    # the reason stays: whether it may act in a person's name was perhaps never checked
    again = {"result": None, "words": None, **REQUESTS.due(PEOPLE_WAIT), "attempts": 0}
    key = key_of(row.corp_id, row.kind, row.request_id)
    await tx.execute(update(outbound_requests).where(key).values(**again))


async def store_approval_event(tx: Transaction, event: Event) -> None:
    """Have the approval that ``event`` names fetched if it is ours and has ended. While its start is under
    way its id is not known; it is fetched as soon as it is."""
    if event.data.get("type") not in ("finish", "terminate") or not event.subject:
        return
    named = _columns.ding_id == event.subject
    under_way = _columns.ding_id.is_(None) & _columns.opened_ms.is_not(None)
    refetch = case((named, "event"), else_="asked")
    await _refetch(tx, event.corp_id, refetch, or_(named, under_way), REQUESTS.due(PEOPLE_WAIT, now_ms()))


async def refetch_approvals(tx: Transaction, corp_id: str, now: int) -> None:
    """Have every approval of ours that has not ended fetched once: events may have been missed."""
    which = _columns.ding_id.is_not(None) & _columns.refetch.is_(None)
    await _refetch(tx, corp_id, "asked", which, REQUESTS.due(RECONCILE, now))


async def _refetch(
    tx: Transaction, corp_id: str, refetch: Any, which: ColumnElement[bool], due: Mapping[str, Any]
) -> None:
    mine = (_columns.corp_id == corp_id, _columns.type == "approval.start", _columns.outcome.is_(None))
    due = {**due, "due_ms": case((UNKNOWN, None), else_=due["due_ms"])}
    await tx.execute(update(outbound_requests).where(*mine, which).values(refetch=refetch, **due))


async def forget_old(database: Database, before_ms: int) -> int:
    """Delete the requests that ended before; approvals that still run stay. Returns how many. A later message
    with such an id is a new request, so no topic may still hold the old one."""
    runs = and_(_columns.type == "approval.start", _columns.ding_id.is_not(None), _columns.outcome.is_(None))
    old = (ENDED, _columns.result_ms < before_ms, not_(runs))
    if await database.reader().scalar(select(_columns.request_id).where(*old).limit(1)) is None:
        return 0
    async with database.transaction() as tx:
        return (await tx.execute(delete(outbound_requests).where(*old))).rowcount


def result_record_of(row: Mapping[str, Any], now: int) -> Outgoing:
    """The result in ``row``, for the sender."""
    same = {name: row[name] for name in ("corp_id", "kind", "result", "reason", "code", "words")}
    answers = Answers(source=row["source"], id=row["message_id"])
    data = ResultData(
        **same, id=row["request_id"], request=row["type"], dingtalk_id=row["ding_id"], answers=answers
    )
    return result_record(data, app=row["app"], turn=row["claims"], now_ms=now)
