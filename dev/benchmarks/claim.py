"""A claim of 8 reads in a mirror's table of entities, of which 100,000 are due, on both databases.

As a full sync begins: all people are due at the lowest priority, and no statistics of the table were made.
"""

import asyncio
import statistics
import time
from pathlib import Path
from typing import Final

from sqlalchemy import MetaData, Table

from dev.benchmarks.results import Results
from dev.servers.postgres import start_postgres
from dingbridge import Database, open_database
from dingbridge.mirror import Entities, entities_table
from dingbridge.work_queue import PEOPLE_WAIT, RECONCILE

_DUE: Final = 100_000
_CLAIMS: Final = 200
_MOST: Final = 8
_PIECE: Final = 2_000
_TARGET_MS: Final = 60


def measure(folder: Path, results: Results) -> None:
    """The times of such claims, as a part of the results."""
    folder.mkdir(parents=True, exist_ok=True)
    lines = [f"## A claim of {_MOST} reads, {_DUE:,} due", "", "| database | due | p50, ms | p99, ms |"]
    lines.append("|---|---|---|---|")
    with start_postgres(folder, how="wheel") as postgres:
        urls = {"PostgreSQL": postgres.create_database("claim"), "SQLite": f"sqlite:///{folder / 'claim.db'}"}
        for name, url in urls.items():
            lines += [f"| {name} | {line} |" for line in asyncio.run(_measure(url))]
    results.add("\n".join([*lines, "", f"- to reach: at most {_TARGET_MS} ms"]))


async def _measure(url: str) -> list[str]:
    table = entities_table(MetaData(), "entities")
    entities, database = Entities(table, time.time), open_database(url)
    try:
        async with database.transaction() as tx:
            await tx.connection.run_sync(table.metadata.create_all)
        await _fill(database, entities, table, "due", _DUE, 0)
        alone = await _claims(database, entities)
        await _fill(database, entities, table, "later", _DUE, 3_600_000)
        beside = await _claims(database, entities)
        hired = []
        for number in range(20):
            await _fill(database, entities, table, f"hired{number}", 1, 0, PEOPLE_WAIT)
            hired += await _claims(database, entities, 1)
        whats = [f"{_DUE:,}", f"{_DUE:,}, and as many later", f"{_DUE:,}, one of them a hire's"]
    finally:
        await database.close()
    return [f"{what} | {_times(times)}" for what, times in zip(whats, (alone, beside, hired), strict=True)]


async def _fill(
    database: Database,
    entities: Entities,
    table: Table,
    name: str,
    count: int,
    later_ms: int,
    priority: int = RECONCILE,
) -> None:
    now_ms = entities.now_ms()
    due = {"corp_id": "ding", "kind": "user", "app": "default", "run_ms": now_ms, "priority": priority}
    for first in range(0, count, _PIECE):
        rows = [
            {**due, "entity_id": f"{name}{number:06d}", "due_ms": now_ms + later_ms}
            for number in range(first, min(first + _PIECE, count))
        ]
        async with database.transaction() as tx:
            await tx.execute(table.insert(), rows)


async def _claims(database: Database, entities: Entities, count: int = _CLAIMS) -> list[float]:
    """Claim, and give back; returns what each claim took, in ms."""
    times = []
    for _ in range(count):
        began = time.perf_counter()
        rows = await entities.queue.claim(database, _MOST)
        times.append((time.perf_counter() - began) * 1000)
        if len(rows) != _MOST:
            raise SystemExit(f"claimed {len(rows)} of {_MOST}")
        async with database.transaction() as tx:
            for row in rows:
                await entities.queue.release(tx, row, due_ms=entities.now_ms() - 1, priority=RECONCILE)
    return times


def _times(times: list[float]) -> str:
    return f"{statistics.median(times):.1f} | {sorted(times)[int(len(times) * 0.99)]:.1f}"
