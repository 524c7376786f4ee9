"""How a database carries out the statements that are asked of it: which of them read more than a few rows."""

import json
from typing import Any

from sqlalchemy import event

from dingbridge import Database

MOST_ROWS = 300
"""More rows than this, read or passed over, are many."""

Asked = list[tuple[str, Any]]


def asked_of(database: Database) -> Asked:
    """The statements, with their values, that are asked from now on."""
    asked: Asked = []
    for engine in {database._reader.sync_engine, database._writer.sync_engine}:
        event.listen(engine, "before_cursor_execute", lambda *of: asked.append((of[2], of[3])))
    return asked


async def slow(database: Database, asked: Asked) -> list[str]:
    """Those of the statements that read a whole table or many rows of it, or sort, with the reason."""
    found = []
    for sql, values in list(asked):
        if sql.startswith(("SELECT", "UPDATE", "DELETE", "WITH")):
            one = values[0] if isinstance(values, list) else values
            found += [f"{fault}: {sql}" for fault in await _faults(database, sql, one)]
    return found


async def _faults(database: Database, sql: str, values: Any) -> list[str]:
    if database.dialect == "sqlite":
        async with database.reading() as connection:
            steps = (await connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {sql}", values)).all()
        words = [str(step[-1]) for step in steps]
        return [
            w
            for w in words
            if w.startswith("SCAN") and "USING" not in w and not w.startswith(("SCAN anon", "SCAN (subquery"))
        ]
    async with database._writer.connect() as connection:
        await connection.exec_driver_sql("BEGIN")
        found = await connection.exec_driver_sql(f"EXPLAIN (ANALYZE, FORMAT JSON) {sql}", values)
        plan = found.scalar()
        await connection.exec_driver_sql("ROLLBACK")
    return _of((json.loads(plan) if isinstance(plan, str) else plan)[0]["Plan"])


def _of(plan: dict[str, Any]) -> list[str]:
    rows = (plan["Actual Rows"] + plan.get("Rows Removed by Filter", 0)) * plan["Actual Loops"]
    mine = [f"{plan['Node Type']} of {rows} rows"] if rows > MOST_ROWS else []
    return [*mine, *(fault for child in plan.get("Plans", ()) for fault in _of(child))]
