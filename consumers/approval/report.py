"""What ``dingbridge consume approval --show`` prints."""

from sqlalchemy import Select, func, select
from sqlalchemy import Table as SqlTable

from consumers.approval.tables import approval_actions_rejected, approval_instances, metadata
from consumers.runtime import Reader
from consumers.runtime.consumer import Table

SHOWN = 10
"""Rows of each table that are shown; the counts are of all."""


async def tables(db: Reader) -> list[Table]:
    """The approvals archived last, the leave ledger if the actions in use have one, and actions rejected."""
    instances = approval_instances.c
    shown = [await _instances(db)]
    ledger = metadata.tables.get("leave_ledger")
    if ledger is not None:
        columns = ["userid", "leave_type", "starts_at", "ends_at", "days", "reason", "instance_id"]
        latest = select(*(ledger.c[name] for name in columns)).order_by(ledger.c.recorded_at.desc())
        shown.append(await _table(db, "leave ledger", ledger, columns, latest))
    rejected = approval_actions_rejected.c
    latest = (
        select(rejected.rejected_at, rejected.process_code, instances.business_id, rejected.reason)
        .join_from(
            approval_actions_rejected,
            approval_instances,
            (instances.corp_id == rejected.corp_id) & (instances.instance_id == rejected.instance_id),
        )
        .order_by(rejected.rejected_at.desc())
    )
    columns = ["rejected_at", "process_code", "business_id", "reason"]
    shown.append(await _table(db, "actions rejected", approval_actions_rejected, columns, latest))
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
        f"{count} {outcome or 'deleted'}" for outcome, count in sorted(map(tuple, found), key=str)
    )
    title, names, rows = await _table(db, "approvals archived", approval_instances, columns, latest)
    return f"{title} ({outcomes})" if outcomes else title, names, rows


async def _table(
    db: Reader, title: str, counted: SqlTable, columns: list[str], latest: Select[*tuple[object, ...]]
) -> Table:
    total = await db.scalar(select(func.count()).select_from(counted))
    rows = [tuple(row) for row in await db.execute(latest.limit(SHOWN))]
    return f"{title}: {total}; the latest {len(rows)}", columns, rows
