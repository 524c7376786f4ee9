"""When the action of a template is called for an instance, and when its undo. The caller holds its guard.

What stands in ``approval_actions`` follows from what is known of the instance, not from the order in which it
became known: an approval that is taken back before its finish is heard of is never acted on, and one that was
acted on is undone. Not here: what an action is (``actions.py``).
"""

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any
from zoneinfo import ZoneInfo

import structlog
from sqlalchemy import func, select

from consumers.approval.actions import Action, Approved, Form, Function, RevokedBy, name_of
from consumers.approval.document import Events, Row
from consumers.approval.metrics import ApprovalMetrics
from consumers.approval.tables import approval_actions, approval_instances
from consumers.mirror.values import as_list
from consumers.runtime import Reject, Transaction

log = structlog.get_logger(__name__)

DONE, REJECTED, SKIPPED, REVOKED, NOT_UNDONE = "done", "rejected", "skipped", "revoked", "not_undone"
"""``state`` of ``approval_actions``."""

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


async def is_revoked(tx: Transaction, key: Mapping[str, Any]) -> bool:
    """Whether another instance that is approved takes this one back."""
    columns = approval_instances.c
    found = select(columns.instance_id).where(
        columns.corp_id == key["corp_id"],
        columns.main_instance_id == key["instance_id"],
        func.upper(columns.biz_action) == "REVOKE",
        columns.outcome == "approved",
    )
    return (await tx.execute(found.limit(1))).first() is not None


class Effects:
    """The actions of one consumer process. ``actions`` by process code; ``zone`` of the API's local times."""

    def __init__(self, actions: Mapping[str, Action], zone: ZoneInfo, metrics: ApprovalMetrics) -> None:
        self.actions = actions
        self._zone, self._metrics = zone, metrics

    async def settle(
        self,
        tx: Transaction,
        key: Row,
        row: Mapping[str, Any],
        events: Events,
        document: Mapping[str, Any] | None,
        *,
        forced: bool = False,
        fresh: bool,
    ) -> str | None:
        """Call what the instance ``row`` asks for, if anything; its state in ``approval_actions`` afterwards.

        ``forced``: act also where no finish event came through the bridge. ``fresh``: whether its outcome was
        not known before, so that a template without an action is counted once.
        """
        if not agreed(events, document):
            return None
        code = row["process_code"]
        declared = self.actions.get(code) if code else None
        where = [approval_actions.c[name] == value for name, value in key.items()]
        found = (await tx.execute(select(approval_actions).where(*where))).mappings().one_or_none()
        known: dict[str, Any] | None = None if found is None else {**found}
        revoked_by = taken_back(row, events, await is_revoked(tx, key))
        if known is None and declared is None:
            if fresh and revoked_by is None:
                self._metrics.without_action.inc()
                log.info("approval.without_action", process_code=code, instance_id=key["instance_id"])
            return None
        entry = _Entry(tx, key, code or (known or {}).get("process_code") or "", known, declared)
        if revoked_by is not None:
            approval = None
            if document is not None:
                approval = approved(key, row, document, self._zone, revoked_by)
            return await self._undo(entry, approval)
        if entry.effective:
            if entry.state == NOT_UNDONE:
                await entry.write(DONE, None)
            return DONE
        if declared is None:
            return entry.state
        why = refusal(row, events, document is not None, forced)
        if why is not None or document is None:
            if entry.state != SKIPPED:
                log.warning(
                    "approval.action_skipped", process_code=code, instance_id=key["instance_id"], reason=why
                )
                self._metrics.action(SKIPPED)
            await entry.write(SKIPPED, why)
            return SKIPPED
        return await self._run(entry, declared, approved(key, row, document, self._zone, None))

    async def _run(self, entry: "_Entry", declared: Action, approval: Approved) -> str:
        reason = await _call(entry.tx, declared.run, approval)
        if reason is None:
            await entry.write(DONE, None, done_at=datetime.now(UTC), undone_at=None)
        else:
            await entry.write(REJECTED, reason)
        return self._said(entry, REJECTED if reason is not None else DONE, reason)

    async def _undo(self, entry: "_Entry", approval: Approved | None) -> str:
        if not entry.effective:
            if entry.state != REVOKED:
                await entry.write(REVOKED, None)
            return REVOKED
        undo = entry.declared.undo if entry.declared is not None else None
        if undo is None or approval is None:
            reason: str | None = f"{entry.action} has no undo"
            if entry.declared is None:
                reason = f"no action is declared for {entry.process_code} any more"
            elif undo is not None:
                reason = NO_FORM
        else:
            reason = await _call(entry.tx, undo, approval)
        if reason is None:
            await entry.write(REVOKED, None, undone_at=datetime.now(UTC))
            return self._said(entry, REVOKED, None)
        if entry.state == NOT_UNDONE and entry.reason == reason:
            return NOT_UNDONE
        await entry.write(NOT_UNDONE, reason)
        return self._said(entry, NOT_UNDONE, reason)

    def _said(self, entry: "_Entry", state: str, reason: str | None) -> str:
        self._metrics.action(state)
        known = {"process_code": entry.process_code, "instance_id": entry.key["instance_id"]}
        if reason is None:
            log.info("approval.action_done" if state == DONE else "approval.action_undone", **known)
        elif state == NOT_UNDONE:
            log.warning("approval.action_not_undone", **known, reason=reason)
        else:
            log.warning("approval.action_rejected", **known, reason=reason)
        return state


class _Entry:
    """The row of ``approval_actions`` of one instance."""

    def __init__(
        self,
        tx: Transaction,
        key: Row,
        process_code: str,
        known: Mapping[str, Any] | None,
        declared: Action | None,
    ) -> None:
        self.tx, self.key, self.process_code, self.declared = tx, key, process_code, declared
        self.state = None if known is None else str(known["state"])
        self.reason = None if known is None else known["reason"]
        self.action = name_of(declared.run) if declared is not None else str((known or {}).get("action"))
        self.effective = self.state in (DONE, NOT_UNDONE)

    async def write(self, state: str, reason: str | None, **times: datetime | None) -> None:
        if (state, reason) == (self.state, self.reason) and not times:
            return
        values = {
            **self.key,
            "process_code": self.process_code,
            "action": self.action,
            "state": state,
            "reason": reason,
            **times,
            "updated_at": datetime.now(UTC),
        }
        await self.tx.upsert(approval_actions, values, list(self.key))


async def _call(tx: Transaction, function: Function, approval: Approved) -> str | None:
    """Call it in a savepoint; why it rejected the form, None when it did not."""
    try:
        async with tx.connection.begin_nested():
            await function(approval, tx)
    except Reject as error:
        return error.reason
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
