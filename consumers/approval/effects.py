"""When the action of a template is called for an instance, and when its undo. The caller holds its guard.

What stands in ``approval_actions`` follows from what is known of the instance, not from the order in which it
became known: an approval that is taken back before its finish is heard of is never acted on, and one that was
acted on is undone. Not here: what an action is (``actions.py``).
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any
from zoneinfo import ZoneInfo

import structlog
from sqlalchemy import func, select

from consumers.approval.actions import Action, Approved, Form, Function, RevokedBy, name_of
from consumers.approval.document import Events, Row
from consumers.approval.metrics import ApprovalMetrics
from consumers.approval.tables import approval_actions, approval_instances
from dingbridge import Conflict, Reader, Reject, Retry, Transaction
from dingbridge.error_location import error_location
from dingbridge.snapshots.coerce import as_list
from dingbridge.worker.store.errors import TransactionRace

log = structlog.get_logger(__name__)

DONE, REJECTED, FAILED, SKIPPED = "done", "rejected", "failed", "skipped"
REVOKED, NOT_UNDONE = "revoked", "not_undone"
"""``state`` of ``approval_actions``."""
_SAID = {
    DONE: "approval.action_done",
    REJECTED: "approval.action_rejected",
    FAILED: "approval.action_failed",
    SKIPPED: "approval.action_skipped",
    REVOKED: "approval.action_revoked",
    NOT_UNDONE: "approval.action_not_undone",
}

REVISIONS = frozenset({"MODIFY", "REVOKE"})
"""``biz_action`` of an instance that changes or takes back another one: acting on it as if it were a new one
would, for a revoked leave, count the leave twice."""

NO_FORM = "DingTalk's API does not know the instance, so there is no form to act on"
REVISION = "it changes or takes back another instance, and is no new one"
BACKFILLED = "archived by a backfill, without its finish event; `dingbridge approvals actions` acts on it"


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
    return None if forced or "finish" in events else BACKFILLED


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
    """What stands in ``approval_actions``; all None where nothing does."""

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
    row: Mapping[str, Any],
    events: Events,
    document: Mapping[str, Any] | None,
    known: Known,
    declared: Action | None,
    *,
    revoked: bool,
    forced: bool,
) -> Decision:
    """What the instance ``row`` asks for. ``revoked``: another instance takes it back. ``forced``: act also
    where no finish event came through the bridge."""
    if not agreed(events, document):
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


class Effects:
    """The actions of one consumer process. ``actions`` by process code; ``zone`` of the API's local times."""

    def __init__(self, actions: Mapping[str, Action], zone: ZoneInfo, metrics: ApprovalMetrics) -> None:
        self.actions = actions
        self._zone, self._metrics = zone, metrics

    async def decide(
        self,
        db: Reader | Transaction,
        key: Row,
        row: Mapping[str, Any],
        events: Events,
        document: Mapping[str, Any] | None,
        *,
        forced: bool,
    ) -> tuple[Known, Decision]:
        """What stands in ``approval_actions``, and what is to be done."""
        columns = approval_actions.c
        found = select(columns.state, columns.reason, columns.process_code, columns.action).where(
            *(columns[name] == value for name, value in key.items())
        )
        entry = (await db.execute(found)).one_or_none()
        known = Known() if entry is None else Known(*entry)
        declared = self.actions.get(row["process_code"] or known.process_code or "")
        revoked = await is_revoked(db, key)
        return known, decide(row, events, document, known, declared, revoked=revoked, forced=forced)

    async def settle(
        self,
        tx: Transaction,
        key: Row,
        row: Mapping[str, Any],
        events: Events,
        document: Mapping[str, Any] | None,
        *,
        fresh: bool,
        forced: bool = False,
        failed: Exception | None = None,
    ) -> str | None:
        """Do what ``decide`` says; the state in ``approval_actions`` afterwards, None where nothing stands.

        ``fresh``: whether the outcome was not known before, so that a template without an action is counted
        once. ``failed`` is what the function raised that would be called: it is written down and not called
        again. Raises what the action raises, but for ``Reject``.
        """
        known, decision = await self.decide(tx, key, row, events, document, forced=forced)
        code, instance_id = row["process_code"] or known.process_code or "", key["instance_id"]
        if decision.without_action:
            if fresh:
                self._metrics.without_action.inc()
                log.info("approval.without_action", process_code=code or None, instance_id=instance_id)
            return None
        state, reason = decision.state, decision.reason
        times: dict[str, datetime | None] = {}
        if decision.call is not None:
            approval = approved(key, row, document or {}, self._zone, decision.revoked_by)
            if failed is None:
                reason = await _call(tx, decision.call, approval)
            else:
                # its type and place, not its words: they may hold the form's values
                name = name_of(decision.call)
                reason = f"{name} failed: {error_location(failed, name.split('.')[0])}"
            if decision.revoked_by is None:
                state = DONE if reason is None else REJECTED if failed is None else FAILED
                times = {"done_at": datetime.now(UTC), "undone_at": None} if reason is None else {}
            else:
                state = REVOKED if reason is None else NOT_UNDONE
                times = {"undone_at": datetime.now(UTC)} if reason is None else {}
        if state is None or ((state, reason) == (known.state, known.reason) and not times):
            return known.state
        declared = self.actions.get(code)
        values = {
            **key,
            "process_code": code,
            "action": known.action if declared is None else name_of(declared.run),
            "state": state,
            "reason": reason,
            **times,
            "updated_at": datetime.now(UTC),
        }
        await tx.upsert(approval_actions, values, list(key))
        self._metrics.action(state)
        say = log.info if reason in (None, BACKFILLED) else log.warning
        say(_SAID[state], process_code=code, instance_id=instance_id, reason=reason)
        return state


async def _call(tx: Transaction, function: Function, approval: Approved) -> str | None:
    """Call it in a savepoint; why it rejected the form, None when it did not."""
    try:
        async with tx.connection.begin_nested():
            await function(approval, tx)
    except Reject as error:
        return error.reason
    except TransactionRace:
        raise
    except Conflict as error:
        # a function has looked at nothing, so a new look tells it nothing: called at once it says the same
        raise Retry("the function asked for another look").with_traceback(error.__traceback__) from None
    return None


def approved(
    key: Row,
    row: Mapping[str, Any],
    document: Mapping[str, Any],
    zone: ZoneInfo,
    revoked_by: RevokedBy | None,
) -> Approved:
    """The instance as its action sees it."""
    return Approved(
        corp_id=key["corp_id"],
        instance_id=key["instance_id"],
        process_code=row["process_code"],
        business_id=row["business_id"],
        title=row["title"],
        originator_userid=row["originator_userid"],
        originator_dept_id=row["originator_dept_id"],
        started_at=row["started_at"],
        finished_at=row["finished_at"],
        form=Form(as_list(document.get("form_component_values")) or [], zone),
        document=document,
        revoked_by=revoked_by,
    )
