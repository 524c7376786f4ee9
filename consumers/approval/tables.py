"""The archive's tables: a row for each approval; its form, records, tasks and files in rows of their own.

Times are UTC; beside each stands, as ``…_raw``, what DingTalk's API wrote: China's clock in minutes, with a
``Z`` that is false. A column is NULL where neither the event nor the API has a value.
"""

from decimal import Decimal
from typing import Any

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    Date,
    Float,
    Index,
    Integer,
    MetaData,
    Numeric,
    Table,
    Text,
    text,
)
from sqlalchemy.types import TypeDecorator

from dingbridge import UtcDateTime
from dingbridge.mirror import entities_table

metadata = MetaData()
"""An actions module may add tables of its own to it: they are created at start with these."""


class Amount(TypeDecorator[Decimal]):
    """A ``Decimal``: exact in PostgreSQL (``numeric``), a ``REAL`` in SQLite, which has nothing better. All
    digits stand in ``value``, as they came."""

    impl = Numeric(38, 10)
    cache_ok = True

    def load_dialect_impl(self, dialect: Any) -> Any:
        return dialect.type_descriptor(Float() if dialect.name == "sqlite" else Numeric(38, 10))

    def process_bind_param(self, value: Decimal | None, dialect: Any) -> Any:
        return float(value) if value is not None and dialect.name == "sqlite" else value

    def process_result_value(self, value: Any, dialect: Any) -> Decimal | None:
        return None if value is None else Decimal(str(value))


def _instance_key() -> list[Column[Any]]:
    return [Column("corp_id", Text, primary_key=True), Column("instance_id", Text, primary_key=True)]


approval_instances = Table(
    "approval_instances",
    metadata,
    *_instance_key(),
    Column("process_code", Text, comment="the template, from an event, the list of ids, or its name"),
    Column("app", Text, nullable=False, comment="the DingTalk app of the last event or answer; it is asked"),
    Column("business_id", Text, comment="the number that people see on the form"),
    Column("title", Text),
    Column("url", Text, comment="only events have it"),
    Column("originator_userid", Text),
    Column("originator_dept_id", Text),
    Column("originator_dept_name", Text),
    Column(
        "outcome",
        Text,
        comment="approved, refused, terminated, finished (how is not known); NULL: not at its end",
    ),
    Column("status", Text, comment="as the API has it: RUNNING, COMPLETED, TERMINATED, ..."),
    Column("result", Text, comment="agree or refuse"),
    Column("biz_category_id", Text),
    Column("business_type", Text),
    Column("biz_action", Text, comment="NONE, or MODIFY or REVOKE of main_instance_id"),
    Column("biz_data", Text, comment="JSON text of whoever started it through the API"),
    Column("main_instance_id", Text, comment="the instance that this one changes or takes back"),
    Column(
        "replaced_by", Text, comment="the approved instance whose form is in force instead; NULL: this one's"
    ),
    Column("revoked_by", Text, comment="the approved instance that takes it back; NULL: none does"),
    Column("approver_userids", Text, comment="JSON list"),
    Column("cc_userids", Text, comment="JSON list"),
    Column("attached_instance_ids", Text, comment="JSON list: what changed it or took it back, as it knew"),
    Column("started_at", UtcDateTime),
    Column("started_at_raw", Text),
    Column("finished_at", UtcDateTime),
    Column("finished_at_raw", Text),
    Column("true_utc", Boolean, comment="whether the Z of its times is true; NULL: no document"),
    Column("deleted_at", UtcDateTime, comment="when somebody deleted it in DingTalk; the archive keeps it"),
    Column(
        "document_state",
        Text,
        nullable=False,
        comment="full; pending: not fetched at its end yet",
    ),
    Column("raw_events", Text, nullable=False, comment="JSON: the latest event of each type, as it came"),
    Column("raw_document", Text, comment="JSON: the API's answer, whole"),
    Column("updated_at", UtcDateTime, nullable=False),
    Index("ix_approval_instances_process_code", "process_code"),
    Index("ix_approval_instances_business_id", "business_id"),
    Index("ix_approval_instances_originator", "corp_id", "originator_userid"),
    Index("ix_approval_instances_finished_at", "finished_at"),
    Index("ix_approval_instances_main", "corp_id", "main_instance_id"),
    Index(
        "ix_approval_instances_unfinished",
        "corp_id",
        postgresql_where=text("outcome IS NULL"),
        sqlite_where=text("outcome IS NULL"),
    ),
)


approval_form_values = Table(
    "approval_form_values",
    metadata,
    *_instance_key(),
    Column("position", Integer, primary_key=True, comment="place in the form, from 0"),
    Column("biz_alias", Text, comment="the field's name for programs, where its template gives it one"),
    Column("field_id", Text),
    Column("name", Text),
    Column("component_type", Text),
    Column("kind", Text, nullable=False, comment="text, number, money, date, ..., or unknown"),
    Column("value", Text, comment="as it came; complex controls put JSON text here"),
    Column("ext_value", Text),
    Column("value_json", Text, comment="lists and objects as JSON, in one shape for each kind"),
    Column("number", Amount, comment="of numbers and money; of leave, how long"),
    Column("starts_on", Date, comment="of dates and ranges: the first day, as the form has it"),
    Column("ends_on", Date, comment="of dates and ranges: the last day, as the form has it"),
    Column("starts_at", UtcDateTime, comment="the same with its time; NULL where the form has only days"),
    Column("ends_at", UtcDateTime, comment="the same with its time; NULL where the form has only days"),
    Index("ix_approval_form_values_name", "name"),
)

