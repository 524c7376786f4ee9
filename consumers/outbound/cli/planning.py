"""What the agent would write now: the same reads and the same decision; nothing is stored or written."""

from collections import defaultdict
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal

from sqlalchemy import select

from dingbridge import Reader, Reject
from dingbridge.consumers.outbound.consumer import Outbound
from dingbridge.consumers.outbound.contacts.agent import most_of, rules_of
from dingbridge.consumers.outbound.contacts.decide import decide
from dingbridge.consumers.outbound.contacts.dingtalk import Contacts
from dingbridge.consumers.outbound.contacts.references import Referred, resolved, with_desired
from dingbridge.consumers.outbound.contacts.rows import Entity, Key, entity_of, owned_by_another, userid_of
from dingbridge.consumers.outbound.contacts.wanted import desired_in
from dingbridge.consumers.outbound.contacts.withheld import without_withheld
from dingbridge.consumers.outbound.ledger import (
    Decision,
    Fields,
    Kind,
    Ledger,
)
from dingbridge.consumers.outbound.limits import is_left
from dingbridge.consumers.outbound.messages import Message
from dingbridge.consumers.outbound.store import ding_ids, in_own_ids, now_ms
from dingbridge.consumers.outbound.tables import outbound_entity
from dingbridge.dingtalk.errors import ApiError

Op = Literal["create", "update", "delete", "nothing", "wait", "superseded", "refused"]

NEW = "new "
"""The prefix of an own id that stands in for a DingTalk id that does not exist yet."""


@dataclass(frozen=True, slots=True)
class Planned:
    """What would happen to one entity. ``fields`` is ``{name: (old, new)}``, with own ids; ``reason`` is why
    it waits, or what DingTalk says."""

    kind: Kind
    own_id: str
    op: Op
    ding_id: str | None = None
    reason: str | None = None
    fields: dict[str, tuple[Any, Any]] = field(default_factory=dict)


async def plan(consumer: Outbound, messages: Sequence[Message] | None) -> AsyncIterator[Planned]:
    """For ``messages`` over what the ledger has, or for all that is wanted. Raises ``ApiError`` when DingTalk
    does not answer."""
    db = consumer.database.reader()
    stored = {entity.key: entity for entity in map(entity_of, await db.execute(select(outbound_entity)))}
    wanted, older = (stored, []) if messages is None else _wanted(stored, messages)
    for message in older:
        yield Planned(_kind(message), message.id, "superseded")
    own_ids = defaultdict[str, dict[str, str]](dict)
    order = {(False, "department"): 0, (False, "user"): 1, (True, "user"): 2, (True, "department"): 3}
    for entity in sorted(wanted.values(), key=lambda entity: order[entity.absent, entity.kind]):
        client = consumer.dingtalk_of(entity.app, entity.corp_id)
        contacts = Contacts(client, own_ids[entity.corp_id])
        yield await _planned(consumer, db, contacts, entity, {**stored, **wanted})


def _wanted(
    stored: dict[Key, Entity], messages: Sequence[Message]
) -> tuple[dict[Key, Entity], list[Message]]:
    """The entities that the messages name, and the messages that are older than the ledger's state."""
    wanted: dict[Key, Entity] = {}
    older = []
    for message in messages:
        if message.kind not in ("user", "department"):
            continue
        key: Key = (message.corp_id, _kind(message), message.id)
        last = wanted.get(key) or stored.get(key)
        version = message.version or 0
        if last is not None and version < last.version:
            older.append(message)
            continue
        begun = last or Entity(*key, None, 0, False, {}, now_ms(), False, Ledger())
        wanted[key] = replace(
            begun,
            app=message.app,
            version=version,
            absent=message.absent,
            desired=begun.desired if message.absent else desired_in(message),
            since_ms=begun.since_ms if begun.absent and message.absent else now_ms(),
            immediate=bool(message.data.get("immediate")),
        )
    return wanted, older


def _kind(message: Message) -> Kind:
    return "user" if message.kind == "user" else "department"


async def _planned(
    consumer: Outbound, db: Reader, contacts: Contacts, entity: Entity, all_: dict[Key, Entity]
) -> Planned:
    async def ids(referred: Referred, own_ids: list[str]) -> dict[str, str]:
        kind: Kind = "department" if referred == "department" else "user"
        found = await ding_ids(db, entity.corp_id, kind, own_ids)
        for own_id in own_ids:
            to_come = all_.get((entity.corp_id, kind, own_id))
            if own_id not in found and to_come is not None and not to_come.absent:
                chosen = userid_of(to_come) if kind == "user" else NEW + own_id
                found[own_id] = to_come.ledger.candidate or chosen
        return found

    desired, _ = await resolved(entity, ids)
    ledger = with_desired(entity.ledger, desired)
    try:
        observed = await contacts.find(entity, ledger)
        if observed is not None and observed.lacking:
            observed = await without_withheld(db, contacts, entity, ledger, observed)
    except (ApiError, Reject) as error:
        if error.unavailable:
            raise
        return Planned(entity.kind, entity.own_id, "refused", ledger.ding_id, str(error))
    taken = await owned_by_another(db, entity, ledger, observed)
    if taken is not None and not entity.absent:
        return Planned(entity.kind, entity.own_id, "wait", taken.ding_id, taken.reason)
    observed = None if taken is not None else observed
    app, now = consumer.settings.app_of(entity.app), now_ms()
    left = {what: await is_left(db, what, app, most, now) for what, most in most_of(consumer.own).items()}
    decision = decide(
        entity.kind, ledger, observed, owners=consumer.owners, rules=rules_of(consumer.own), now_ms=now,
        may_remove=left["removals"], may_update=left["updates"],
    )  # fmt: skip
    seen = observed.fields if observed is not None else {}
    names = _names(decision, desired.fields)
    old = {name: await in_own_ids(db, entity.corp_id, name, seen.get(name)) for name in names}
    return Planned(
        entity.kind,
        entity.own_id,
        _op(decision),
        observed.ding_id if observed else ledger.ding_id,
        decision.result.reason if decision.result else None,
        {name: (old[name], entity.desired.get(name)) for name in names},
    )


def _op(decision: Decision) -> Op:
    if decision.action is not None:
        return decision.action.op
    return "wait" if decision.result and decision.result.result in ("pending", "conflict") else "nothing"


def _names(decision: Decision, wanted: Fields) -> list[str]:
    if decision.action is not None:
        return list(decision.action.fields)
    return list(decision.result.fields) if decision.result and decision.result.result == "pending" else []
