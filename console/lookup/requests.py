"""Approvals in the tables of ``approval``; what the OA asked for in those of ``outbound``."""

from collections.abc import Sequence

from sqlalchemy import and_, or_, select

from dingbridge.console.lookup.hits import MOST_HITS, Hit
from dingbridge.consumers.approval.tables import approval_instances
from dingbridge.consumers.outbound.requests.tables import outbound_requests
from dingbridge.consumers.outbound.tables import outbound_entity
from dingbridge.worker.context import Reader


async def find_approvals(reader: Reader, terms: Sequence[str], *, by_title: bool) -> list[Hit]:
    """Approvals of which the terms together are the business number or the id; and, ``by_title``, those whose
    title has each of them in it, the latest first. Only then do they have a name."""
    columns, whole = approval_instances.c, " ".join(terms)
    ways = [columns.business_id == whole, columns.instance_id == whole]
    if by_title:
        ways.append(and_(*(columns.title.icontains(term, autoescape=True) for term in terms)))
    statement = (
        select(columns.corp_id, columns.instance_id, columns.business_id, columns.title, columns.outcome)
        .where(or_(*ways))
        .order_by(columns.updated_at.desc(), columns.instance_id)
        .limit(MOST_HITS + 1)
    )
    return [
        Hit(
            "approval",
            row.corp_id,
            row.instance_id,
            row.title if by_title else None,
            row.business_id or "",
            row.outcome,
        )
        for row in await reader.execute(statement)
    ]


async def find_requests(reader: Reader, terms: Sequence[str]) -> list[Hit]:
    """What the OA calls by the terms together: an approval, a to-do, a person or a department of its own."""
    whole, found = " ".join(terms), []
    for table, own in ((outbound_requests, "request_id"), (outbound_entity, "own_id")):
        columns = table.c
        statement = (
            select(columns.corp_id, columns.kind, columns.ding_id, columns.result)
            .where(columns[own] == whole)
            .order_by(columns.corp_id, columns.kind)
            .limit(MOST_HITS + 1)
        )
        rows = await reader.execute(statement)
        found += [Hit("request", row.corp_id, row.ding_id, whole, row.kind, row.result) for row in rows]
    return found
