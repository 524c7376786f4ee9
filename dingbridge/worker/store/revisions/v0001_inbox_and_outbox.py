"""The inbox and the outbox of every consumer in this database."""

import sqlalchemy as sa
from alembic import op

from dingbridge.worker.store.utc import UtcDateTime

revision = "0001"
down_revision = None


def upgrade() -> None:
    op.create_table(
        "dingbridge_inbox",
        sa.Column("consumer", sa.String(100), primary_key=True),
        sa.Column("source", sa.String, primary_key=True, comment="a hash where it is long, as the next two"),
        sa.Column("id", sa.String, primary_key=True),
        sa.Column("replay_id", sa.String, primary_key=True, comment="empty for ordinary records"),
        sa.Column("at", UtcDateTime, nullable=False, comment="when the event was applied"),
    )
    op.create_index("dingbridge_inbox_at", "dingbridge_inbox", ["consumer", "at"])
    op.create_table(
        "dingbridge_outbox",
        sa.Column("consumer", sa.String(100), primary_key=True),
        sa.Column("topic", sa.String(249), primary_key=True, comment="place of the record that was given up"),
        sa.Column("partition", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column("offset", sa.BigInteger, primary_key=True, autoincrement=False),
        sa.Column("error", sa.String, nullable=False, comment="type and place of the error, no text"),
        sa.Column("attempts", sa.Integer, nullable=False),
        sa.Column("reason", sa.String, nullable=False, comment="what the handler said by Reject or Retry"),
        sa.Column("frames", sa.String, nullable=False, comment="of any other error: file, line, function"),
        sa.Column("at", UtcDateTime, nullable=False),
    )
