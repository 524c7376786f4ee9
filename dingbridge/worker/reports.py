"""Counts of rows, for metrics, and for what commands print of a consumer's tables."""

from collections import Counter
from typing import Any, Final

from sqlalchemy import ColumnElement, Select, Table, func, select

from dingbridge.worker.consumer import Table as Printed
from dingbridge.worker.context import Reader
from dingbridge.worker.store.transaction import Transaction

SHOWN: Final = 10
"""Rows of each table that are printed; counts are of all."""


async def count(db: Reader | Transaction, table: Table, *where: ColumnElement[bool]) -> int:
    """Return how many rows there are. Raises ``DatabaseDown``."""
    return int(await db.scalar(select(func.count()).select_from(table).where(*where)))


async def counts_by(
    db: Reader | Transaction, column: ColumnElement[Any], *where: ColumnElement[bool]
) -> Counter[Any]:
    """Return how many rows have each value of ``column``. Raises ``DatabaseDown``."""
    found = await db.execute(select(column, func.count().label("rows")).where(*where).group_by(column))
    return Counter({row[0]: row.rows for row in found})


async def first_rows(db: Reader, title: str, rows: Select[Any]) -> Printed:
    """Return the first ``SHOWN`` of ``rows`` under their columns' names, with the count of all in the title.
    Raises ``DatabaseDown``."""
    total = await db.scalar(select(func.count()).select_from(rows.order_by(None).subquery()))
    shown = [tuple(row) for row in await db.execute(rows.limit(SHOWN))]
    return f"{title}: {total:,}, of which {len(shown)} are here", [*rows.selected_columns.keys()], shown
