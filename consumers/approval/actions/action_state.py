"""When the action of a template is called for an instance, and when its undo.

The rows of ``approval_actions`` follow from what is known of the instance, not from the order in which it
became known. An approval that is taken back before its finish is known is never acted on; one that was acted
on is undone. If another instance changes it, its action is undone too, and the change is acted on like a new
approval, in the same transaction. Not here: what an action is (``declaration.py``), and the call itself
(``runner.py``).
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Literal

from sqlalchemy import and_, exists, or_, select

from dingbridge import Reader, Transaction
from dingbridge.consumers.approval.actions.declaration import Action, Function, RevokedBy, name_of
from dingbridge.consumers.approval.archive.document import (
    COMPLETED,
    Events,
    approved,
    missing_fields,
    status_of,
)
from dingbridge.consumers.approval.archive.links import MODIFY, REVOKE, Family
from dingbridge.consumers.approval.archive.masking import MASK
from dingbridge.consumers.approval.archive.writer import Stored, stored
from dingbridge.consumers.approval.tables import approval_actions, approval_instances

DONE, REJECTED, FAILED, SKIPPED = "done", "rejected", "failed", "skipped"
REVOKED, NOT_UNDONE = "revoked", "not_undone"
"""``state`` of ``approval_actions``."""

NO_FORM = "DingTalk's API does not have the instance approved at its end, so there is no form to act on"
REVOCATION = "it takes back another instance, and is no new one"
NOT_THERE = "it changes an instance that is not in the archive yet"
IN_EFFECT = "another form of the same approval is booked, and its action is not undone"
FORGOTTEN = "whoever started it is forgotten, so there is nobody to act for"
RESYNCED = "archived by a resync, without its finish event; `dingbridge approvals actions` acts on it"

BEFORE_BRIDGE = (
    "it ended before the bridge's first event, and may have been booked by hand; "
    "`dingbridge approvals actions` acts on it"
)

WithoutEvent = Literal["none", "since_first_event", "all"]
"""Which approvals are acted on although their finish event did not come: none of them; those that ended since
the archive's first event, in a resync that the bridge requested; all, since a person names them."""


def agreed(events: Events, document: Mapping[str, Any] | None) -> bool:
    """Return whether it was approved at some time, whatever its state later.

    A COMPLETED document decides. Before it is there, and after a termination, the ``finish`` event counts;
    it alone never causes an action (``refusal``).
    """
    reported = str(events.get("finish", {}).get("data", {}).get("result")).lower() == "agree"
    return approved(document) if status_of(document) == COMPLETED else reported


@dataclass(frozen=True, slots=True)
class Links:
    """What other instances mean for one: taken back or changed by another one (``revoked``, ``replaced``);
    ``waits``: its form is in force, and not to be acted on for this reason."""

    revoked: bool = False
    replaced: bool = False
    waits: str | None = None


def taken_back(row: Mapping[str, Any], events: Events, links: Links) -> RevokedBy | None:
    """What took an approval that was ``agreed`` to back."""
    if row["outcome"] == "terminated":
        return "terminated"
    if "delete" in events:
        return "deleted"
    if links.revoked:
        return "revoked"
    return "modified" if links.replaced else None


def refusal(instance: Stored, links: Links, forced: bool) -> str | None:
    """The reason why an approved instance whose template has an action is not acted on; None: it is."""
    row, events = instance.row or {}, instance.events
    # Invariant 8: no event stands in for DingTalk's own document, and an earlier version archived half ones
    if not approved(instance.document) or missing_fields(instance.document or {}):
        return NO_FORM
    if row["originator_userid"] == MASK:
        return FORGOTTEN
    biz_action = str(row["biz_action"]).upper()
    if biz_action == REVOKE:
        return REVOCATION
    if links.waits is not None or biz_action == MODIFY:
        return links.waits
    return None if forced or "finish" in events else RESYNCED


