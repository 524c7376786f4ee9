"""When the action of a template is called for an instance, and when its undo.

What is in ``approval_actions`` follows from what is known of the instance, not from the order in which it
became known: an approval that is taken back before its finish is heard of is never acted on, and one that was
acted on is undone. Not here: what an action is (``declaration.py``), and the call itself (``runner.py``).
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from sqlalchemy import func, select

from consumers.approval.actions.declaration import Action, Function, RevokedBy, name_of
from consumers.approval.archive.document import Events
from consumers.approval.archive.writer import Stored
from consumers.approval.tables import approval_instances
from dingbridge import Reader, Transaction

DONE, REJECTED, FAILED, SKIPPED = "done", "rejected", "failed", "skipped"
REVOKED, NOT_UNDONE = "revoked", "not_undone"
"""``state`` of ``approval_actions``."""

REVISIONS = frozenset({"MODIFY", "REVOKE"})
"""``biz_action`` of an instance that changes or takes back another one: acting on it as if it were a new one
would, for a revoked leave, count the leave twice."""

NO_FORM = "DingTalk's API does not know the instance, so there is no form to act on"
REVISION = "it changes or takes back another instance, and is no new one"
RESYNCED = "archived by a resync, without its finish event; `dingbridge approvals actions` acts on it"


def agreed(events: Events, document: Mapping[str, Any] | None) -> bool:
    """Whether it was approved at some time, whatever became of it later."""
    told = str(events.get("finish", {}).get("data", {}).get("result")).lower()
    api = document or {}
    return told == "agree" or (
        str(api.get("status")).upper() == "COMPLETED" and str(api.get("result")).lower() == "agree"
    )


def taken_back(row: Mapping[str, Any], events: Events, revoked: bool) -> RevokedBy | None:
    """What took an approval that was ``agreed`` to back; ``revoked``: another instance says so."""
    if row["outcome"] == "terminated":
        return "terminated"
    if "delete" in events:
        return "deleted"
    return "revoked" if revoked else None


def refusal(row: Mapping[str, Any], events: Events, has_document: bool, forced: bool) -> str | None:
    """Why an approved instance whose template has an action is not acted on; None: it is."""
    if not has_document:
        return NO_FORM
    if str(row["biz_action"]).upper() in REVISIONS:
        return REVISION
    return None if forced or "finish" in events else RESYNCED


async def is_revoked(db: Reader | Transaction, key: Mapping[str, Any]) -> bool:
    """Whether another instance that is approved takes this one back."""
    columns = approval_instances.c
    found = select(columns.instance_id).where(
        columns.corp_id == key["corp_id"],
        columns.main_instance_id == key["instance_id"],
        func.upper(columns.biz_action) == "REVOKE",
        columns.outcome == "approved",
    )
    return (await db.execute(found.limit(1))).first() is not None


@dataclass(frozen=True, slots=True)
class Known:
    """What is in ``approval_actions``; all None where nothing does."""

    state: str | None = None
    reason: str | None = None
    process_code: str | None = None
    action: str | None = None

    @property
    def effective(self) -> bool:
        """Whether the action ran, and was not undone."""
        return self.state in (DONE, NOT_UNDONE)


@dataclass(frozen=True, slots=True)
class Decision:
    """What is to be done: ``call`` a function, which is the action itself or its undo, or only write
    ``state`` and ``reason``; all None: nothing."""

    call: Function | None = None
    revoked_by: RevokedBy | None = None
    state: str | None = None
    reason: str | None = None
    without_action: bool = False


def decide(
    instance: Stored, known: Known, declared: Action | None, *, revoked: bool, forced: bool
) -> Decision:
    """What ``instance`` asks for. ``revoked``: another instance takes it back. ``forced``: act also where no
    finish event came through the bridge."""
    row, events, document = instance.row, instance.events, instance.document
    if row is None or not agreed(events, document):
        return Decision()
    revoked_by = taken_back(row, events, revoked)
    if known.state is None and declared is None:
        return Decision(without_action=revoked_by is None)
    if revoked_by is not None:
        return _decide_undo(document, known, declared, revoked_by)
    if known.effective:
        return Decision(state=DONE)
    if declared is None:
        return Decision(state=known.state, reason=known.reason)
    why = refusal(row, events, document is not None, forced)
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
