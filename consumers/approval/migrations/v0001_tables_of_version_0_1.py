"""The tables as version 0.1 made them with ``create_all``, column for column: never change this file.

Without the leave ledger: only those have it who use the example actions.
"""

import sqlalchemy as sa
from alembic import op

from dingbridge import UtcDateTime

revision = "0001"
down_revision = None


def upgrade() -> None:
    op.create_table(
        "approval_instances",
        sa.Column("corp_id", sa.Text, primary_key=True),
        sa.Column("instance_id", sa.Text, primary_key=True),
        sa.Column("process_code", sa.Text, comment="the template; only events have it"),
        sa.Column("business_id", sa.Text, comment="the number that people see on the form"),
        sa.Column("title", sa.Text),
        sa.Column("url", sa.Text, comment="only events have it"),
        sa.Column("originator_userid", sa.Text),
        sa.Column("originator_dept_id", sa.Text),
        sa.Column("originator_dept_name", sa.Text),
        sa.Column(
            "outcome", sa.Text, comment="approved, refused, terminated, or finished where nobody says how"
        ),
        sa.Column("status", sa.Text, comment="as the API has it: RUNNING, COMPLETED, TERMINATED, ..."),
        sa.Column("result", sa.Text, comment="agree or refuse"),
        sa.Column("biz_category_id", sa.Text),
        sa.Column("business_type", sa.Text),
        sa.Column("biz_action", sa.Text, comment="NONE, or MODIFY or REVOKE of main_instance_id"),
        sa.Column("main_instance_id", sa.Text),
        sa.Column("approver_userids", sa.Text, comment="JSON list"),
        sa.Column("cc_userids", sa.Text, comment="JSON list"),
        sa.Column("attached_instance_ids", sa.Text, comment="JSON list"),
        sa.Column("started_at", UtcDateTime),
        sa.Column("started_at_raw", sa.Text),
        sa.Column("finished_at", UtcDateTime),
        sa.Column("finished_at_raw", sa.Text),
        sa.Column(
            "deleted_at", UtcDateTime, comment="when somebody deleted it in DingTalk; the archive keeps it"
        ),
        sa.Column(
            "document_state", sa.Text, nullable=False, comment="full, or missing: the API does not know it"
        ),
        sa.Column(
            "raw_events", sa.Text, nullable=False, comment="JSON: the latest event of each type, as it came"
        ),
        sa.Column("raw_document", sa.Text, comment="JSON: the API's answer, whole"),
        sa.Column("updated_at", UtcDateTime, nullable=False),
    )
    op.create_index("ix_approval_instances_process_code", "approval_instances", ["process_code"])
    op.create_index("ix_approval_instances_business_id", "approval_instances", ["business_id"])
    op.create_index(
        "ix_approval_instances_originator", "approval_instances", ["corp_id", "originator_userid"]
    )
    op.create_index("ix_approval_instances_finished_at", "approval_instances", ["finished_at"])
    op.create_table(
        "approval_form_values",
        sa.Column("corp_id", sa.Text, primary_key=True),
        sa.Column("instance_id", sa.Text, primary_key=True),
        sa.Column("position", sa.Integer, primary_key=True, comment="place in the form, from 0"),
        sa.Column("field_id", sa.Text),
        sa.Column("name", sa.Text),
        sa.Column("component_type", sa.Text),
        sa.Column("value", sa.Text, comment="as it came; complex controls put JSON text here"),
        sa.Column("value_json", sa.Text, comment="the value where it is a list or an object, as JSON"),
        sa.Column("ext_value", sa.Text),
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
        sa.Column("value", sa.Text),
    )
    op.create_table(
        "approval_operations",
        sa.Column("corp_id", sa.Text, primary_key=True),
        sa.Column("instance_id", sa.Text, primary_key=True),
        sa.Column("position", sa.Integer, primary_key=True, comment="in the order of the records, from 0"),
        sa.Column("userid", sa.Text),
        sa.Column("operation_type", sa.Text),
        sa.Column("operation_result", sa.Text),
        sa.Column("remark", sa.Text),
        sa.Column("attachments", sa.Text, comment="JSON list"),
        sa.Column("operated_at", UtcDateTime),
        sa.Column("operated_at_raw", sa.Text),
    )
    op.create_table(
        "approval_tasks",
        sa.Column("corp_id", sa.Text, primary_key=True),
        sa.Column("instance_id", sa.Text, primary_key=True),
        sa.Column("position", sa.Integer, primary_key=True, comment="in the order of the tasks, from 0"),
        sa.Column("task_id", sa.Text, comment="beyond 32 bits; text in the API, a number in events"),
        sa.Column("userid", sa.Text),
        sa.Column("status", sa.Text),
        sa.Column("result", sa.Text),
        sa.Column("activity_id", sa.Text),
        sa.Column("url", sa.Text),
        sa.Column("started_at", UtcDateTime),
        sa.Column("started_at_raw", sa.Text),
        sa.Column("finished_at", UtcDateTime),
        sa.Column("finished_at_raw", sa.Text),
    )
    op.create_index("ix_approval_tasks_task_id", "approval_tasks", ["task_id"])
    op.create_table(
        "approval_actions_done",
        sa.Column("corp_id", sa.Text, primary_key=True),
        sa.Column("instance_id", sa.Text, primary_key=True),
        sa.Column("process_code", sa.Text, nullable=False),
        sa.Column("action", sa.Text, nullable=False, comment="module and name of the function"),
        sa.Column("done_at", UtcDateTime, nullable=False),
    )
    op.create_table(
        "approval_actions_rejected",
        sa.Column("corp_id", sa.Text, primary_key=True),
        sa.Column("instance_id", sa.Text, primary_key=True),
        sa.Column("process_code", sa.Text, nullable=False),
        sa.Column("action", sa.Text, nullable=False),
        sa.Column("reason", sa.Text, nullable=False, comment="the action's words"),
        sa.Column("rejected_at", UtcDateTime, nullable=False),
    )
    op.create_table(
        "approval_generations",
        sa.Column("corp_id", sa.Text, primary_key=True),
        sa.Column("kind", sa.Text, primary_key=True),
        sa.Column("entity_id", sa.Text, primary_key=True),
        sa.Column("generation", sa.BigInteger, nullable=False),
        sa.Column("fetched_at", UtcDateTime, comment="when the last fetch began that was written"),
    )
