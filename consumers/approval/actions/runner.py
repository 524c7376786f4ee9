"""Calls the action of a template or its undo, and stores the outcome. The caller holds the entities' rows.

Not here: what an action is (``declaration.py``), and whether one is to be called (``action_state.py``).
"""

from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime
from zoneinfo import ZoneInfo

import structlog
from sqlalchemy import select

from dingbridge import Conflict, Reader, Reject, Retry, Transaction
from dingbridge.consumers.approval.actions.action_state import (
    BEFORE_BRIDGE,
    DONE,
    FAILED,
    NOT_UNDONE,
    REJECTED,
    RESYNCED,
    REVOKED,
    SKIPPED,
    Decision,
    Known,
    WithoutEvent,
    acts_without_event,
    decide,
    links_of,
)
from dingbridge.consumers.approval.actions.declaration import (
    Action,
    Approved,
    Form,
    Function,
    RevokedBy,
    name_of,
)
from dingbridge.consumers.approval.archive import links
from dingbridge.consumers.approval.archive.document import Row
from dingbridge.consumers.approval.archive.links import MODIFY, Family, family
from dingbridge.consumers.approval.archive.writer import Stored, stored
from dingbridge.consumers.approval.metrics import ApprovalMetrics
from dingbridge.consumers.approval.tables import approval_actions
from dingbridge.error_location import error_location
from dingbridge.snapshots.coerce import as_list
from dingbridge.worker.store.errors import TransactionRace
from dingbridge.worker.supervise import is_unavailable

log = structlog.get_logger(__name__)

_SAID = {
    DONE: "approval.action_done",
    REJECTED: "approval.action_rejected",
    FAILED: "approval.action_failed",
    SKIPPED: "approval.action_skipped",
    REVOKED: "approval.action_revoked",
    NOT_UNDONE: "approval.action_not_undone",
}


class ActionRunner:
    """The actions of one consumer process. ``actions`` by process code; ``zone`` of times in forms."""

    def __init__(self, actions: Mapping[str, Action], zone: ZoneInfo, metrics: ApprovalMetrics) -> None:
        self.actions = actions
        self._zone, self._metrics = zone, metrics

    async def decide(
        self,
        db: Reader | Transaction,
        key: Row,
        instance: Stored,
        *,
        without_event: WithoutEvent,
        among: Family | None = None,
    ) -> tuple[Known, Decision]:
        """What is in ``approval_actions``, and what is to be done. ``among``: the instance's family, as it is
        known already. ``known.process_code`` is the template's, where anything names it."""
        if among is None:
            among = await family(db, key["corp_id"], key["instance_id"])
        columns = approval_actions.c
        found = select(
            columns.state, columns.reason, columns.process_code, columns.action, columns.done_at
        ).where(*(columns[name] == value for name, value in key.items()))
        entry = (await db.execute(found)).one_or_none()
        known = Known() if entry is None else Known(*entry)
        code = (instance.row or {}).get("process_code") or known.process_code
        code = code or (among.root.process_code if among.root else None)
        said = await links_of(db, key, among, without_event=without_event)
        forced = (
            "finish" not in instance.events
            and instance.row is not None
            and await acts_without_event(db, key["corp_id"], instance.row, without_event)
        )
        decision = decide(instance, known, self.actions.get(code or ""), said, forced=forced)
        if decision.reason == RESYNCED and not forced and without_event == "since_first_event":
            decision = replace(decision, reason=BEFORE_BRIDGE)
        return replace(known, process_code=code), decision

    async def settle_family(
        self,
        tx: Transaction,
        key: Row,
        instance: Stored,
        *,
        new_outcome: bool = False,
        without_event: WithoutEvent = "none",
    ) -> bool:
        """Settle the instance ``key`` and all that change it, take it back, or are changed by it: undos are
        called before actions. Returns whether one of them failed: then what it wrote is undone, and
        ``approval_actions`` has the reason.

        ``new_outcome``: the outcome was not known before, so that a template without an action is counted
        once.
        """
        among = await family(tx, key["corp_id"], key["instance_id"])
        await links.write(tx, key["corp_id"], among)
        failed = False
        for instance_id in among.in_order():
            one = {**key, "instance_id": instance_id}
            ours = one == key
            failed |= await self._settle(
                tx,
                one,
                instance if ours else await stored(tx, one),
                among,
                new_outcome=new_outcome and ours,
                without_event=without_event,
            )
        return failed

    async def _settle(
        self,
        tx: Transaction,
        key: Row,
        instance: Stored,
        among: Family,
        *,
        new_outcome: bool,
        without_event: WithoutEvent,
    ) -> bool:
        """Do what ``decide`` returns for one instance, and store the outcome; returns whether it failed."""
        row = instance.row
        if row is None:
            return False
        known, decision = await self.decide(tx, key, instance, without_event=without_event, among=among)
        code, instance_id = known.process_code or "", key["instance_id"]
        if decision.without_action:
            if new_outcome:
                self._metrics.without_action.inc()
                log.info("approval.without_action", process_code=code or None, instance_id=instance_id)
            return False
        state, reason = decision.state, decision.reason
        times: dict[str, datetime | None] = {}
        failed = False
        if decision.call is not None:
            approval = self._approved(key, instance, code, decision.revoked_by)
            reason, failed = await _call(tx, decision.call, approval)
            if decision.revoked_by is None:
                state = DONE if reason is None else FAILED if failed else REJECTED
                times = {"done_at": datetime.now(UTC), "undone_at": None} if reason is None else {}
            else:
                state = REVOKED if reason is None else NOT_UNDONE
                times = {"undone_at": datetime.now(UTC)} if reason is None else {}
        if state is None or ((state, reason) == (known.state, known.reason) and not times):
            return failed
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
        say = log.info if reason in (None, RESYNCED, BEFORE_BRIDGE) else log.warning
        say(_SAID[state], process_code=code, instance_id=instance_id, reason=reason)
        return failed

    def _approved(
        self, key: Row, instance: Stored, process_code: str, revoked_by: RevokedBy | None
    ) -> Approved:
        """The instance as its action sees it."""
        row, document = instance.row or {}, instance.document or {}
        return Approved(
            corp_id=key["corp_id"],
            instance_id=key["instance_id"],
            process_code=process_code,
            business_id=row["business_id"],
            title=row["title"],
            originator_userid=row["originator_userid"],
            originator_dept_id=row["originator_dept_id"],
            started_at=row["started_at"],
            finished_at=row["finished_at"],
            form=Form(as_list(document.get("formComponentValues")) or [], self._zone),
            document=document,
            revoked_by=revoked_by,
            changes=row["main_instance_id"] if str(row["biz_action"]).upper() == MODIFY else None,
        )


async def _call(tx: Transaction, function: Function, approval: Approved) -> tuple[str | None, bool]:
    """Call it in a savepoint; why it rejected the form or failed (True), else None. Raises only what means
    that a dependency is down."""
    try:
        async with tx.connection.begin_nested():
            await function(approval, tx)
    except Reject as error:
        return error.reason, False
    except TransactionRace:
        raise
    except Exception as error:
        failure: Exception = error
        if isinstance(error, Conflict):
            # a function has fetched nothing, so called again at once it would say the same
            failure = Retry("the function asked for another fetch").with_traceback(error.__traceback__)
        if is_unavailable(failure):
            raise failure from None
        # type and place, not its words: they may hold the form's values
        name = name_of(function)
        return f"{name} failed: {error_location(failure, name.split('.')[0])}", True
    return None, False
