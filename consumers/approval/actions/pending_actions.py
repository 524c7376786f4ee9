"""Finds the actions and undos that archived approvals lack, for ``dingbridge approvals actions``.

Events call actions by themselves. This is for what no event will bring: an action that was declared after its
approvals were archived, one that rejected a form and was corrected since, an undo that was missing.
"""

from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Literal

from sqlalchemy import ColumnElement, case, select, true

from dingbridge import Database
from dingbridge.consumers.approval.actions.action_state import DONE, REVOKED
from dingbridge.consumers.approval.actions.declaration import name_of
from dingbridge.consumers.approval.actions.runner import ActionRunner
from dingbridge.consumers.approval.archive.links import ancestors
from dingbridge.consumers.approval.archive.query import Filter, pages
from dingbridge.consumers.approval.archive.writer import stored
from dingbridge.consumers.approval.tables import INSTANCE, approval_actions, approval_instances
from dingbridge.mirror import Entities, Entity

_columns = approval_instances.c


@dataclass(frozen=True, slots=True)
class Pending:
    """One instance, and the function to call for it, ``calls``; or none, because ``reason``.

    ``state`` is what is in ``approval_actions`` now, None for nothing.
    """

    corp_id: str
    instance_id: str
    business_id: str | None
    process_code: str
    kind: Literal["action", "undo", "nothing"]
    calls: str
    state: str | None
    reason: str | None
    app: str


async def pending(database: Database, runner: ActionRunner, chosen: Filter) -> AsyncIterator[Pending]:
    """What is to be called, instance by instance; instances that lack nothing are left out."""
    db = database.reader()
    async for rows in pages(db, chosen, _may_lack(runner)):
        for row in rows:
            key = {"corp_id": row["corp_id"], "instance_id": row["instance_id"]}
            known, decision = await runner.decide(db, key, await stored(db, key), without_event="all")
            kind: Literal["action", "undo", "nothing"] = "nothing"
            if decision.call is not None:
                kind = "action" if decision.revoked_by is None else "undo"
            elif decision.state == REVOKED or (decision.state, decision.reason) == (
                known.state,
                known.reason,
            ):
                continue  # taken back before it was acted on; or nothing new
            yield Pending(
                **key,
                business_id=row["business_id"],
                process_code=known.process_code or "",
                kind=kind,
                calls="" if decision.call is None else name_of(decision.call),
                state=known.state,
                reason=decision.reason if decision.call is None else known.reason,
                app=row["app"],
            )


def _may_lack(runner: ActionRunner) -> ColumnElement[bool]:
    """The instances that may lack a call, by their rows alone: only these few are then decided one by one."""
    entries, in_force = approval_actions.c, _columns.outcome == "approved"
    for column in (_columns.deleted_at, _columns.revoked_by, _columns.replaced_by):
        in_force &= column.is_(None)
    entry = select(entries.state).where(
        entries.corp_id == _columns.corp_id, entries.instance_id == _columns.instance_id
    )
    state = entry.scalar_subquery()
    return case(
        (state.is_(None), in_force & _columns.process_code.in_(list(runner.actions))),
        (state == DONE, ~in_force),
        (state == REVOKED, in_force),
        else_=true(),
    )


async def call(database: Database, entities: Entities, runner: ActionRunner, one: Pending) -> str | None:
    """Call it, in a transaction of its own, with what follows for the instances that change it; returns the
    state in ``approval_actions`` afterwards."""
    key = {"corp_id": one.corp_id, "instance_id": one.instance_id}
    async with database.transaction() as tx:
        # first what a read locks first
        for instance_id in (one.instance_id, *await ancestors(tx, one.corp_id, one.instance_id)):
            await entities.lock(tx, Entity(one.corp_id, INSTANCE, instance_id), one.app)
        await runner.settle_family(tx, key, await stored(tx, key), without_event="all")
        entry = (approval_actions.c[name] == value for name, value in key.items())
        state: str | None = await tx.scalar(select(approval_actions.c.state).where(*entry))
        return state
