"""The offsets of every consumer; an inbox row no longer says of which topic its event is."""

import uuid

import sqlalchemy as sa
from alembic import op

from dingbridge.worker.store.utc import UtcDateTime

revision = "0002"
down_revision = "0001"

OF_NO_TOPIC = "0"
"""The topic of all inbox rows after ``downgrade``: 0.1.0 prunes by topic, and so keeps these."""


def upgrade() -> None:
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
    # a consumer that has not started since must keep its inbox rows, so it is entered here
    database = op.get_bind()
    known = database.execute(
        sa.text("SELECT consumer, min(since) AS since FROM dingbridge_inbox_topics GROUP BY consumer")
    )
    enter = sa.text("INSERT INTO dingbridge_consumers (consumer, id, since) VALUES (:consumer, :id, :since)")
    for row in known.all():
        database.execute(enter, {"consumer": row.consumer, "id": uuid.uuid4().hex, "since": row.since})
    op.drop_table("dingbridge_inbox_topics")
    op.drop_index("dingbridge_inbox_topic_at", "dingbridge_inbox")
    op.drop_column("dingbridge_inbox", "topic")
    op.create_index("dingbridge_inbox_at", "dingbridge_inbox", ["at"])


def downgrade() -> None:
    op.drop_index("dingbridge_inbox_at", "dingbridge_inbox")
    op.add_column(
        "dingbridge_inbox", sa.Column("topic", sa.Integer, nullable=False, server_default=OF_NO_TOPIC)
    )
    op.create_index("dingbridge_inbox_topic_at", "dingbridge_inbox", ["topic", "at"])
    op.create_table(
        "dingbridge_inbox_topics",
        sa.Column("consumer", sa.String(100), primary_key=True),
        sa.Column("topic", sa.String(249), primary_key=True),
        sa.Column("number", sa.Integer, nullable=False),
        sa.Column("since", UtcDateTime, nullable=False),
    )
    op.drop_table("dingbridge_offsets")
    op.drop_table("dingbridge_consumers")
