"""The tables of version 0.1, column for column: once that is released, never change this file."""

import sqlalchemy as sa
from alembic import op

from dingbridge import UtcDateTime
from dingbridge.work_queue import queue_columns

revision = "0001"
down_revision = None


def upgrade() -> None:
    op.create_table(
        "departments",
        sa.Column("corp_id", sa.Text, primary_key=True),
        sa.Column("dept_id", sa.BigInteger, primary_key=True, autoincrement=False),
        sa.Column("parent_id", sa.BigInteger, comment="NULL for the root department, whose dept_id is 1"),
        sa.Column("name", sa.Text),
        sa.Column("sort_order", sa.BigInteger),
        sa.Column("manager_userids", sa.Text, comment="JSON list of userid"),
        sa.Column("code", sa.Text),
        sa.Column(
            "source_identifier",
            sa.Text,
            comment="what an OA system wrote there when it created the department",
        ),
        sa.Column("hidden", sa.Boolean),
        sa.Column("deleted_at", UtcDateTime, comment="when DingTalk deleted it, else NULL; the row stays"),
        sa.Column("updated_at", UtcDateTime, nullable=False),
    )
    op.create_index("ix_departments_parent_id", "departments", ["parent_id", "corp_id"])
    op.create_index("ix_departments_updated_at", "departments", ["updated_at"])
    op.create_table(
        "users",
        sa.Column("corp_id", sa.Text, primary_key=True),
        sa.Column("userid", sa.Text, primary_key=True),
        sa.Column("unionid", sa.Text),
        sa.Column("job_number", sa.Text),
        sa.Column("name", sa.Text),
        sa.Column("title", sa.Text),
        sa.Column("email", sa.Text),
        sa.Column("org_email", sa.Text),
        sa.Column("mobile", sa.Text),
        sa.Column("telephone", sa.Text),
        sa.Column("work_place", sa.Text),
        sa.Column("remark", sa.Text),
        sa.Column("manager_userid", sa.Text),
        sa.Column("hired_at", sa.Date, comment="the date in China"),
        sa.Column("active", sa.Boolean, comment="has activated the account; false for leavers"),
        sa.Column("admin", sa.Boolean, comment="administrator; false for leavers, like boss and senior"),
        sa.Column("boss", sa.Boolean),
        sa.Column("senior", sa.Boolean),
        sa.Column("exclusive_account", sa.Boolean),
        sa.Column("extension", sa.Text, comment="the enterprise's own fields, JSON as DingTalk sends it"),
        sa.Column("left_at", UtcDateTime, comment="when the employee left, else NULL; the row stays"),
        sa.Column("left_reported", sa.Boolean, comment="left_at is from an event, not when it was noticed"),
        sa.Column(
            "details_pending",
            sa.Boolean,
            nullable=False,
            comment="what no listing has (manager_userid, senior) is not known yet, or may be outdated",
        ),
        sa.Column("updated_at", UtcDateTime, nullable=False),
    )
    op.create_index("ix_users_userid", "users", ["userid"])
    op.create_index("ix_users_unionid", "users", ["unionid"])
    op.create_index("ix_users_job_number", "users", ["job_number"])
    op.create_index("ix_users_manager_userid", "users", ["manager_userid", "corp_id"])
    op.create_index("ix_users_updated_at", "users", ["updated_at"])
    op.create_table(
        "memberships",
        sa.Column("corp_id", sa.Text, primary_key=True),
        sa.Column("userid", sa.Text, primary_key=True),
        sa.Column("dept_id", sa.BigInteger, primary_key=True, autoincrement=False),
        sa.Column("leader", sa.Boolean, comment="leads this department"),
        sa.Column("sort_order", sa.BigInteger, comment="the employee's place in the department's list"),
    )
    op.create_index("ix_memberships_dept_id", "memberships", ["dept_id", "corp_id"])
    op.create_table(
        "user_roles",
        sa.Column("corp_id", sa.Text, primary_key=True),
        sa.Column("userid", sa.Text, primary_key=True),
        sa.Column("role_id", sa.BigInteger, primary_key=True, autoincrement=False),
    )
    op.create_index("ix_user_roles_role_id", "user_roles", ["role_id", "corp_id"])
    op.create_table(
        "roles",
        sa.Column("corp_id", sa.Text, primary_key=True),
        sa.Column("role_id", sa.BigInteger, primary_key=True, autoincrement=False),
        sa.Column("name", sa.Text),
        sa.Column("group_name", sa.Text),
        sa.Column("deleted_at", UtcDateTime, comment="when it was found deleted, else NULL; the row stays"),
        sa.Column("updated_at", UtcDateTime, nullable=False),
    )
    op.create_index("ix_roles_updated_at", "roles", ["updated_at"])
    op.create_table(
        "address_sync_generations",
        sa.Column("corp_id", sa.Text, primary_key=True),
        sa.Column("kind", sa.Text, primary_key=True),
        sa.Column("entity_id", sa.Text, primary_key=True),
        sa.Column("generation", sa.BigInteger, nullable=False),
        sa.Column(
            "fetched_at", UtcDateTime, comment="when the last fetch for an event began that was written"
        ),
    )
    op.create_table(
        "address_sync_runs",
        sa.Column("run_id", sa.Text, primary_key=True),
        sa.Column("corp_id", sa.Text, nullable=False),
        sa.Column("cause", sa.Text, nullable=False, comment="order (from the inbox), command or dry_run"),
        sa.Column(
            "state",
            sa.Text,
            nullable=False,
            comment="reading, applying, refetching, details; done, stopped, dry_run, superseded",
        ),
        sa.Column("began_at", UtcDateTime, nullable=False),
        sa.Column("ended_at", UtcDateTime),
        sa.Column("scope", sa.Text, comment="what the app could see, JSON"),
        sa.Column("employees", sa.BigInteger, comment="how many people DingTalk counts"),
        sa.Column("found", sa.BigInteger, comment="how many people were read"),
        sa.Column("leavers", sa.BigInteger, comment="people in the tables who were not read"),
        sa.Column("incomplete", sa.Text, comment="why nobody was marked as left"),
        sa.Column("unread", sa.Text, comment="what could not be read, JSON: counts, and ids with codes"),
        sa.Column("calls", sa.BigInteger, nullable=False, comment="API calls so far"),
        sa.Column("changed", sa.Text, comment="what it changed, JSON: counts by kind"),
        sa.Column("words", sa.Text, comment="why it stopped, for the operator"),
    )
    op.create_index("ix_address_sync_runs_began_at", "address_sync_runs", ["corp_id", "began_at"])
    op.create_table(
        "address_sync_todo",
        sa.Column("run_id", sa.Text, primary_key=True),
        sa.Column("step", sa.Text, primary_key=True),
        sa.Column("entity_id", sa.Text, primary_key=True),
        sa.Column("due_ms", sa.BigInteger, nullable=False, comment="when to try it again, epoch ms"),
        sa.Column("failures", sa.Integer, nullable=False, comment="of its own, which others do not share"),
        sa.Column("failed_ms", sa.BigInteger, comment="its last failure"),
        sa.Column("failing_since_ms", sa.BigInteger, comment="the first failure of its own"),
    )
    op.create_index(
        "ix_address_sync_todo_due", "address_sync_todo", ["run_id", "step", "due_ms", "entity_id"]
    )
    op.create_table(
        "address_sync_staged",
        sa.Column("run_id", sa.Text, primary_key=True),
        sa.Column(
            "kind",
            sa.Text,
            primary_key=True,
            comment="user, department, roles, role, holder, or unread_…",
        ),
        sa.Column("entity_id", sa.Text, primary_key=True),
        sa.Column(
            "listed_in",
            sa.BigInteger,
            primary_key=True,
            autoincrement=False,
            comment="the department of a user, the role of a holder; 0: asked for by name",
        ),
        sa.Column("generation", sa.BigInteger, nullable=False, comment="the entity's before it was read"),
        sa.Column("document", sa.Text, nullable=False, comment="as DingTalk answered, JSON"),
    )
    op.create_table(
        "address_sync_details",
        sa.Column("corp_id", sa.Text, primary_key=True),
        sa.Column("userid", sa.Text, primary_key=True),
        *queue_columns(),
    )
    op.create_index("ix_address_sync_details_due", "address_sync_details", ["priority", "due_ms"])
    op.create_table(
        "address_sync_look_again",
        sa.Column("corp_id", sa.Text, primary_key=True),
        sa.Column("kind", sa.Text, primary_key=True),
        sa.Column("entity_id", sa.Text, primary_key=True),
        sa.Column("app", sa.Text, nullable=False, comment="the app that DingTalk is asked as"),
        sa.Column("said", sa.Text, comment="what its event said: present, absent or changed; NULL: no event"),
        sa.Column("said_ms", sa.BigInteger, comment="when that happened by the event, epoch ms"),
        sa.Column("looks", sa.Integer, nullable=False, comment="looks since, the event's own too"),
        *queue_columns(),
    )
    op.create_index("ix_address_sync_look_again_due", "address_sync_look_again", ["priority", "due_ms"])
