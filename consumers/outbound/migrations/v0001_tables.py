"""The tables of the first version, column for column: once that is released, never change this file."""

import sqlalchemy as sa
from alembic import op

from dingbridge.work_queue import queue_columns

revision = "0001"
down_revision = None


def upgrade() -> None:
    op.create_table(
        "outbound_entity",
        sa.Column("corp_id", sa.Text, primary_key=True),
        sa.Column("kind", sa.Text, primary_key=True, comment="user or department"),
        sa.Column("own_id", sa.Text, primary_key=True, comment="the OA's id"),
        sa.Column(
            "app", sa.Text, comment="name of the DingTalk app that is called; NULL: the consumer's own"
        ),
        sa.Column("owned_id", sa.Text, comment="userid or dept_id that we created, or that a hand released"),
        sa.Column(
            "ding_id", sa.Text, comment="by which events find it: owned, a candidate, or the userid to be"
        ),
        sa.Column("version", sa.BigInteger, nullable=False, comment="of the last message"),
        sa.Column("absent", sa.Boolean, nullable=False, comment="the last message wants it gone"),
        sa.Column(
            "desired",
            sa.Text,
            nullable=False,
            comment="the last message's data, JSON; references are own ids",
        ),
        sa.Column("since_ms", sa.BigInteger, nullable=False, comment="when this desired state came"),
        sa.Column("answers", sa.Text, nullable=False, comment="source and id of the last message, JSON"),
        sa.Column("by_userid", sa.Text, comment="who acted, by the last event that named somebody"),
        sa.Column("flagged", sa.Boolean, nullable=False, comment="an event asks for a read"),
        sa.Column(
            "ledger", sa.Text, comment="what was seen, written and intended, JSON; NULL: never looked at"
        ),
        sa.Column("present", sa.Boolean, nullable=False, comment="DingTalk has what it owns, as last seen"),
        sa.Column(
            "removal_approved", sa.Boolean, nullable=False, comment="by hand, beyond OUTBOUND_MAX_REMOVALS"
        ),
        sa.Column("result", sa.Text, comment="last result of this version; NULL: none yet"),
        sa.Column("reason", sa.Text, comment="of a pending result"),
        sa.Column("code", sa.Text, comment="of a refused result: DingTalk's"),
        sa.Column("words", sa.Text, comment="of a refused result: the remedy"),
        sa.Column("fields", sa.Text, comment="of the last result: names of what was written, JSON"),
        sa.Column("result_ms", sa.BigInteger, comment="since when it is the result"),
        sa.Column("waits_for", sa.Text, comment="<kind>:<own id> that must be there first; member: be in it"),
        *queue_columns(),
        sa.UniqueConstraint("corp_id", "kind", "owned_id", name="uq_outbound_entity_owned_id"),
    )
    op.create_index("ix_outbound_entity_own_id", "outbound_entity", ["own_id"])
    op.create_index("ix_outbound_entity_ding_id", "outbound_entity", ["corp_id", "kind", "ding_id"])
    op.create_index("ix_outbound_entity_result", "outbound_entity", ["result", "reason", "result_ms"])
    op.create_index("ix_outbound_entity_due", "outbound_entity", ["priority", "due_ms"])
    op.create_index("ix_outbound_entity_waits_for", "outbound_entity", ["corp_id", "waits_for"])
    op.create_table(
        "outbound_state",
        sa.Column(
            "name", sa.Text, primary_key=True, comment="sender, removals:<corpId> or approvals:<corpId>"
        ),
        sa.Column("value", sa.Text, comment="of these: when those of the last 24 h were begun, JSON"),
    )
    op.create_table(
        "outbound_outgoing",
        sa.Column("seq", sa.BigInteger().with_variant(sa.Integer, "sqlite"), primary_key=True),
        sa.Column("topic", sa.Text, nullable=False, comment="without CONTROL_PREFIX"),
        sa.Column("key", sa.Text, nullable=False),
        sa.Column("value", sa.Text, nullable=False, comment="the CloudEvents JSON"),
    )
    op.create_table(
        "outbound_requests",
        sa.Column("corp_id", sa.Text, primary_key=True),
        sa.Column("kind", sa.Text, primary_key=True, comment="approval or todo"),
        sa.Column("request_id", sa.Text, primary_key=True, comment="the sender's"),
        sa.Column(
            "type", sa.Text, nullable=False, comment="approval.start, approval.terminate, ..., todo.done"
        ),
        sa.Column("app", sa.Text, comment="name of the DingTalk app that is called; NULL: CONSUMER_APP"),
        sa.Column("body", sa.Text, nullable=False, comment="data of the message, JSON"),
        sa.Column("source", sa.Text, nullable=False, comment="of the last message, which the result answers"),
        sa.Column("message_id", sa.Text, nullable=False, comment="the last message's"),
        sa.Column(
            "opened_ms", sa.BigInteger, comment="since when it may have been done: a call's outcome is open"
        ),
        sa.Column("task_id", sa.BigInteger, comment="of a decision that was begun: the task"),
        sa.Column("missing_ms", sa.BigInteger, comment="since when DingTalk does not show what was called"),
        sa.Column("ding_id", sa.Text, comment="process instance or to-do task, once it is known"),
        sa.Column("result", sa.Text, comment="the last one; NULL: none yet"),
        sa.Column("reason", sa.Text, comment="of a pending result or a conflict"),
        sa.Column("code", sa.Text, comment="DingTalk's, of a refusal"),
        sa.Column("words", sa.Text, comment="what to do about it"),
        sa.Column("result_ms", sa.BigInteger, comment="since when it is the result"),
        sa.Column("look", sa.Text, comment="event (it has ended) or asked: the approval is to be fetched"),
        sa.Column("outcome", sa.Text, comment="agree, refuse or terminated, once that is in the changes"),
        *queue_columns(),
    )
    op.create_index("ix_outbound_requests_request_id", "outbound_requests", ["request_id"])
    ding_id = ["corp_id", "ding_id", "opened_ms"]
    op.create_index("ix_outbound_requests_ding_id", "outbound_requests", ding_id)
    op.create_index("ix_outbound_requests_result", "outbound_requests", ["result", "result_ms"])
    op.create_index("ix_outbound_requests_due", "outbound_requests", ["priority", "due_ms"])
