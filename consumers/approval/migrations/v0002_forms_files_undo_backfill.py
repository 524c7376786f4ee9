"""Forms by kind of component, tasks by their id, files, comments, undone actions, backfills.

What the API's document says is made anew from ``raw_document`` by the consumer itself, which finds
``parsed_with`` at 0.
"""

import sqlalchemy as sa
from alembic import op

from consumers.approval.tables import Amount
from dingbridge import UtcDateTime

revision = "0002"
down_revision = "0001"

COMMENTS = {
    "process_code": "the template, from an event, the list of ids, or its name",
    "outcome": "approved, refused, terminated, finished where nobody says how; NULL: not at its end",
    "document_state": "full; missing: the API does not know it; pending: not asked, as it is not at its end",
}


def upgrade() -> None:
    for table in ("approval_form_values", "approval_table_cells", "approval_tasks"):
        op.drop_table(table)
    op.add_column(
        "approval_instances",
        sa.Column(
            "parsed_with",
            sa.Integer,
            nullable=False,
            server_default="0",
            comment="version of the parser that made the form's rows from raw_document",
        ),
    )
    op.create_index("ix_approval_instances_main", "approval_instances", ["corp_id", "main_instance_id"])
    op.create_index("ix_approval_instances_status", "approval_instances", ["status"])
    if op.get_bind().dialect.name == "postgresql":  # SQLite has no comments
        for column, comment in COMMENTS.items():
            op.alter_column("approval_instances", column, comment=comment)
    op.create_table(
        "approval_form_values",
        sa.Column("corp_id", sa.Text, primary_key=True),
        sa.Column("instance_id", sa.Text, primary_key=True),
        sa.Column("position", sa.Integer, primary_key=True, comment="place in the form, from 0"),
        sa.Column("field_id", sa.Text),
        sa.Column("name", sa.Text),
        sa.Column("component_type", sa.Text),
        sa.Column("kind", sa.Text, nullable=False, comment="text, number, money, date, ..., or unknown"),
        sa.Column("value", sa.Text, comment="as it came; complex controls put JSON text here"),
        sa.Column("ext_value", sa.Text),
        sa.Column("value_json", sa.Text, comment="lists and objects as JSON, in one shape for each kind"),
        sa.Column("number", Amount, comment="of numbers and money; of leave, how long"),
        sa.Column("starts_at", UtcDateTime, comment="of dates and ranges: the first moment"),
        sa.Column("ends_at", UtcDateTime, comment="of dates and ranges: the first moment after"),
    )
    op.create_index("ix_approval_form_values_name", "approval_form_values", ["name"])
    op.create_table(
        "approval_table_cells",
        sa.Column("corp_id", sa.Text, primary_key=True),
        sa.Column("instance_id", sa.Text, primary_key=True),
        sa.Column("position", sa.Integer, primary_key=True, comment="of the table in approval_form_values"),
        sa.Column("row", sa.Integer, primary_key=True, comment="from 0"),
        sa.Column("cell", sa.Integer, primary_key=True, comment="from 0"),
        sa.Column("field_id", sa.Text),
        sa.Column("name", sa.Text),
        sa.Column("component_type", sa.Text),
        sa.Column("kind", sa.Text, nullable=False, comment="text, number, money, date, ..., or unknown"),
        sa.Column("value", sa.Text, comment="as it came; complex controls put JSON text here"),
        sa.Column("ext_value", sa.Text),
        sa.Column("value_json", sa.Text, comment="lists and objects as JSON, in one shape for each kind"),
        sa.Column("number", Amount, comment="of numbers and money; of leave, how long"),
        sa.Column("starts_at", UtcDateTime, comment="of dates and ranges: the first moment"),
        sa.Column("ends_at", UtcDateTime, comment="of dates and ranges: the first moment after"),
    )
    op.create_index("ix_approval_table_cells_name", "approval_table_cells", ["name"])
    op.create_table(
        "approval_tasks",
        sa.Column("corp_id", sa.Text, primary_key=True),
        sa.Column("instance_id", sa.Text, primary_key=True),
        sa.Column(
            "task_id",
            sa.Text,
            primary_key=True,
            comment="beyond 32 bits; text in the API, a number in events",
        ),
        sa.Column("userid", sa.Text),
        sa.Column("status", sa.Text, comment="RUNNING, COMPLETED, CANCELED, ..."),
        sa.Column("result", sa.Text, comment="AGREE, REFUSE, REDIRECTED, ..."),
        sa.Column("remark", sa.Text, comment="only events have it; the records have it too"),
        sa.Column("activity_id", sa.Text),
        sa.Column("url", sa.Text),
        sa.Column("started_at", UtcDateTime),
        sa.Column("started_at_raw", sa.Text),
        sa.Column("finished_at", UtcDateTime),
        sa.Column("finished_at_raw", sa.Text),
        sa.Column("raw_events", sa.Text, comment="JSON: the latest event of each type, as it came"),
    )
    op.create_index("ix_approval_tasks_task_id", "approval_tasks", ["task_id"])
    op.create_index("ix_approval_tasks_userid", "approval_tasks", ["corp_id", "userid"])
    op.create_table(
        "approval_comments",
        sa.Column("corp_id", sa.Text, primary_key=True),
        sa.Column("instance_id", sa.Text, primary_key=True),
        sa.Column("comment_id", sa.Text, primary_key=True, comment="a hash of the rest"),
        sa.Column("userid", sa.Text),
        sa.Column("commented_at", UtcDateTime),
        sa.Column("content", sa.Text, comment="as the event has it; the API's records have comments, too"),
    )
    op.create_table(
        "approval_actions",
        sa.Column("corp_id", sa.Text, primary_key=True),
        sa.Column("instance_id", sa.Text, primary_key=True),
        sa.Column("process_code", sa.Text, nullable=False),
        sa.Column("action", sa.Text, nullable=False, comment="module and name of the function"),
        sa.Column(
            "state",
            sa.Text,
            nullable=False,
            comment="done, rejected, failed, skipped, revoked (undone, or never done), or not_undone",
        ),
        sa.Column("reason", sa.Text, comment="why it is not done or not undone"),
        sa.Column("done_at", UtcDateTime, comment="when the action ran last; NULL: never"),
        sa.Column("undone_at", UtcDateTime, comment="when its undo ran; NULL: never"),
        sa.Column("updated_at", UtcDateTime, nullable=False),
    )
    op.create_index("ix_approval_actions_state", "approval_actions", ["state"])
    op.create_table(
        "approval_attachments",
        sa.Column("corp_id", sa.Text, primary_key=True),
        sa.Column("instance_id", sa.Text, primary_key=True),
        sa.Column(
            "attachment_id",
            sa.Text,
            primary_key=True,
            comment="file:<fileId>, or photo:<SHA-256 of its address>",
        ),
        sa.Column(
            "kind", sa.Text, nullable=False, comment="file, photo, or record: of a comment or an operation"
        ),
        sa.Column("field_name", sa.Text, comment="the form's field, or table and column"),
        sa.Column("file_name", sa.Text, comment="as its owner called it; no file of ours is called so"),
        sa.Column("file_type", sa.Text),
        sa.Column("file_size", sa.BigInteger, comment="bytes, as the form says"),
        sa.Column("url", sa.Text, comment="of a photo; a file's address is asked for when it is downloaded"),
        sa.Column(
            "state", sa.Text, nullable=False, comment="waiting, done, refused, or off: with the reason"
        ),
        sa.Column("reason", sa.Text),
        sa.Column("sha256", sa.Text, comment="hex; the file is <ARCHIVE_DIR>/<its first two>/<sha256>"),
        sa.Column("size", sa.BigInteger, comment="bytes, as downloaded"),
        sa.Column("attempts", sa.Integer, nullable=False, server_default="0"),
        sa.Column("next_attempt_at", UtcDateTime, nullable=False),
        sa.Column("downloaded_at", UtcDateTime),
    )
    op.create_index("ix_approval_attachments_due", "approval_attachments", ["state", "next_attempt_at"])
    op.create_index("ix_approval_attachments_sha256", "approval_attachments", ["sha256"])
    op.create_table(
        "approval_backfills",
        sa.Column("run_id", sa.Text, primary_key=True),
        sa.Column("corp_id", sa.Text, nullable=False),
        sa.Column("spec", sa.Text, nullable=False, comment="JSON: from, to, process codes, as asked for"),
        sa.Column("since", UtcDateTime, nullable=False),
        sa.Column("until", UtcDateTime, nullable=False),
        sa.Column("process_codes", sa.Text, comment="JSON list; NULL: not looked up yet"),
        sa.Column(
            "listed", sa.Text, nullable=False, server_default="[]", comment="JSON: windows that are listed"
        ),
        sa.Column("with_actions", sa.Boolean, nullable=False),
        sa.Column("state", sa.Text, nullable=False, comment="running, or done"),
        sa.Column("created_at", UtcDateTime, nullable=False),
        sa.Column("done_at", UtcDateTime),
    )
    op.create_index("ix_approval_backfills_state", "approval_backfills", ["state"])
    op.create_table(
        "approval_backfill_items",
        sa.Column("run_id", sa.Text, primary_key=True),
        sa.Column("instance_id", sa.Text, primary_key=True),
        sa.Column("process_code", sa.Text, comment="of the list in which it stood; NULL: known from events"),
        sa.Column("state", sa.Text, nullable=False, comment="waiting, done, missing, or failed"),
    )
    op.create_index("ix_approval_backfill_items_state", "approval_backfill_items", ["run_id", "state"])
    for state, at, reason, table in (
        ("done", "done_at", "NULL", "approval_actions_done"),
        ("rejected", "rejected_at", "reason", "approval_actions_rejected"),
    ):
        op.execute(
            "INSERT INTO approval_actions "  # noqa: S608 - of the constants above
            "(corp_id, instance_id, process_code, action, state, reason, done_at, updated_at) "
            f"SELECT corp_id, instance_id, process_code, action, '{state}', {reason}, "
            f"{at if state == 'done' else 'NULL'}, {at} FROM {table} "
            "WHERE NOT EXISTS (SELECT 1 FROM approval_actions a "
            f"WHERE a.corp_id = {table}.corp_id AND a.instance_id = {table}.instance_id)"
        )
        op.drop_table(table)
    _leave_ledger()


def _leave_ledger() -> None:
    """Made here unless version 0.1 did, since it is the example actions' and not everybody uses these."""
    if sa.inspect(op.get_bind()).has_table("leave_ledger"):
        return
    op.create_table(
        "leave_ledger",
        sa.Column("corp_id", sa.Text, primary_key=True),
        sa.Column("instance_id", sa.Text, primary_key=True),
        sa.Column("userid", sa.Text, nullable=False),
        sa.Column("leave_type", sa.Text, nullable=False),
        sa.Column("starts_at", UtcDateTime, nullable=False),
        sa.Column("starts_at_raw", sa.Text, nullable=False),
        sa.Column("ends_at", UtcDateTime, nullable=False, comment="the first moment after the leave"),
        sa.Column("ends_at_raw", sa.Text, nullable=False),
        sa.Column("days", sa.Float, nullable=False),
        sa.Column("reason", sa.Text),
        sa.Column("recorded_at", UtcDateTime, nullable=False),
    )
    op.create_index("ix_leave_ledger_userid", "leave_ledger", ["corp_id", "userid", "starts_at"])
