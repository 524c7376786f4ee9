"""What messages and events do to the requests' rows, and the result that a row tells. What follows from it is
``agent.py``'s."""

import json
from collections.abc import Mapping
from typing import Any, Final

from sqlalchemy import ColumnElement, case, insert, or_, select, update

from consumers.outbound.messages import Answers, Message, Outgoing, ResultData, result_record
from consumers.outbound.requests.tables import key_of, outbound_requests
from consumers.outbound.store import now_ms, put
from dingbridge import Event, Transaction

_REUSED: Final = "Another request has this id already, and is carried out; give this one an id of its own"

_columns = outbound_requests.c


async def store_request(tx: Transaction, message: Message, now: int) -> None:
    """Make ``message`` a row. The same request again gets the same result again; what was refused, or not
    begun, may come anew under its id. ``now`` is epoch ms."""
    key = key_of(message.corp_id, message.kind, message.id)
    row = (await tx.execute(select(outbound_requests).where(key).with_for_update())).one_or_none()
    values: dict[str, Any] = {
        "type": message.type,
        "body": json.dumps(message.data, ensure_ascii=False, sort_keys=True),
        "app": message.app,
        "source": message.source,
        "message_id": message.message_id,
    }
    begins = {"result": None, "reason": None, "code": None, "words": None, "attempts": 0, "due_ms": now}
    if row is None:
        identity = {"corp_id": message.corp_id, "kind": message.kind, "request_id": message.id}
        new = {**identity, **values, **begins, "leased_ms": 0, "claims": 0}
        await tx.execute(insert(outbound_requests).values(**new))
    elif row.opened_ms is None and row.result in (None, "pending", "refused"):
        again = {**values, **begins, "leased_ms": 0, "claims": row.claims + 1}
        await tx.execute(update(outbound_requests).where(key).values(**again))
    elif (row.type, row.body) == (values["type"], values["body"]):
        answered = {"source": message.source, "message_id": message.message_id}
        await tx.execute(update(outbound_requests).where(key).values(**answered))
        if row.result is not None:
            await put(tx, result_record_of({**row._mapping, **answered}, now))
    else:
        refused = {"result": "refused", "reason": None, "code": None, "words": _REUSED, "ding_id": None}
        await put(tx, result_record_of({**row._mapping, **values, **refused}, now))


async def store_approval_event(tx: Transaction, event: Event) -> None:
    """Have the approval that ``event`` names fetched if it is one of ours and has ended. Of one whose call is
    under way the id is not known yet: it is fetched as soon as it is."""
    if event.data.get("type") not in ("finish", "terminate") or not event.subject:
        return
    named = _columns.ding_id == event.subject
    perhaps = _columns.ding_id.is_(None) & _columns.opened_ms.is_not(None)
    look = case((named, "event"), else_="asked")
    await _look(tx, event.corp_id, look, or_(named, perhaps), now_ms())


async def look_at_approvals(tx: Transaction, corp_id: str, now: int) -> None:
    """Have every approval of ours that has not ended fetched once: events may have been missed."""
    await _look(tx, corp_id, "asked", _columns.ding_id.is_not(None) & _columns.look.is_(None), now)


async def _look(tx: Transaction, corp_id: str, look: Any, which: ColumnElement[bool], now: int) -> None:
    mine = (_columns.corp_id == corp_id, _columns.type == "approval.start", _columns.outcome.is_(None))
    await tx.execute(update(outbound_requests).where(*mine, which).values(look=look, due_ms=now))


def result_record_of(row: Mapping[str, Any], now: int) -> Outgoing:
    """What stands in ``row``, for the sender."""
    same = {name: row[name] for name in ("corp_id", "kind", "result", "reason", "code", "words")}
    answers = Answers(source=row["source"], id=row["message_id"])
    data = ResultData(
        **same, id=row["request_id"], request=row["type"], dingtalk_id=row["ding_id"], answers=answers
    )
    return result_record(data, app=row["app"], turn=row["claims"], now_ms=now)
