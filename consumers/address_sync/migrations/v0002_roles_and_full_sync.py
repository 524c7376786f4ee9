"""Roles get a table of their own, and a full sync one for each thing that it remembers."""

import sqlalchemy as sa
from alembic import op

from dingbridge import UtcDateTime

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
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
    op.execute(
        "INSERT INTO roles (corp_id, role_id, name, group_name, updated_at) "
        "SELECT r.corp_id, r.role_id, MAX(r.name), MAX(r.group_name), MAX(u.updated_at) FROM user_roles r "
        "JOIN users u ON u.corp_id = r.corp_id AND u.userid = r.userid GROUP BY r.corp_id, r.role_id"
    )
    op.drop_column("user_roles", "name")
    op.drop_column("user_roles", "group_name")
    op.create_table(
        "address_sync_runs",
        sa.Column("run_id", sa.Text, primary_key=True),
        sa.Column("corp_id", sa.Text, nullable=False),
        sa.Column("cause", sa.Text, nullable=False, comment="first, event, reconcile, command or dry_run"),
        sa.Column("part", sa.Text, nullable=False, comment="all or departments"),
        sa.Column(
            "details", sa.Boolean, nullable=False, comment="everybody is looked at, not only who differs"
        ),
        sa.Column(
            "state",
            sa.Text,
            nullable=False,
            comment="waiting, reading, applying, looking; done, stopped, dry_run, superseded",
        ),
        sa.Column(
            "open_for", sa.Text, unique=True, comment="the corp_id while it is under way: one at a time"
        ),
        sa.Column("holder", sa.Text, comment="the process that works on it"),
        sa.Column("held_until", UtcDateTime),
        sa.Column("began_at", UtcDateTime, nullable=False),
        sa.Column("ended_at", UtcDateTime),
        sa.Column("scope", sa.Text, comment="what the app could see, JSON"),
        sa.Column("employees", sa.BigInteger, comment="how many people DingTalk said there are"),
        sa.Column("found", sa.BigInteger, comment="how many people were read"),
        sa.Column("leavers", sa.BigInteger, comment="people in the tables who were not read"),
        sa.Column("incomplete", sa.Text, comment="why not all was read, so that nobody was marked as left"),
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
    )
    op.create_table(
        "address_sync_staged",
        sa.Column("run_id", sa.Text, primary_key=True),
        sa.Column("kind", sa.Text, primary_key=True, comment="user, department, roles or role_users"),
        sa.Column("entity_id", sa.Text, primary_key=True),
        sa.Column(
            "dept_id",
            sa.BigInteger,
            primary_key=True,
            autoincrement=False,
            comment="where a user was listed",
        ),
        sa.Column("generation", sa.BigInteger, nullable=False, comment="the entity's before it was read"),
        sa.Column("document", sa.Text, nullable=False, comment="as DingTalk answered, JSON"),
    )
