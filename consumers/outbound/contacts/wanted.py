"""What messages, events and the operator's commands do to the ledger's rows; the agent does the rest."""

import json
from dataclasses import replace
from typing import Any, Final

from sqlalchemy import Row, update

from dingbridge import Conflict, Reject, Transaction
from dingbridge.consumers.outbound.contacts.answers import last_result, send_result
from dingbridge.consumers.outbound.contacts.rows import QUEUE, as_json, entity_of, is_, locked, named_id
from dingbridge.consumers.outbound.fields import DINGTALK_IDS
from dingbridge.consumers.outbound.ledger import Kind, Result
from dingbridge.consumers.outbound.ledger import release as released
from dingbridge.consumers.outbound.messages import Message
from dingbridge.consumers.outbound.settings import DAY_MS
from dingbridge.consumers.outbound.store import own_id_of
from dingbridge.consumers.outbound.tables import outbound_entity
from dingbridge.work_queue import ORDINARY, PEOPLE_WAIT

_e = outbound_entity.c
_AFTER_MS: Final = {
    (False, "department"): 0, (False, "user"): 200, (True, "user"): 400, (True, "department"): 600,
}  # fmt: skip
"""By absent and kind: of what came together, departments come first, then people, then removals: people, and
departments once they are empty."""
_RESULT: Final = ("reason", "code", "words", "fields", "waits_for")
"""Columns that only the last result has."""
_FUTURE: Final = (
    "data.version: as epoch ms it is more than a day in the future. Send the time of the change in epoch ms, "
    "or a counter of the row"
)


async def want(tx: Transaction, message: Message, now: int) -> None:
    """Store what ``message`` (of a user or a department) wants, unless a newer version came before it.

    Raises ``Reject`` for a version that as epoch ms is more than a day in the future: each later one would be
    older.
    """
    if (message.version or 0) > now + DAY_MS:
        raise Reject(_FUTURE)
    kind: Kind = "user" if message.kind == "user" else "department"
    key, version = (message.corp_id, kind, message.id), message.version or 0
    answers = json.dumps({"source": message.source, "id": message.message_id})
    immediate = bool(message.data.get("immediate"))
    wanted = {
        "app": message.app, "version": version, "absent": message.absent, "since_ms": now,
        "immediate": immediate, "answers": answers, "result": None,
    }  # fmt: skip
    due_ms = now + _AFTER_MS[message.absent, kind]
    if not message.absent:  # the earlier owner stays known
        wanted["desired"] = json.dumps(desired_in(message), ensure_ascii=False)
    row = await locked(tx, key)
    if row is None:
        corp_id, _, own_id = key
        empty = {
            "desired": "{}", "flagged": False, "present": False, "removal_approved": False,
            "due_ms": due_ms, "priority": PEOPLE_WAIT,
        }  # fmt: skip
        new = {"corp_id": corp_id, "kind": kind, "own_id": own_id, **empty, **wanted}
        new["ding_id"] = named_id(kind, own_id, message.data)
        if not (await tx.execute(tx.insert(outbound_entity).values(**new).on_conflict_do_nothing())).rowcount:
            raise Conflict("another message about this entity came first")
        return
    if version < row.version:
        await send_result(tx, row, Result("superseded", version), request=message.type, answers=answers)
        return
    values: dict[str, Any] = {"answers": answers}
    if version == row.version:  # the same message again: answer again
        if row.result is not None:
            await send_result(tx, row, last_result(row), answers=answers)
    else:
        if row.result in (None, "pending"):
            await send_result(tx, row, Result("superseded", row.version))
        if row.absent and message.absent:
            wanted["since_ms"] = row.since_ms  # the grace days go on
        else:
            wanted["removal_approved"] = False
        no_result = dict.fromkeys(_RESULT)
        urgent = PEOPLE_WAIT if row.absent != message.absent or immediate else ORDINARY
        values = {**wanted, **no_result, **QUEUE.due(urgent, due_ms)}
    await tx.execute(update(outbound_entity).where(is_(key)).values(**values))


async def refetch(tx: Transaction, corp_id: str, kind: Kind, ding_id: str, by: str | None) -> bool:
    """Make the entity due, since something happened to it in DingTalk; ``by`` is who did it, if known.
    Returns False when it has no row."""
    values: dict[str, Any] = {"flagged": True, **QUEUE.due()}
    if by is not None:
        values["by_userid"] = by
    where = (_e.corp_id == corp_id, _e.kind == kind, _e.ding_id == ding_id)
    return bool((await tx.execute(update(outbound_entity).where(*where).values(**values))).rowcount)


async def release(tx: Transaction, row: Row[Any]) -> None:
    """By an operator: write the entity now. An agent that works on it begins again. Of several
    rows with one candidate the first gets it."""
    before = entity_of(row).ledger
    ledger = released(before)
    if ledger.owned_id is not None and await own_id_of(
        tx, row.corp_id, row.kind, ledger.owned_id, but=row.own_id
    ):
        ledger = replace(before, candidate=None, seen=None)
    # otherwise the next read reports it, and wakes others
    present = row.present and row.owned_id == ledger.owned_id
    values = {"ledger": as_json(ledger), "owned_id": ledger.owned_id, "present": present}
    await _change_by_hand(tx, row, **values)


async def approve(tx: Transaction, row: Row[Any]) -> None:
    """By an operator: remove or change it, even beyond the day's limit."""
    await _change_by_hand(tx, row, removal_approved=True)


async def _change_by_hand(tx: Transaction, row: Row[Any], **values: Any) -> None:
    again = {
        **values, "result": None, **QUEUE.due(PEOPLE_WAIT), "claims": _e.claims + 1, "leased_ms": 0
    }  # fmt: skip
    mine = is_((row.corp_id, row.kind, row.own_id))
    await tx.execute(update(outbound_entity).where(mine).values(**again))


def desired_in(message: Message) -> dict[str, Any]:
    """What a row keeps of a message: the fields, and DingTalk's id if one is given."""
    given = {name: message.data[name] for name in DINGTALK_IDS.values() if name in message.data}
    return {**message.fields, **given}