async def acts_without_event(
    db: Reader | Transaction, corp_id: str, row: Mapping[str, Any], without_event: WithoutEvent
) -> bool:
    """Return whether the approval of ``row``, whose finish event did not come, is acted on all the same."""
    ended = row["finished_at"]
    if without_event != "since_first_event" or ended is None:
        return without_event == "all"
    # Invariant 8: before the archive's first event, somebody else acted on approvals
    ended += timedelta(minutes=1)  # a document's time is of whole minutes, an event's of milliseconds
    columns = approval_instances.c
    reported = exists().where(
        columns.corp_id == corp_id,
        or_(
            and_(columns.finished_at < ended, columns.raw_events.contains('"finish":{')),
            and_(columns.started_at < ended, columns.raw_events.contains('"start":{')),
        ),
    )
    return bool(await db.scalar(select(reported)))


async def links_of(
    db: Reader | Transaction, key: Mapping[str, Any], family: Family, *, without_event: WithoutEvent
) -> Links:
    """What the family of an instance means for it.

    One instance of a family is booked at most, so the one in force waits until the actions of the others are
    undone. A change is acted on if the instance that it changes was, or would have been: its ``finish`` came
    through the bridge, or it is acted on without one (``acts_without_event``). If that instance was booked by
    hand, before the bridge, the change is not acted on: it would count twice.
    """
    instance_id, root = key["instance_id"], family.root
    if instance_id not in family.members:
        return Links()
    said = family.said_of(instance_id)
    revoked, replaced = said["revoked_by"] is not None, said["replaced_by"] is not None
    if instance_id != family.in_force:
        return Links(revoked, replaced)
    columns, others = approval_actions.c, family.members.keys() - {instance_id}
    entries = select(columns.state, columns.done_at).where(
        columns.corp_id == key["corp_id"], columns.instance_id.in_(others)
    )
    rows = map(tuple, await db.execute(entries)) if others else ()
    found = [Known(state, done_at=done_at) for state, done_at in rows]
    if any(known.effective for known in found):
        return Links(revoked, replaced, IN_EFFECT)
    if root is None or root.instance_id == instance_id:
        return Links(revoked, replaced, None if root else NOT_THERE)
    first = await stored(db, {**key, "instance_id": root.instance_id})
    if first.document is None:
        return Links(revoked, replaced, NOT_THERE)
    follows = "finish" in first.events or any(known.done_at for known in found)
    follows = follows or await acts_without_event(db, key["corp_id"], first.row or {}, without_event)
    return Links(revoked, replaced, None if follows else RESYNCED)


@dataclass(frozen=True, slots=True)
class Known:
    """What is in ``approval_actions``; all None where nothing does."""

    state: str | None = None
    reason: str | None = None
    process_code: str | None = None
    action: str | None = None
    done_at: datetime | None = None

    @property
    def effective(self) -> bool:
        """Whether the action ran, and was not undone."""
        return self.state in (DONE, NOT_UNDONE)


@dataclass(frozen=True, slots=True)
class Decision:
    """``call`` a function, the action or its undo, or only write ``state`` and ``reason``; all None: nothing
    is to be done."""

    call: Function | None = None
    revoked_by: RevokedBy | None = None
    state: str | None = None
    reason: str | None = None
    without_action: bool = False


def decide(
    instance: Stored, known: Known, declared: Action | None, links: Links, *, forced: bool
) -> Decision:
    """What ``instance`` asks for. ``forced``: act also where no finish event came through the bridge."""
    row, document = instance.row, instance.document
    if row is None or not agreed(instance.events, document):
        return Decision()
    revoked_by = taken_back(row, instance.events, links)
    if known.state is None and declared is None:
        return Decision(without_action=revoked_by is None)
    if revoked_by is not None:
        return _decide_undo(document, known, declared, revoked_by)
    if known.effective:
        return Decision(state=DONE)
    if declared is None:
        return Decision(state=known.state, reason=known.reason)
    why = refusal(instance, links, forced)
    return Decision(call=declared.run) if why is None else Decision(state=SKIPPED, reason=why)


def _decide_undo(
    document: Mapping[str, Any] | None, known: Known, declared: Action | None, revoked_by: RevokedBy
) -> Decision:
    if not known.effective:
        return Decision(state=REVOKED)
    if declared is None:
        return Decision(state=NOT_UNDONE, reason=f"no action is declared for {known.process_code} any more")
    if declared.undo is None:
        return Decision(state=NOT_UNDONE, reason=f"{name_of(declared.run)} has no undo")
    if document is None:
        return Decision(state=NOT_UNDONE, reason=NO_FORM)
    return Decision(call=declared.undo, revoked_by=revoked_by)
