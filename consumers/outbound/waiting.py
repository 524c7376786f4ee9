"""What waits in outbound's ledger: pending, refused, in conflict or adopted, as `status` and the console list
it; and what an operator can release or approve. Reads only."""

import json
from collections import Counter
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, Final

from sqlalchemy import ColumnElement, Row, and_, func, or_, select

from dingbridge import Reader
from dingbridge.consumers.outbound.requests.tables import outbound_requests
from dingbridge.consumers.outbound.tables import outbound_entity

_e, _r = outbound_entity.c, outbound_requests.c

_BY_HAND: Final = ("removal-approval", "update-approval", "adopted")
_PENDING: Final = _e.result == "pending"
STATES: Final[Mapping[str, ColumnElement[bool]]] = {
    "removal": and_(_PENDING, _e.reason == "removal-approval"),
    "update": and_(_PENDING, _e.reason == "update-approval"),
    "adopted": and_(_PENDING, _e.reason == "adopted"),
    "conflict": _e.result == "conflict",
    "refused": _e.result == "refused",
    "pending": and_(_PENDING, or_(_e.reason.is_(None), _e.reason.not_in(_BY_HAND))),
}
"""People and departments that wait, by state; each is in one. ``removal`` and ``update`` are for `approve`;
what is ``pending`` goes on by itself."""

APPROVABLE: Final = {name: STATES[name] for name in ("removal", "update")}
"""What `approve` lets go on, by state."""
RELEASABLE: Final = {name: STATES[name] for name in ("adopted", "conflict", "refused")}
"""What `release` lets be written, by state."""

_WAITING: Final = ("pending", "conflict", "refused")
_STATE_OF: Final = {"removal-approval": "removal", "update-approval": "update", "adopted": "adopted"}


async def counts(reader: Reader) -> dict[str, int]:
    """How many people and departments are in each state, and how many ``requests`` wait."""
    return (await standing(reader))[0]


async def standing(reader: Reader) -> tuple[dict[str, int], int | None]:
    """``counts``, and since when (epoch ms; None: none is) the oldest has been pending, without those that
    wait for a date or a release. Reads only the indexes of the results, so no rows that are done."""
    counted, oldest = dict.fromkeys([*STATES, "requests"], 0), []
    columns = (func.count(), func.min(_e.result_ms))
    groups = select(_e.result, _e.reason, *columns).where(_e.result.in_(_WAITING))
    found: Any = await reader.execute(groups.group_by(_e.result, _e.reason))
    for result, reason, count, since_ms in found:
        counted[_STATE_OF.get(reason, result) if result == "pending" else result] += count
        if result == "pending" and reason not in ("grace", "adopted"):
            oldest.append(since_ms)
    columns = (func.count(), func.min(_r.result_ms))
    groups = select(_r.result, *columns).where(_r.result.in_(_WAITING)).group_by(_r.result)
    found = await reader.execute(groups)
    for result, count, since_ms in found:
        counted["requests"] += count
        if result == "pending":
            oldest.append(since_ms)
    return counted, min(oldest, default=None)


async def conflicts_of_requests(reader: Reader, since_ms: int) -> int:
    """How many requests have ended in a conflict since (nobody can resolve one; its sender has the
    result)."""
    lately = (_r.result == "conflict", _r.result_ms > since_ms)
    return int(await reader.scalar(select(func.count()).select_from(outbound_requests).where(*lately)) or 0)


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
    chosen = (
        select(outbound_requests).where(_r.result.in_(_WAITING)).order_by(*order).limit(limit).offset(offset)
    )
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
        "fields": json.loads(row.fields or "[]"), "adopted": row.reason == "adopted", "version": row.version,
        "corpId": row.corp_id,
    }  # fmt: skip


def _request(row: Row[Any]) -> dict[str, Any]:
    return {
        "kind": row.kind, "id": row.request_id, "dingtalkId": row.ding_id, "result": row.result,
        "reason": row.reason, "code": row.code, "since": _since(row), "words": row.words, "request": row.type,
        "fields": [], "corpId": row.corp_id,
    }  # fmt: skip
