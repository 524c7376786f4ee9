"""The requests: a row for each approval and to-do that the OA asked for, kept when it is over, because later
requests and DingTalk's events name it. Times are epoch milliseconds. A change here needs a revision in
``consumers/outbound/migrations``.
"""

import json
from dataclasses import dataclass, field
from typing import Any, Self

from sqlalchemy import BigInteger, Column, ColumnElement, Index, Row, Table, Text, and_

from dingbridge.consumers.outbound.tables import metadata
from dingbridge.work_queue import queue_columns, queue_index

outbound_requests = Table(
    "outbound_requests",
    metadata,
    Column("corp_id", Text, primary_key=True),
    Column("kind", Text, primary_key=True, comment="approval or todo"),
    Column("request_id", Text, primary_key=True, comment="the sender's"),
    Column("type", Text, nullable=False, comment="approval.start, todo.desired or todo.done"),
    Column("app", Text, comment="name of the DingTalk app that is called; NULL: CONSUMER_APP"),
    Column("body", Text, nullable=False, comment="data of the message, JSON"),
    Column("source", Text, nullable=False, comment="of the last message, which the result answers"),
    Column("message_id", Text, nullable=False, comment="the last message's"),
    Column("opened_ms", BigInteger, comment="since when it may have been done: a call's outcome is open"),
    Column("missing_ms", BigInteger, comment="since when DingTalk does not show what was called"),
    Column("ding_id", Text, comment="process instance or to-do task, once it is known"),
    Column("result", Text, comment="the last one; NULL: none yet"),
    Column("reason", Text, comment="of a pending result or a conflict"),
    Column("code", Text, comment="DingTalk's, of a refusal"),
    Column("words", Text, comment="what to do about it"),
    Column("result_ms", BigInteger, comment="since when it is the result"),
    Column("refetch", Text, comment="event (it has ended) or asked: the approval is to be fetched"),
    Column("outcome", Text, comment="agree, refuse or terminated, once that is in the changes"),
    *queue_columns(),
    Index("ix_outbound_requests_request_id", "request_id"),
    Index("ix_outbound_requests_ding_id", "corp_id", "ding_id", "opened_ms"),
    Index("ix_outbound_requests_result", "result", "result_ms"),
    queue_index("ix_outbound_requests_due"),
)


@dataclass(frozen=True, slots=True)
class Request:
    """A row as an agent claimed it. The columns' comments say what each is."""

    corp_id: str
    kind: str
    request_id: str
    type: str
    app: str | None
    body: dict[str, Any]
    source: str
    opened_ms: int | None
    missing_ms: int | None
    ding_id: str | None
    result: str | None
    reason: str | None
    result_ms: int | None
    refetch: str | None
    row: Any = field(repr=False, compare=False)

    @classmethod
    def of(cls, row: Row[Any]) -> Self:
        values = {**row._mapping, "body": json.loads(row.body), "row": row}
        return cls(**{name: values[name] for name in cls.__slots__})

    @property
    def is_started(self) -> bool:
        """An approval that was started: only its end is still to be read."""
        return self.type == "approval.start" and self.ding_id is not None

    def missing_for(self, settle_ms: int, now_ms: int) -> bool:
        """Whether reads have not shown the call's effect for so long."""
        return self.missing_ms is not None and now_ms - self.missing_ms >= settle_ms

    @property
    def key(self) -> ColumnElement[bool]:
        return key_of(self.corp_id, self.kind, self.request_id)


def key_of(corp_id: str, kind: str, request_id: str) -> ColumnElement[bool]:
    columns = outbound_requests.c
    return and_(columns.corp_id == corp_id, columns.kind == kind, columns.request_id == request_id)
