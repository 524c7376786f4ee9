"""The archive's tables. Without the leave ledger: only those have it who use the example actions."""

import sqlalchemy as sa
from alembic import op

from consumers.approval.tables import Amount
from dingbridge import UtcDateTime
from dingbridge.work_queue import queue_columns

revision = "0001"
down_revision = None


def upgrade() -> None:
    op.create_table(
        "approval_instances",
        sa.Column("corp_id", sa.Text, primary_key=True),
        sa.Column("instance_id", sa.Text, primary_key=True),
        sa.Column(
            "process_code", sa.Text, comment="the template, from an event, the list of ids, or its name"
        ),
        sa.Column(
            "app",
            sa.Text,
            nullable=False,
            comment="the DingTalk app that told of it last, and is asked about it",
        ),
        sa.Column("business_id", sa.Text, comment="the number that people see on the form"),
        sa.Column("title", sa.Text),
        sa.Column("url", sa.Text, comment="only events have it"),
        sa.Column("originator_userid", sa.Text),
        sa.Column("originator_dept_id", sa.Text),
        sa.Column("originator_dept_name", sa.Text),
        sa.Column(
            "outcome",
            sa.Text,
            comment="approved, refused, terminated, finished where nobody says how; NULL: not at its end",
        ),
        sa.Column("status", sa.Text, comment="as the API has it: RUNNING, COMPLETED, TERMINATED, ..."),
        sa.Column("result", sa.Text, comment="agree or refuse"),
        sa.Column("biz_category_id", sa.Text),
        sa.Column("business_type", sa.Text),
        sa.Column("biz_action", sa.Text, comment="NONE, or MODIFY or REVOKE of main_instance_id"),
        sa.Column("biz_data", sa.Text, comment="JSON text of whoever started it through the API"),
        sa.Column("main_instance_id", sa.Text, comment="the instance that this one changes or takes back"),
        sa.Column(
            "replaced_by",
            sa.Text,
            comment="the approved instance whose form is in force instead; NULL: this one's",
        ),
        sa.Column("revoked_by", sa.Text, comment="the approved instance that takes it back; NULL: none does"),
        sa.Column("approver_userids", sa.Text, comment="JSON list"),
        sa.Column("cc_userids", sa.Text, comment="JSON list"),
        sa.Column(
            "attached_instance_ids",
            sa.Text,
            comment="JSON list: what changed it or took it back, as it knew",
        ),
        sa.Column("started_at", UtcDateTime),
        sa.Column("started_at_raw", sa.Text),
        sa.Column("finished_at", UtcDateTime),
        sa.Column("finished_at_raw", sa.Text),
        sa.Column("true_utc", sa.Boolean, comment="whether the Z of its times is true; NULL: no document"),
        sa.Column(
            "deleted_at", UtcDateTime, comment="when somebody deleted it in DingTalk; the archive keeps it"
        ),
        sa.Column(
            "document_state",
            sa.Text,
            nullable=False,
            comment="full; pending: not fetched at its end yet",
        ),
        sa.Column(
            "raw_events", sa.Text, nullable=False, comment="JSON: the latest event of each type, as it came"
        ),
        sa.Column("raw_document", sa.Text, comment="JSON: the API's answer, whole"),
        sa.Column("updated_at", UtcDateTime, nullable=False),
    )
    op.create_index("ix_approval_instances_business_id", "approval_instances", ["business_id"])
    op.create_index("ix_approval_instances_finished_at", "approval_instances", ["finished_at"])
    op.create_index("ix_approval_instances_main", "approval_instances", ["corp_id", "main_instance_id"])
    op.create_index(
        "ix_approval_instances_originator", "approval_instances", ["corp_id", "originator_userid"]
    )
    op.create_index("ix_approval_instances_process_code", "approval_instances", ["process_code"])
    op.create_index(
        "ix_approval_instances_unfinished",
        "approval_instances",
        ["corp_id"],
        postgresql_where=sa.text("outcome IS NULL"),
        sqlite_where=sa.text("outcome IS NULL"),
    )
    op.create_table(
        "approval_form_values",
        sa.Column("corp_id", sa.Text, primary_key=True),
        sa.Column("instance_id", sa.Text, primary_key=True),
        sa.Column("position", sa.Integer, primary_key=True, comment="place in the form, from 0"),
        sa.Column(
            "biz_alias", sa.Text, comment="the field's name for programs, where its template gives it one"
        ),
        sa.Column("field_id", sa.Text),
        sa.Column("name", sa.Text),
        sa.Column("component_type", sa.Text),
        sa.Column("kind", sa.Text, nullable=False, comment="text, number, money, date, ..., or unknown"),
        sa.Column("value", sa.Text, comment="as it came; complex controls put JSON text here"),
        sa.Column("ext_value", sa.Text),
        sa.Column("value_json", sa.Text, comment="lists and objects as JSON, in one shape for each kind"),
        sa.Column("number", Amount, comment="of numbers and money; of leave, how long"),
        sa.Column("starts_on", sa.Date, comment="of dates and ranges: the first day, as the form has it"),
        sa.Column("ends_on", sa.Date, comment="of dates and ranges: the last day, as the form has it"),
        sa.Column(
            "starts_at", UtcDateTime, comment="the same with its time; NULL where the form has only days"
        ),
        sa.Column(
            "ends_at", UtcDateTime, comment="the same with its time; NULL where the form has only days"
        ),
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
        sa.Column("starts_on", sa.Date, comment="of dates and ranges: the first day, as the form has it"),
        sa.Column("ends_on", sa.Date, comment="of dates and ranges: the last day, as the form has it"),
        sa.Column(
            "starts_at", UtcDateTime, comment="the same with its time; NULL where the form has only days"
        ),
        sa.Column(
            "ends_at", UtcDateTime, comment="the same with its time; NULL where the form has only days"
        ),
    )
    op.create_index("ix_approval_table_cells_name", "approval_table_cells", ["name"])
    op.create_table(
        "approval_operations",
        sa.Column("corp_id", sa.Text, primary_key=True),
        sa.Column("instance_id", sa.Text, primary_key=True),
        sa.Column("position", sa.Integer, primary_key=True, comment="in the order of the records, from 0"),
        sa.Column("userid", sa.Text),
        sa.Column(
            "operation_type",
            sa.Text,
            comment="START_PROCESS_INSTANCE, EXECUTE_TASK_NORMAL, ..., as it came",
        ),
        sa.Column("operation_result", sa.Text, comment="AGREE, REFUSE, NONE, ..., as it came"),
        sa.Column("remark", sa.Text),
        sa.Column("activity_id", sa.Text),
        sa.Column("show_name", sa.Text, comment="the name of the step"),
        sa.Column("attachments", sa.Text, comment="JSON list"),
        sa.Column("images", sa.Text, comment="JSON list of addresses"),
        sa.Column("cc_userids", sa.Text, comment="JSON list"),
        sa.Column("operated_at", UtcDateTime, comment="to the minute; within one, position is the order"),
        sa.Column("operated_at_raw", sa.Text),
    )
    op.create_table(
        "approval_tasks",
        sa.Column("corp_id", sa.Text, primary_key=True),
        sa.Column("instance_id", sa.Text, primary_key=True),
        sa.Column("task_id", sa.Text, primary_key=True, comment="beyond 32 bits"),
        sa.Column(
            "position",
            sa.Integer,
            comment="place among the API's tasks, from 0; NULL: only events tell of it",
        ),
        sa.Column("userid", sa.Text),
        sa.Column("status", sa.Text, comment="RUNNING, COMPLETED, CANCELED, ..."),
        sa.Column("result", sa.Text, comment="AGREE, REFUSE, REDIRECTED, ...; NONE or NULL: not decided"),
        sa.Column("remark", sa.Text, comment="only events have it; the records have it too"),
        sa.Column("activity_id", sa.Text),
        sa.Column("group_name", sa.Text),
        sa.Column("mobile_url", sa.Text),
        sa.Column("pc_url", sa.Text),
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
            "app", sa.Text, nullable=False, comment="the DingTalk app that is asked for it; empty for a photo"
        ),
        sa.Column(
            "kind", sa.Text, nullable=False, comment="file, photo, or record: of a comment or an operation"
        ),
        sa.Column("field_name", sa.Text, comment="the form's field, or table and column"),
        sa.Column("file_name", sa.Text, comment="as its owner called it; no file of ours is called so"),
        sa.Column("file_type", sa.Text),
        sa.Column("file_size", sa.BigInteger, comment="bytes, as the form says"),
        sa.Column("url", sa.Text, comment="of a photo; a file's address is asked for when it is downloaded"),
        sa.Column("state", sa.Text, nullable=False, comment="waiting, done, or refused: with the reason"),
        sa.Column("reason", sa.Text),
        sa.Column("sha256", sa.Text, comment="hex; the file is <ARCHIVE_DIR>/<its first two>/<sha256>"),
        sa.Column("size", sa.BigInteger, comment="bytes, as downloaded"),
        sa.Column("downloaded_at", UtcDateTime),
        *queue_columns(),
    )
    op.create_index("ix_approval_attachments_due", "approval_attachments", ["priority", "due_ms"])
    op.create_index("ix_approval_attachments_sha256", "approval_attachments", ["sha256"])
    op.create_table(
        "approval_resyncs",
        sa.Column("corp_id", sa.Text, primary_key=True),
        sa.Column("app", sa.Text, primary_key=True, comment="the DingTalk app that is asked"),
        sa.Column("since", UtcDateTime, nullable=False, comment="what was started since then is compared"),
        *queue_columns(),
    )
    op.create_index("ix_approval_resyncs_due", "approval_resyncs", ["priority", "due_ms"])
    op.create_table(
        "approval_fetches",
        sa.Column("corp_id", sa.Text, primary_key=True),
        sa.Column("instance_id", sa.Text, primary_key=True),
        sa.Column("app", sa.Text, nullable=False, comment="the DingTalk app that is asked"),
        sa.Column("process_code", sa.Text, comment="the template, where a list of ids has named it"),
        sa.Column("with_actions", sa.Boolean, nullable=False, comment="as if its events had come"),
        sa.Column("looks", sa.SmallInteger, nullable=False, comment="that did not have what was told"),
        *queue_columns(),
    )
    op.create_index("ix_approval_fetches_due", "approval_fetches", ["priority", "due_ms"])
    op.create_table(
        "approval_generations",
        sa.Column("corp_id", sa.Text, primary_key=True),
        sa.Column("kind", sa.Text, primary_key=True),
        sa.Column("entity_id", sa.Text, primary_key=True),
        sa.Column("generation", sa.BigInteger, nullable=False),
        sa.Column("fetched_at", UtcDateTime, comment="when the last fetch began that was written"),
    )
