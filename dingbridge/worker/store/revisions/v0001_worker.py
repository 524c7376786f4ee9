"""The worker's tables: inbox, outbox, and the offsets of every consumer in this database."""

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
        sa.Column("at", sa.Integer, nullable=False, comment="when it was applied, in s since 2020-01-01 UTC"),
        sa.Column("attempt", sa.SmallInteger, comment="which one applied it; null: it was given up"),
        sqlite_with_rowid=False,
    )
    op.create_index("dingbridge_inbox_at", "dingbridge_inbox", ["at"])
    op.create_table(
        "dingbridge_consumers",
        sa.Column("consumer", sa.String(100), primary_key=True),
        sa.Column(
            "id", sa.String(32), nullable=False, comment="of this database, as Kafka's offsets name it"
        ),
        sa.Column("since", UtcDateTime, nullable=False, comment="when the consumer was first started here"),
        sa.Column(
            "keep_s",
            sa.BigInteger,
            comment="how long it needs inbox rows, in s; null: for ever, or not known",
        ),
    )
    op.create_table(
        "dingbridge_offsets",
        sa.Column("consumer", sa.String(100), primary_key=True),
        sa.Column("topic", sa.String(249), primary_key=True),
        sa.Column("partition", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column(
            "offset", sa.BigInteger, nullable=False, comment="below which all effects are in this database"
        ),
        sa.Column("version", sa.BigInteger, nullable=False, comment="how often the row was written"),
        sa.Column("at_ms", sa.BigInteger, nullable=False, comment="when it was written, epoch ms"),
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
