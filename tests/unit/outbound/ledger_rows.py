"""Rows of outbound's ledger, as its agent leaves them."""

from collections.abc import Iterable
from typing import Any

from dingbridge import open_database
from dingbridge.consumers.outbound.requests import tables as _requests_too  # noqa: F401 - of the same metadata
from dingbridge.consumers.outbound.tables import metadata, outbound_entity

NOON_MS = 1_764_000_000_000


def row(
    own_id: str,
    result: str | None = "pending",
    reason: str | None = "removal-approval",
    *,
    kind: str = "user",
    corp_id: str = "c1",
    at_ms: int = NOON_MS - 1,
    **more: Any,
) -> dict[str, Any]:
    return {
        "corp_id": corp_id, "kind": kind, "own_id": own_id, "version": 1, "absent": True, "desired": "{}",
        "since_ms": 0, "answers": "{}", "flagged": False, "present": True,
        "removal_approved": False, "result": result, "reason": reason, "result_ms": at_ms, "words": None,
        **more,
    }  # fmt: skip


async def filled(url: str, rows: Iterable[dict[str, Any]]) -> None:
    """Make the tables in the database at ``url``, with these rows."""
    database = open_database(url)
    await database.create_tables(metadata)
    async with database.transaction() as tx:
        await tx.execute(outbound_entity.insert(), list(rows))
    await database.close()
