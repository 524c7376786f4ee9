"""The inbox and the outbox of every consumer in this database."""

import sqlalchemy as sa
from alembic import op

from dingbridge.worker.store.inbox import Hash
from dingbridge.worker.store.utc import UtcDateTime

revision = "0001"
down_revision = None


def upgrade() -> None:
    op.create_table(
        "dingbridge_inbox",
        sa.Column("hash", Hash, primary_key=True, comment="of consumer, source, id and replay id"),
        sa.Column("topic", sa.Integer, nullable=False, comment="number in dingbridge_inbox_topics"),
        sa.Column("at", sa.Integer, nullable=False, comment="when it was applied, in s since 2020-01-01 UTC"),
        sa.Column("attempt", sa.SmallInteger, comment="which one applied it; null: it was given up"),
        sqlite_with_rowid=False,
    )
    op.create_index("dingbridge_inbox_topic_at", "dingbridge_inbox", ["topic", "at"])
    op.create_table(
        "dingbridge_inbox_topics",
        sa.Column("consumer", sa.String(100), primary_key=True),
        sa.Column("topic", sa.String(249), primary_key=True),
        sa.Column(
            "number", sa.Integer, nullable=False, comment="of the rows in dingbridge_inbox that came from it"
        ),
        sa.Column(
            "since", UtcDateTime, nullable=False, comment="when the consumer was first started with it"
        ),
    )
    op.create_table(
        "dingbridge_outbox",
        sa.Column("consumer", sa.String(100), primary_key=True),
        sa.Column("topic", sa.String(249), primary_key=True, comment="place of the record that was given up"),
        sa.Column("partition", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column("offset", sa.BigInteger, primary_key=True, autoincrement=False),
        sa.Column("error", sa.String, nullable=False, comment="type and place of the error, no text"),
        sa.Column("attempts", sa.Integer, nullable=False),
        sa.Column("reason", sa.String, nullable=False, comment="the handler's own words, of Reject or Retry"),
        sa.Column("frames", sa.String, nullable=False, comment="of any other error: file, line, function"),
        sa.Column("at", UtcDateTime, nullable=False),
    )
