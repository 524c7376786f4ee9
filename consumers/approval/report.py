"""What ``dingbridge consume approval --show`` prints."""

from sqlalchemy import Select, func, select

from dingbridge import Reader
from dingbridge.consumers.approval.actions.action_state import FAILED, NOT_UNDONE, REJECTED
from dingbridge.consumers.approval.tables import (
    INSTANCE,
    approval_actions,
    approval_attachments,
    approval_instances,
    entities,
    metadata,
)
from dingbridge.worker.consumer import Table

SHOWN = 10
"""Rows of each table that are shown; the counts are of all."""


async def tables(db: Reader) -> list[Table]:
    """The approvals archived last, the leave ledger if the actions in use have one, actions that need
    somebody (rejected, failed, or not undone), the attachments by state, and what could not be fetched."""
    shown = [await _instances(db)]
    ledger = metadata.tables.get("leave_ledger")
    if ledger is not None:
        columns = ["userid", "leave_type", "starts_on", "ends_on", "days", "reason", "instance_id"]
        latest = select(*(ledger.c[name] for name in columns)).order_by(ledger.c.recorded_at.desc())
        shown.append(await _table(db, "leave ledger", latest, columns))
    shown.append(await _open_actions(db))
    shown.append(await _attachments(db))
    columns = ["corp_id", "entity_id", "code"]
    given_up = select(*(entities.c[name] for name in columns)).where(
        entities.c.kind == INSTANCE, entities.c.state == "refused"
    )
    shown.append(await _table(db, "documents not got", given_up, columns))
    return shown


async def _instances(db: Reader) -> Table:
    columns = ["finished_at", "process_code", "outcome", "title", "originator_userid", "business_id"]
    latest = select(*(approval_instances.c[name] for name in columns)).order_by(
        approval_instances.c.updated_at.desc()
    )
    found = await db.execute(
        select(approval_instances.c.outcome, func.count()).group_by(approval_instances.c.outcome)
    )
    outcomes = ", ".join(
        f"{count} {outcome or 'not at their end'}" for outcome, count in sorted(map(tuple, found), key=str)
    )
    title, names, rows = await _table(db, "approvals archived", latest, columns)
    return f"{title} ({outcomes})" if outcomes else title, names, rows


async def _open_actions(db: Reader) -> Table:
    actions, instances = approval_actions.c, approval_instances.c
    columns = ["updated_at", "state", "process_code", "business_id", "reason"]
    latest = (
        select(actions.updated_at, actions.state, actions.process_code, instances.business_id, actions.reason)
        .join_from(
            approval_actions,
            approval_instances,
            (instances.corp_id == actions.corp_id) & (instances.instance_id == actions.instance_id),
        )
        .where(actions.state.in_((REJECTED, FAILED, NOT_UNDONE)))
        .order_by(actions.updated_at.desc())
        .limit(SHOWN)
    )
    found = await db.execute(
        select(actions.state, func.count()).group_by(actions.state).order_by(actions.state)
    )
    counts = ", ".join(f"{count} {state}" for state, count in map(tuple, found))
    rows = [tuple(row) for row in await db.execute(latest)]
    return f"actions ({counts or 'none'}); those rejected, failed or not undone", columns, rows


async def _attachments(db: Reader) -> Table:
    files = approval_attachments.c
    counts = (
        select(files.state, files.reason, func.count(), func.coalesce(func.sum(files.size), 0))
        .group_by(files.state, files.reason)
        .order_by(files.state, files.reason)
    )
    rows = [tuple(row) for row in await db.execute(counts)]
    return "attachments", ["state", "reason", "files", "bytes"], rows


async def _table(db: Reader, title: str, latest: Select[*tuple[object, ...]], columns: list[str]) -> Table:
    total = await db.scalar(select(func.count()).select_from(latest.order_by(None).subquery()))
    rows = [tuple(row) for row in await db.execute(latest.limit(SHOWN))]
    return f"{title}: {total}; the latest {len(rows)}", columns, rows
