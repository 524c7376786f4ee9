"""Reports what people do in DingTalk to people and departments that the OA never named, without an own id."""

from sqlalchemy import select

from dingbridge import Event, Retry, Transaction
from dingbridge.consumers.outbound.contacts.rows import entity_of
from dingbridge.consumers.outbound.contacts.wanted import refetch
from dingbridge.consumers.outbound.forms import ChangeData, OldNew
from dingbridge.consumers.outbound.ledger import EXISTS, Kind
from dingbridge.consumers.outbound.messages import change_record
from dingbridge.consumers.outbound.store import put
from dingbridge.consumers.outbound.tables import outbound_entity
from dingbridge.snapshots.late_answers import said_by

AGAIN_S = 5.0
_e = outbound_entity.c


async def report_unnamed(tx: Transaction, event: Event, kind: Kind, by: str | None) -> None:
    """Report ``event`` about a person or department without a row; ``by``: the actor's userid, if known.

    Raises ``Retry`` while a department may be one that we are creating: DingTalk chooses its dept_id, and the
    event may come before the reply. A person's userid is in the row from the beginning.
    """
    reported = said_by(event.event_type)
    if kind == "department" and reported != "absent":
        if await _creates(tx, event.corp_id):
            words = "a department of ours is being created, and this may be it"
            raise Retry(words, after=AGAIN_S, counts=False)
        if await refetch(tx, event.corp_id, kind, event.subject or "", by):
            return  # its creation was committed after the caller found no row (READ COMMITTED)
    there = {"present": OldNew(old=False, new=True), "absent": OldNew(old=True, new=False)}.get(reported)
    data = ChangeData(
        corp_id=event.corp_id, kind=kind, id=None, verdict="reported", dingtalk_id=event.subject,
        fields={EXISTS: there} if there else None, by=by,
    )  # fmt: skip
    at_ms = round(event.time.timestamp() * 1000)
    await put(tx, change_record(data, app=event.app, turn=at_ms, now_ms=at_ms))


async def _creates(tx: Transaction, corp_id: str) -> bool:
    """Whether the creation of a department is under way, or its outcome not known."""
    mine = (_e.corp_id == corp_id, _e.kind == "department", _e.owned_id.is_(None))
    again = _e.result.is_distinct_from("refused")  # otherwise it is read once an hour, or never
    begun = select(outbound_entity).where(*mine, again, _e.ledger.contains('"op":"create"'))
    return any(entity_of(row).ledger.creation is not None for row in await tx.execute(begun))
