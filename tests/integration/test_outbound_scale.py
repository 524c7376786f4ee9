"""Many people, all of them due for a reconcile, and as many requests: what outbound asks of its database for
one of them reads a few rows, whatever waits beside it. Query plans are looked at, not clocks."""

from collections.abc import AsyncIterator
from types import SimpleNamespace
from typing import Any

import pytest
from sqlalchemy import func, select, text

from dingbridge import Database, open_database
from dingbridge.consumers.outbound import waiting
from dingbridge.consumers.outbound.contacts.rows import QUEUE, entity_of, save
from dingbridge.consumers.outbound.contacts.wanted import refetch, want
from dingbridge.consumers.outbound.ledger import Decision, Result
from dingbridge.consumers.outbound.messages import Message
from dingbridge.consumers.outbound.requests.store import (
    REQUESTS,
    forget_old,
    store_approval_event,
    store_request,
)
from dingbridge.consumers.outbound.requests.tables import Request, outbound_requests
from dingbridge.consumers.outbound.settings import DAY_MS
from dingbridge.consumers.outbound.store import now_ms
from dingbridge.consumers.outbound.tables import metadata
from tests.support.query_plans import Asked, asked_of, slow
from tests.support.sizes import sized

ROWS = sized(20_000, 100_000)
CORP = "dingcorp01"
NUMBERS = f"WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < {ROWS})"
PEOPLE = f"""
INSERT INTO outbound_entity (corp_id, kind, own_id, owned_id, ding_id, version, absent, desired, since_ms,
    answers, flagged, present, removal_approved, result, result_ms, due_ms, priority, leased_ms, claims,
    attempts)
{NUMBERS} SELECT '{CORP}', 'user', 'E' || i, 'u' || i, 'u' || i, 1, false, '{{}}', 1, '{{}}',
    false, true, false, 'done', 1, 1000 + i, 2, 0, 1, 0 FROM n"""
REQUESTED = f"""
INSERT INTO outbound_requests (corp_id, kind, request_id, type, body, source, message_id, ding_id, result,
    result_ms, outcome, priority, leased_ms, claims, attempts)
{NUMBERS} SELECT '{CORP}', 'approval', 'A' || i,
    CASE WHEN i % 2 = 0 THEN 'approval.start' ELSE 'todo.desired' END,
    '{{"request": "A1"}}', '/oa', 'm' || i, 'pi-' || i, 'done', CAST({DAY_MS} AS BIGINT) * (i % 200),
    CASE WHEN i % 1000 = 0 THEN NULL ELSE 'agree' END, 1, 0, 1, 0 FROM n"""


@pytest.fixture
async def database(database_url: str) -> AsyncIterator[Database]:
    opened = open_database(database_url)
    await opened.create_tables(metadata)
    async with opened.transaction() as tx:
        await tx.execute(text(PEOPLE))
        await tx.execute(text(REQUESTED))
        await tx.execute(text("ANALYZE"))
    yield opened
    await opened.close()


def message(type_: str, own_id: str, **data: object) -> Message:
    kind = type_.partition(".")[0]
    sent = {"corpId": CORP, **data}
    return Message(type_, kind, own_id, CORP, None, 2, sent, "/oa", f"m-{own_id}")  # type: ignore[arg-type]


async def test_one_among_100_000_costs_as_much_as_one(database: Database) -> None:
    asked: Asked = asked_of(database)
    reader = database.reader()
    async with database.transaction() as tx:
        await want(tx, message("user.desired", "new", name="N", departments=["root"]), now_ms() - 1000)
        await want(tx, message("user.absent", "E5"), now_ms() - 1000)
        assert await refetch(tx, CORP, "user", "u77", None)
        assert not await refetch(tx, CORP, "user", "nobody", None)
        await store_request(tx, message("approval.start", "N1", processCode="P"), now_ms() - 1000)
        for instance_id in ("pi-1000", "somebody-elses"):
            event: Any = SimpleNamespace(corp_id=CORP, subject=instance_id, data={"type": "finish"})
            await store_approval_event(tx, event)

    # who people wait for comes first, and what nobody waits for gets its turn
    claimed = [entity_of(row) for row in await QUEUE.claim(database, 8)]
    assert {"new", "E5"} <= {entity.own_id for entity in claimed}
    assert len(claimed) == 8
    [new] = [entity for entity in claimed if entity.own_id == "new"]
    async with database.transaction() as tx:
        await save(tx, new, Decision(new.ledger, result=Result("pending", 2, reason="department-missing")))
    counts = await waiting.counts(reader)
    assert (counts["pending"], counts["requests"]) == (1, 0)
    assert await waiting.conflicts_of_requests(reader, now_ms() - DAY_MS) == 0
    requests = [Request.of(row) for row in await REQUESTS.claim(database, 4)]
    assert sorted(request.request_id for request in requests) == ["A1000", "N1"]
    assert await slow(database, asked) == []


async def test_requests_are_forgotten_when_no_topic_holds_them_any_more(database: Database) -> None:
    """Approvals that run on are kept, whatever their age."""
    asked = asked_of(database)
    assert await forget_old(database, 1) == 0.004 * ROWS
    assert await forget_old(database, 1) == 0
    assert await slow(database, [one for one in asked if one[0].startswith("SELECT")]) == []
    assert await forget_old(database, 150 * DAY_MS) > 0.7 * ROWS
    left = select(outbound_requests.c.type, func.count(), func.min(outbound_requests.c.result_ms))
    rows = await database.reader().execute(left.group_by(outbound_requests.c.type))
    assert sorted(map(tuple, rows)) == [
        ("approval.start", ROWS // 8 + ROWS // 1000, 0),
        ("todo.desired", ROWS // 8, 151 * DAY_MS),
    ]