approval_operations = Table(
    "approval_operations",
    metadata,
    *_instance_key(),
    Column("position", Integer, primary_key=True, comment="in the order of the records, from 0"),
    Column("userid", Text),
    Column("operation_type", Text, comment="START_PROCESS_INSTANCE, EXECUTE_TASK_NORMAL, ..., as it came"),
    Column("operation_result", Text, comment="AGREE, REFUSE, NONE, ..., as it came"),
    Column("remark", Text),
    Column("activity_id", Text),
    Column("show_name", Text, comment="the name of the step"),
    Column("attachments", Text, comment="JSON list"),
    Column("images", Text, comment="JSON list of addresses"),
    Column("cc_userids", Text, comment="JSON list"),
    Column("operated_at", UtcDateTime, comment="to the minute; within one, position is the order"),
    Column("operated_at_raw", Text),
)

approval_tasks = Table(
    "approval_tasks",
    metadata,
    *_instance_key(),
    Column("task_id", Text, primary_key=True, comment="beyond 32 bits"),
    Column("position", Integer, comment="place among the API's tasks, from 0; NULL: known from events alone"),
    Column("userid", Text),
    Column("status", Text, comment="RUNNING, COMPLETED, CANCELED, ..."),
    Column("result", Text, comment="AGREE, REFUSE, REDIRECTED, ...; NONE or NULL: not decided"),
    Column("remark", Text, comment="only events have it; the records have it too"),
    Column("activity_id", Text),
    Column("group_name", Text),
    Column("mobile_url", Text),
    Column("pc_url", Text),
    Column("started_at", UtcDateTime),
    Column("started_at_raw", Text),
    Column("finished_at", UtcDateTime),
    Column("finished_at_raw", Text),
    Column("raw_events", Text, comment="JSON: the latest event of each type, as it came"),
    Index("ix_approval_tasks_task_id", "task_id"),
    Index("ix_approval_tasks_userid", "corp_id", "userid"),
)

approval_comments = Table(
    "approval_comments",
    metadata,
    *_instance_key(),
    Column("comment_id", Text, primary_key=True, comment="a hash of the rest"),
    Column("userid", Text),
    Column("commented_at", UtcDateTime),
    Column("content", Text, comment="as the event has it; the API's records have comments, too"),
)

approval_actions = Table(
    "approval_actions",
    metadata,
    *_instance_key(),
    Column("process_code", Text, nullable=False),
    Column("action", Text, nullable=False, comment="module and name of the function"),
    Column(
        "state",
        Text,
        nullable=False,
        comment="done, rejected, failed, skipped, revoked (undone, or never done), or not_undone",
    ),
    Column("reason", Text, comment="why it is not done or not undone"),
    Column("done_at", UtcDateTime, comment="when the action ran last; NULL: never"),
    Column("undone_at", UtcDateTime, comment="when its undo ran; NULL: never"),
    Column("updated_at", UtcDateTime, nullable=False),
    Index("ix_approval_actions_state", "state"),
)

approval_attachments = Table(
    "approval_attachments",
    metadata,
    *_instance_key(),
    Column(
        "attachment_id", Text, primary_key=True, comment="file:<fileId>, or photo:<SHA-256 of its address>"
    ),
    Column("app", Text, nullable=False, comment="the DingTalk app that is asked for it; empty for a photo"),
    Column("kind", Text, nullable=False, comment="file, photo, or record: of a comment or an operation"),
    Column("field_name", Text, comment="the form's field, or table and column"),
    Column("file_name", Text, comment="as its owner called it; no file of ours is called so"),
    Column("file_type", Text),
    Column("file_size", BigInteger, comment="bytes, by the form"),
    Column("url", Text, comment="of a photo; a file's address is asked for when it is downloaded"),
    Column("state", Text, nullable=False, comment="waiting, done, or refused: with the reason"),
    Column("reason", Text),
    Column("sha256", Text, comment="hex; the file is <ARCHIVE_DIR>/<its first two>/<sha256>"),
    Column("size", BigInteger, comment="bytes, as downloaded"),
    Column("downloaded_at", UtcDateTime),
    Index("ix_approval_attachments_sha256", "sha256"),
    Index("ix_approval_attachments_state", "state"),
)

approval_forgotten = Table(
    "approval_forgotten",
    metadata,
    Column("corp_id", Text, primary_key=True),
    Column("userid", Text, primary_key=True),
    Column(
        "forgotten_at", UtcDateTime, nullable=False, comment="what was started before is masked or left out"
    ),
)
"""Who is archived no more, by ``dingbridge forget``: no replay and no resync brings them back."""

entities = entities_table(
    metadata,
    "approval_entities",
    Column("process_code", Text, comment="the template, where a list of ids or another approval names it"),
    Column("from_ms", BigInteger, comment="list what was started since then, epoch ms; NULL: nothing"),
    Column("until_ms", BigInteger, comment="list what was started until then, epoch ms"),
)
"""What is read next: kinds ``instance``, ``file``, and, for a resync, ``template`` and ``company``. Nobody
joins against it."""

INSTANCE, FILE, TEMPLATE = "instance", "file", "template"
"""The kinds of entities."""


def file_entity(instance_id: Any, attachment_id: Any) -> Any:
    """The id of the entity of a row of ``approval_attachments``, of texts or of columns."""
    return instance_id + "/" + attachment_id
