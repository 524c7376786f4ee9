"""Offsets are kept twice, and inbox rows have one age: their topic's number goes."""

import uuid

import sqlalchemy as sa
from alembic import op

from dingbridge.worker.store.utc import UtcDateTime

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    op.drop_index("dingbridge_inbox_topic_at", "dingbridge_inbox")
    op.drop_column("dingbridge_inbox", "topic")
    op.create_index("dingbridge_inbox_at", "dingbridge_inbox", ["at"])
    consumers = op.create_table(
        "dingbridge_consumers",
        sa.Column("consumer", sa.String(100), primary_key=True),
        sa.Column("id", sa.String(32), nullable=False, comment="of this database, in Kafka's offsets"),
        sa.Column("since", UtcDateTime, nullable=False, comment="when the consumer was first started here"),
        sa.Column(
            "keep_s", sa.BigInteger, comment="how long it needs inbox rows, in s; null: for ever, or unknown"
        ),
    )
    topics = sa.table("dingbridge_inbox_topics", sa.column("consumer"), sa.column("since", UtcDateTime))
    known = sa.select(topics.c.consumer, sa.func.min(topics.c.since).label("since")).group_by(
        topics.c.consumer
    )
    rows = [{"id": uuid.uuid4().hex, **row} for row in op.get_bind().execute(known).mappings()]
    if rows:
        op.bulk_insert(consumers, rows)
    op.drop_table("dingbridge_inbox_topics")
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
