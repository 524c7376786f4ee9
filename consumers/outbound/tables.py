"""The ledger: the desired state of each person and department, and what was last seen and written.

A row of ``outbound_entity`` serves both directions. The consumer's ``handle`` writes the desired state and
makes the row due; the agent writes the rest. Times are epoch milliseconds, as in the
messages. A row stays when its entity is gone: with the last version in it, a replay creates nobody.
"""

from typing import Final

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    Index,
    Integer,
    MetaData,
    Table,
    Text,
    UniqueConstraint,
    exists,
    not_,
)

from dingbridge.work_queue import queue_columns, queue_index

metadata = MetaData()

outbound_entity = Table(
    "outbound_entity",
    metadata,
    Column("corp_id", Text, primary_key=True),
    Column("kind", Text, primary_key=True, comment="user or department"),
    Column("own_id", Text, primary_key=True, comment="the OA's id"),
    Column("app", Text, comment="name of the DingTalk app that is called; NULL: the consumer's own"),
    Column("owned_id", Text, comment="userid or dept_id that we created, or that a hand released"),
    Column("ding_id", Text, comment="by which events find it: owned, a candidate, or the userid to be"),
    Column("version", BigInteger, nullable=False, comment="of the last message"),
    Column("absent", Boolean, nullable=False, comment="the last message wants it gone"),
    Column("desired", Text, nullable=False, comment="the last message's data, JSON; references are own ids"),
    Column("immediate", Boolean, comment="the last message wants it gone without the grace days"),
    Column("since_ms", BigInteger, nullable=False, comment="when this desired state came"),
    Column("answers", Text, nullable=False, comment="source and id of the last message, JSON"),
    Column("by_userid", Text, comment="who acted, by the last event that named somebody"),
    Column("flagged", Boolean, nullable=False, comment="an event asks for a read"),
    Column("ledger", Text, comment="what was seen, written and intended, JSON; NULL: never read"),
    Column("present", Boolean, nullable=False, comment="DingTalk has what it owns, as last seen"),
    Column("removal_approved", Boolean, nullable=False, comment="by hand: go beyond the day's limit"),
    Column("result", Text, comment="last result of this version; NULL: none yet"),
    Column("reason", Text, comment="of a pending result"),
    Column("code", Text, comment="of a refused result: DingTalk's"),
    Column("words", Text, comment="of a refused result: the remedy"),
    Column("fields", Text, comment="of the last result: names of what was written, JSON"),
    Column("result_ms", BigInteger, comment="since when it is the result"),
    Column("waits_for", Text, comment="<kind>:<own id> that must be there first; member: be in it"),
    *queue_columns(),
    UniqueConstraint("corp_id", "kind", "owned_id", name="uq_outbound_entity_owned_id"),
    Index("ix_outbound_entity_own_id", "own_id"),
    Index("ix_outbound_entity_ding_id", "corp_id", "kind", "ding_id"),
    Index("ix_outbound_entity_result", "result", "reason", "result_ms"),
    queue_index("ix_outbound_entity_due"),
    Index("ix_outbound_entity_waits_for", "corp_id", "waits_for"),
)

outbound_state = Table(
    "outbound_state",
    metadata,
    Column("name", Text, primary_key=True, comment="sender, or <what is limited>:<app>"),
    Column("value", Text, comment="of a limit: {epoch minute: count} of the last 24 h, JSON"),
)

PAUSED: Final = "restored"
"""The row that is there while outbound is paused (``requests/restored.py``)."""

NOT_PAUSED: Final = not_(exists().where(outbound_state.c.name == PAUSED))
"""The condition of both queues: nothing is claimed while outbound is paused."""

outbound_outgoing = Table(
    "outbound_outgoing",
    metadata,
    Column("seq", BigInteger().with_variant(Integer, "sqlite"), primary_key=True),
    Column("topic", Text, nullable=False, comment="without CONTROL_PREFIX"),
    Column("key", Text, nullable=False),
    Column("value", Text, nullable=False, comment="the CloudEvents JSON"),
)
