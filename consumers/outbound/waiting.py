"""What waits in outbound's ledger: pending, refused, in conflict or adopted, as `status` and the console list
it; and of these what an operator's word can let go on. Reads only."""

import json
from collections import Counter
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, Final

from sqlalchemy import ColumnElement, Row, and_, func, not_, or_, select

from consumers.outbound.requests.tables import outbound_requests
from consumers.outbound.tables import outbound_entity
from dingbridge import Reader

_e, _r = outbound_entity.c, outbound_requests.c

ADOPTED: Final = _e.adopted
CONFLICT: Final = and_(_e.result == "conflict", not_(_e.adopted))
REFUSED: Final = and_(_e.result == "refused", not_(_e.adopted))
REMOVAL: Final = and_(_e.reason == "removal-approval", _e.result == "pending", not_(_e.adopted))
_PENDING: Final = and_(_e.result == "pending", or_(_e.reason.is_(None), _e.reason != "removal-approval"))

RELEASABLE: Final[Mapping[str, ColumnElement[bool]]] = {
    "adopted": ADOPTED,
    "conflict": CONFLICT,
    "refused": REFUSED,
}
"""What `release` lets be written, by state."""

STATES: Final[Mapping[str, ColumnElement[bool]]] = {
    "removal": REMOVAL,
    **RELEASABLE,
    "pending": and_(_PENDING, not_(_e.adopted)),
}
"""People and departments that wait, by state; each is in one. ``removal`` is for `approve`; what is
``pending`` goes on by itself."""

_WAITING_REQUEST: Final = _r.result.in_(("pending", "refused", "conflict"))


async def counts(reader: Reader) -> dict[str, int]:
    """How many people and departments are in each state, and how many ``requests`` wait."""
    columns = [func.count().filter(state).label(name) for name, state in STATES.items()]
    found = (await reader.execute(select(*columns).select_from(outbound_entity))).one()
    requests = await reader.scalar(
        select(func.count()).select_from(outbound_requests).where(_WAITING_REQUEST)
    )
    return {**dict(zip(STATES, found, strict=True)), "requests": int(requests or 0)}


async def entities(
    reader: Reader, state: ColumnElement[bool] | None = None, *, limit: int | None = None, offset: int = 0
) -> list[dict[str, Any]]:
    """People and departments in ``state`` (None: in any), those that have been so for longest first."""
    where = or_(*STATES.values()) if state is None else state
    order = (_e.result_ms, _e.corp_id, _e.kind, _e.own_id)
    rows = await reader.execute(
        select(outbound_entity).where(where).order_by(*order).limit(limit).offset(offset)
    )
    return [_entity(row) for row in rows]


async def requests(reader: Reader, *, limit: int | None = None, offset: int = 0) -> list[dict[str, Any]]:
    """Approvals and to-dos that wait, were refused or are in conflict, by id."""
    order = (_r.request_id, _r.corp_id, _r.kind)
    chosen = select(outbound_requests).where(_WAITING_REQUEST).order_by(*order).limit(limit).offset(offset)
    return [_request(row) for row in await reader.execute(chosen)]


def by_result(entries: list[dict[str, Any]]) -> dict[str, int]:
    """How many have which result."""
    return dict(sorted(Counter(str(entry["result"]) for entry in entries).items()))


def _since(row: Row[Any]) -> str | None:
    return None if row.result_ms is None else datetime.fromtimestamp(row.result_ms // 1000, UTC).isoformat()


def _entity(row: Row[Any]) -> dict[str, Any]:
    return {
        "kind": row.kind, "id": row.own_id, "dingtalkId": row.ding_id, "result": row.result,
        "reason": row.reason, "code": row.code, "since": _since(row), "words": row.words,
        "fields": json.loads(row.fields or "[]"), "adopted": row.adopted, "version": row.version,
        "corpId": row.corp_id,
    }  # fmt: skip


def _request(row: Row[Any]) -> dict[str, Any]:
    return {
        "kind": row.kind, "id": row.request_id, "dingtalkId": row.ding_id, "result": row.result,
        "reason": row.reason, "code": row.code, "since": _since(row), "words": row.words, "request": row.type,
        "corpId": row.corp_id,
    }  # fmt: skip
