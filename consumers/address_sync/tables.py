"""The tables that an OA system joins against: DingTalk's view of departments and employees, nothing else.

Join on ``users.userid`` (DingTalk's id within the enterprise), ``unionid`` (the same person across apps) or
``job_number`` (the enterprise's own). Every row carries ``corp_id``, so that several enterprises may share a
database. Times are UTC, dates are those of China. A column is NULL where DingTalk returns nothing: empty, or
not permitted to the app.

``updated_at`` moves when something of the entity really changed, for an employee also when a membership or
role did, so an OA job may poll it. While ``details_pending``, a NULL in ``manager_userid`` or ``senior``
means unknown, not none. Current employees are those with ``left_at IS NULL``, current departments and roles
those with ``deleted_at IS NULL``. With ``out_of_scope_at`` an employee or a department is outside of the
chosen departments, and its row is as last known. ``address_sync_entities`` is the engine's
(``dingbridge/mirror``).
"""

from collections.abc import Iterable

from sqlalchemy import BigInteger, Boolean, Column, Date, Index, MetaData, Table, Text

from dingbridge import UtcDateTime
from dingbridge.migrations.lacking_columns import FROM_SETTINGS
from dingbridge.mirror import entities_table

metadata = MetaData()

departments = Table(
    "departments",
    metadata,
    Column("corp_id", Text, primary_key=True),
    Column("dept_id", BigInteger, primary_key=True, autoincrement=False),
    Column("parent_id", BigInteger, comment="NULL for the root department, whose dept_id is 1"),
    Column("name", Text),
    Column("sort_order", BigInteger),
    Column("manager_userids", Text, comment="JSON list of userid"),
    Column("code", Text),
    Column("source_identifier", Text, comment="what an OA system wrote there when it created the department"),
    Column("hidden", Boolean),
    Column("deleted_at", UtcDateTime, comment="when DingTalk deleted it, else NULL; the row stays"),
    Column("out_of_scope_at", UtcDateTime, comment="since when it is outside of the chosen departments"),
    Column("updated_at", UtcDateTime, nullable=False),
    # corp_id comes last: before its first ANALYZE of a table, PostgreSQL prefers an index that begins with
    # corp_id, and so reads a whole company, to the primary key of a few people
    Index("ix_departments_parent_id", "parent_id", "corp_id"),
    Index("ix_departments_updated_at", "updated_at"),
)

users = Table(
    "users",
    metadata,
    Column("corp_id", Text, primary_key=True),
    Column("userid", Text, primary_key=True),
    Column("unionid", Text),
    Column("job_number", Text),
    Column("name", Text),
    Column("title", Text),
    Column("email", Text),
    Column("org_email", Text),
    Column("mobile", Text),
    Column("telephone", Text),
    Column("work_place", Text),
    Column("remark", Text),
    Column("manager_userid", Text),
    Column("hired_at", Date, comment="the date in China"),
    Column("active", Boolean, comment="has activated the account; false for leavers"),
    Column("admin", Boolean, comment="administrator; false for leavers, like boss and senior"),
    Column("boss", Boolean),
    Column("senior", Boolean),
    Column("exclusive_account", Boolean),
    Column("extension", Text, comment="the enterprise's own fields, JSON as DingTalk sends it"),
    Column("left_at", UtcDateTime, comment="when the employee left, else NULL; the row stays"),
    Column("left_reported", Boolean, comment="left_at is from an event, not when it was noticed"),
    Column(
        "details_pending",
        Boolean,
        nullable=False,
        comment="written from a listing: manager_userid, senior and roles are not known yet",
    ),
    Column("rehired_at", UtcDateTime, comment="when somebody who had left was here again, else NULL"),
    Column("reassigned_at", UtcDateTime, comment="when the userid was another person's before: since then"),
    Column("previous_unionid", Text, comment="that other person's unionid"),
    Column("out_of_scope_at", UtcDateTime, comment="since when outside of the chosen departments"),
    Column("updated_at", UtcDateTime, nullable=False),
    Index("ix_users_userid", "userid"),
    Index("ix_users_unionid", "unionid"),
    Index("ix_users_job_number", "job_number"),
    Index("ix_users_manager_userid", "manager_userid", "corp_id"),
    Index("ix_users_updated_at", "updated_at"),
)

memberships = Table(
    "memberships",
    metadata,
    Column("corp_id", Text, primary_key=True),
    Column("userid", Text, primary_key=True),
    Column("dept_id", BigInteger, primary_key=True, autoincrement=False),
    Column("leader", Boolean, comment="leads this department"),
    Column("sort_order", BigInteger, comment="the employee's place in the department's list"),
    Index("ix_memberships_dept_id", "dept_id", "corp_id"),
)

user_roles = Table(
    "user_roles",
    metadata,
    Column("corp_id", Text, primary_key=True),
    Column("userid", Text, primary_key=True),
    Column("role_id", BigInteger, primary_key=True, autoincrement=False),
    Index("ix_user_roles_role_id", "role_id", "corp_id"),
)

roles = Table(
    "roles",
    metadata,
    Column("corp_id", Text, primary_key=True),
    Column("role_id", BigInteger, primary_key=True, autoincrement=False),
    Column("name", Text),
    Column("group_name", Text),
    Column("deleted_at", UtcDateTime, comment="when it was found deleted, else NULL; the row stays"),
    Column("unlisted_at", UtcDateTime, comment="the last list of roles, read then, lacked it; NULL: had it"),
    Column("updated_at", UtcDateTime, nullable=False),
    Index("ix_roles_updated_at", "updated_at"),
)

outside = Table(
    "address_sync_outside",
    metadata,
    Column("corp_id", Text, primary_key=True),
    Column("dept_id", BigInteger, primary_key=True, autoincrement=False),
    Column("parent_id", BigInteger),
)
"""The parents of departments that are outside of the chosen ones; nobody joins against it."""

entities = entities_table(metadata, "address_sync_entities")
"""Kinds ``user``, ``department``, and ``roles`` with one entity ``*``; nobody joins against it."""


def add_columns(names: Iterable[str]) -> None:
    """Add text columns to ``users``; the next start makes those that a database lacks."""
    for name in names:
        if name not in users.c:
            users.append_column(Column(name, Text, info={FROM_SETTINGS: True}))
