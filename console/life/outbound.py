"""Whether an event was a person's change in DingTalk, or the echo of a write by outbound.

Outbound keeps no row for each event: so this follows from its row of the entity now, and from the changes
that it reported to the OA after the event came.
"""

from collections.abc import Sequence
from contextlib import aclosing
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal

from aiokafka import TopicPartition
from aiokafka.partitioner import DefaultPartitioner
from sqlalchemy import Row, select
from sqlalchemy.exc import SQLAlchemyError

from dingbridge.console.app import Console
from dingbridge.console.index.records import IndexedEvent, epoch_ms, moment
from dingbridge.console.life.changes import Change, changes_by_outbound
from dingbridge.consumers.outbound.consumer import KINDS
from dingbridge.consumers.outbound.contacts.rows import entity_of
from dingbridge.consumers.outbound.messages import key
from dingbridge.consumers.outbound.requests.tables import outbound_requests
from dingbridge.consumers.outbound.tables import outbound_entity, outbound_outgoing
from dingbridge.errors import BridgeError
from dingbridge.events.event import NotAnEvent, Sent, decode
from dingbridge.kafka.reader import Span, TopicReader
from dingbridge.kafka.topic_policy import control_topic
from dingbridge.kafka.topics import existing_topics

NAME = "outbound"
LIMIT_S = 1.5
"""How long the changes may be read, in s."""

Verdict = Literal["not_ours", "open", "change", "echo", "nothing", "unknown"]
"""``not_ours``: the OA never named this entity, and no change was reported to it. ``open``: outbound has not
looked yet. ``change``: it reported a change after the event came. ``echo``: it reported none, and had written
itself. ``nothing``: it reported none, and had written nothing. ``unknown``: database or Kafka do not
answer."""


@dataclass(frozen=True, slots=True)
class Reported:
    """``own_id`` is the OA's, ``reported_at`` when outbound reported the change, ``what`` its verdict on it,
    and ``changes`` its fields."""

    verdict: Verdict
    own_id: str | None = None
    reported_at: datetime | None = None
    what: str | None = None
    changes: Sequence[Change] = ()


async def reported_of(console: Console, event: IndexedEvent, *, handled: bool) -> Reported | None:
    """None for an event that outbound does not read. ``handled``: outbound has read it."""
    kind = "approval" if event.type == "bpms_instance_change" else KINDS.get(event.type)
    if kind is None or event.subject is None:
        return None
    try:
        row = await _row(console, event, kind)
        if row is None and kind == "approval":
            return Reported("not_ours")
        own_id = None if row is None else row.request_id if kind == "approval" else row.own_id
        entity = key(event.corp_id, kind, own_id or event.subject)
        to_look = row is not None and (row.refetch is not None if kind == "approval" else row.flagged)
        if to_look or not handled or await _to_be_reported(console, entity):
            return Reported("open", own_id)
        change = await console.ask_kafka(lambda: _change_after(console, event, entity), LIMIT_S)
    except (BridgeError, SQLAlchemyError, OSError, TimeoutError):
        return Reported("unknown")
    if change is not None:
        return Reported("change", own_id, *change)
    if row is None:
        return Reported("not_ours")
    written_at = _written_at(row, kind)
    wrote_before = written_at is not None and written_at <= event.received_time
    ended = kind == "approval" and row.outcome is not None
    return Reported("echo" if wrote_before or ended else "nothing", own_id)


async def _row(console: Console, event: IndexedEvent, kind: str) -> Row[Any] | None:
    table = outbound_requests if kind == "approval" else outbound_entity
    where = (table.c.corp_id == event.corp_id, table.c.kind == kind, table.c.ding_id == event.subject)
    return (await console.databases.execute(NAME, select(table).where(*where).limit(1))).first()


async def _to_be_reported(console: Console, entity: str) -> bool:
    """Whether a change of ``entity`` is still to be sent."""
    columns = outbound_outgoing.c
    waiting = select(columns.seq).where(columns.topic == "changes", columns.key == entity).limit(1)
    return (await console.databases.execute(NAME, waiting)).first() is not None


def _written_at(row: Row[Any], kind: str) -> datetime | None:
    if kind == "approval":
        return None
    intention = entity_of(row).ledger.intention
    if intention is None or intention.outcome != "done":
        return None
    return moment(intention.opened_ms)


async def _change_after(
    console: Console, event: IndexedEvent, entity: str
) -> tuple[datetime, str, Sequence[Change]] | None:
    """When the last change of ``entity`` was reported since ``event`` came, the verdict on it, its fields."""
    topic = control_topic(console.kafka, "changes")
    counts = await existing_topics(console.kafka, [topic])
    if topic not in counts:
        return None
    everywhere = list(range(counts[topic]))
    partition = TopicPartition(topic, DefaultPartitioner()(entity.encode(), everywhere, everywhere))
    found = None
    async with TopicReader(console.kafka) as reader:
        first = (await reader.first_since([partition], epoch_ms(event.received_time)))[partition]
        if first is None:
            return None
        end = (await reader.spans({topic: counts[topic]}))[partition].end
        async with aclosing(reader.read({partition: Span(first[0], end)})) as records:
            async for record in records:
                if record.key != entity.encode():
                    continue
                try:
                    data = decode(record.value or b"", Sent()).data
                except NotAnEvent:
                    continue
                found = moment(record.timestamp), str(data.get("verdict")), changes_by_outbound(data)
    return found
