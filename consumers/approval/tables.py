"""The archive's tables: a row for each approval instance; its form, records and tasks in rows of their own.

Times are UTC; beside each stands, as ``…_raw``, what DingTalk's API wrote, whose times name no zone
(``DINGTALK_TIMEZONE`` says which). A column is NULL where neither the event nor the API says anything.
"""

from sqlalchemy import Column, Index, Integer, MetaData, Table, Text

from consumers.mirror import Guard
from consumers.runtime import UtcDateTime

metadata = MetaData()
"""An actions module may add tables of its own to it: they are created at start with these."""

approval_instances = Table(
    "approval_instances",
    metadata,
    Column("corp_id", Text, primary_key=True),
    Column("instance_id", Text, primary_key=True),
    Column("process_code", Text, comment="the template; only events have it"),
    Column("business_id", Text, comment="the number that people see on the form"),
    Column("title", Text),
    Column("url", Text, comment="only events have it"),
    Column("originator_userid", Text),
    Column("originator_dept_id", Text),
    Column("originator_dept_name", Text),
    Column("outcome", Text, comment="approved, refused, terminated, or finished where nobody says how"),
    Column("status", Text, comment="as the API has it: RUNNING, COMPLETED, TERMINATED, ..."),
    Column("result", Text, comment="agree or refuse"),
    Column("biz_category_id", Text),
    Column("business_type", Text),
    Column("biz_action", Text, comment="NONE, or MODIFY or REVOKE of main_instance_id"),
    Column("main_instance_id", Text),
    Column("approver_userids", Text, comment="JSON list"),
    Column("cc_userids", Text, comment="JSON list"),
    Column("attached_instance_ids", Text, comment="JSON list"),
    Column("started_at", UtcDateTime),
    Column("started_at_raw", Text),
    Column("finished_at", UtcDateTime),
    Column("finished_at_raw", Text),
    Column("deleted_at", UtcDateTime, comment="when somebody deleted it in DingTalk; the archive keeps it"),
    Column("document_state", Text, nullable=False, comment="full, or missing: the API does not know it"),
    Column("raw_events", Text, nullable=False, comment="JSON: the latest event of each type, as it came"),
    Column("raw_document", Text, comment="JSON: the API's answer, whole"),
    Column("updated_at", UtcDateTime, nullable=False),
    Index("ix_approval_instances_process_code", "process_code"),
    Index("ix_approval_instances_business_id", "business_id"),
    Index("ix_approval_instances_originator", "corp_id", "originator_userid"),
    Index("ix_approval_instances_finished_at", "finished_at"),
)

approval_form_values = Table(
    "approval_form_values",
    metadata,
    Column("corp_id", Text, primary_key=True),
    Column("instance_id", Text, primary_key=True),
    Column("position", Integer, primary_key=True, comment="place in the form, from 0"),
    Column("field_id", Text),
    Column("name", Text),
    Column("component_type", Text),
    Column("value", Text, comment="as it came; complex controls put JSON text here"),
    Column("value_json", Text, comment="the value where it is a list or an object, as JSON"),
    Column("ext_value", Text),
    Index("ix_approval_form_values_name", "name"),
)

approval_table_cells = Table(
    "approval_table_cells",
    metadata,
    Column("corp_id", Text, primary_key=True),
    Column("instance_id", Text, primary_key=True),
    Column("position", Integer, primary_key=True, comment="of the table in approval_form_values"),
    Column("row", Integer, primary_key=True, comment="from 0"),
    Column("cell", Integer, primary_key=True, comment="from 0"),
    Column("field_id", Text),
    Column("name", Text),
    Column("component_type", Text),
    Column("value", Text),
)

approval_operations = Table(
    "approval_operations",
    metadata,
    Column("corp_id", Text, primary_key=True),
    Column("instance_id", Text, primary_key=True),
    Column("position", Integer, primary_key=True, comment="in the order of the records, from 0"),
    Column("userid", Text),
    Column("operation_type", Text),
    Column("operation_result", Text),
    Column("remark", Text),
    Column("attachments", Text, comment="JSON list"),
    Column("operated_at", UtcDateTime),
    Column("operated_at_raw", Text),
)

approval_tasks = Table(
    "approval_tasks",
    metadata,
    Column("corp_id", Text, primary_key=True),
    Column("instance_id", Text, primary_key=True),
    Column("position", Integer, primary_key=True, comment="in the order of the tasks, from 0"),
    Column("task_id", Text, comment="beyond 32 bits; text in the API, a number in events"),
    Column("userid", Text),
    Column("status", Text),
    Column("result", Text),
    Column("activity_id", Text),
    Column("url", Text),
    Column("started_at", UtcDateTime),
    Column("started_at_raw", Text),
    Column("finished_at", UtcDateTime),
    Column("finished_at_raw", Text),
    Index("ix_approval_tasks_task_id", "task_id"),
)

approval_actions_done = Table(
    "approval_actions_done",
    metadata,
    Column("corp_id", Text, primary_key=True),
    Column("instance_id", Text, primary_key=True),
    Column("process_code", Text, nullable=False),
    Column("action", Text, nullable=False, comment="module and name of the function"),
    Column("done_at", UtcDateTime, nullable=False),
)

approval_actions_rejected = Table(
    "approval_actions_rejected",
    metadata,
    Column("corp_id", Text, primary_key=True),
    Column("instance_id", Text, primary_key=True),
    Column("process_code", Text, nullable=False),
    Column("action", Text, nullable=False),
    Column("reason", Text, nullable=False, comment="the action's words"),
    Column("rejected_at", UtcDateTime, nullable=False),
)

guard = Guard(metadata, "approval_generations")
"""Kind ``approval``."""
