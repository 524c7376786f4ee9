"""An action that does real work: approved leave goes to a ledger, revoked leave out of it again. Copy
this module for your own templates.

``APPROVAL_ACTIONS=path/to/yours.py`` makes the consumer use yours instead. A template's process code stands
in the address of its edit page in DingTalk's approval console.
"""

from datetime import UTC, datetime

from sqlalchemy import Column, Date, Index, Table, Text, delete, insert

from dingbridge import Person, Reject, Transaction, UtcDateTime
from dingbridge.consumers.approval.actions import Approved, action
from dingbridge.consumers.approval.tables import Amount, metadata

leave_ledger = Table(
    "leave_ledger",
    metadata,
    Column("corp_id", Text, primary_key=True),
    Column("instance_id", Text, primary_key=True),
    Column("userid", Text, nullable=False),
    Column("leave_type", Text, nullable=False),
    Column("starts_on", Date, nullable=False, comment="the first day of the leave"),
    Column("starts_raw", Text, nullable=False, comment="as the form has it, with a time or half of the day"),
    Column("ends_on", Date, nullable=False, comment="the last day of the leave"),
    Column("ends_raw", Text, nullable=False),
    Column("days", Amount, nullable=False),
    Column("reason", Text),
    Column("recorded_at", UtcDateTime, nullable=False),
    Index("ix_leave_ledger_userid", "corp_id", "userid", "starts_on"),
)


async def forget_leave(approval: Approved, tx: Transaction) -> None:
    """Take the leave out of the ledger again; nothing when it is not in it."""
    columns = leave_ledger.c
    await tx.execute(
        delete(leave_ledger).where(
            columns.corp_id == approval.corp_id, columns.instance_id == approval.instance_id
        )
    )


@action("PROC-LEAVE", undo=forget_leave)
async def record_leave(approval: Approved, tx: Transaction) -> None:
    """Write the leave to the ledger. Rejects a form from which no leave can be read."""
    form = approval.form
    starts_on, ends_on, days = form.day("开始时间"), form.day("结束时间"), form.number("时长(天)")
    if ends_on < starts_on or days <= 0:
        raise Reject("the leave ends before it starts, or lasts no time")
    if not approval.originator_userid:
        raise Reject("the approval names nobody who asked for it")
    await tx.execute(
        insert(leave_ledger).values(
            corp_id=approval.corp_id,
            instance_id=approval.instance_id,
            userid=approval.originator_userid,
            leave_type=form["请假类型"],
            starts_on=starts_on,
            starts_raw=form["开始时间"],
            ends_on=ends_on,
            ends_raw=form["结束时间"],
            days=days,
            reason=form.get("请假事由"),
            recorded_at=datetime.now(UTC),
        )
    )


async def forget(person: Person, tx: Transaction) -> dict[str, int]:
    """What the ledger has of somebody whom ``dingbridge forget`` names."""
    columns = leave_ledger.c
    of_person = (columns.corp_id == person.corp_id, columns.userid == person.userid)
    return {leave_ledger.name: (await tx.execute(delete(leave_ledger).where(*of_person))).rowcount}
