"""Columns for a removal without grace days, and for a message that a row of a far too high version keeps."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    op.add_column(
        "outbound_entity",
        sa.Column("immediate", sa.Boolean, comment="the last message wants it gone without the grace days"),
    )
    op.add_column(
        "outbound_entity",
        sa.Column(
            "newest", sa.Text, comment="a message of a lower version where version is far in the future, JSON"
        ),
    )
    if op.get_bind().dialect.name == "postgresql":  # SQLite keeps no comments
        for table, column, comment in (
            ("outbound_entity", "removal_approved", "by hand: go beyond the day's limit"),
            ("outbound_state", "name", "sender, or <what is limited>:<app>"),
            ("outbound_state", "value", "of a limit: {epoch minute: count} of the last 24 h, JSON"),
        ):
            op.alter_column(table, column, comment=comment)
