"""Saves visits of SQLite's thread.

aiosqlite runs SQLite in a thread of its own. SQLAlchemy makes a cursor for each statement and closes it, and
each of these steps waits for that thread. Here a connection has one cursor for all its statements, which
run one after the other anyhow.
"""

from collections.abc import Iterable
from typing import Any

import aiosqlite


async def one_cursor(connection: aiosqlite.Connection) -> None:
    """Let every ``cursor()`` of ``connection`` be of one cursor."""
    shared = await connection.cursor()
    connection.cursor = lambda: _Cursor(shared)  # type: ignore[method-assign,assignment,return-value]


class _Cursor:
    """What SQLAlchemy takes for an aiosqlite ``Cursor``: the results of one statement."""

    arraysize = 1

    def __init__(self, shared: aiosqlite.Cursor) -> None:
        self._shared = shared
        self.description: Any = None
        self.rowcount = -1
        self.lastrowid: int | None = None

    async def __aenter__(self) -> "_Cursor":
        return self

    async def execute(self, sql: str, parameters: Iterable[Any] = ()) -> None:
        await self._shared.execute(sql, parameters)
        self._keep()

    async def executemany(self, sql: str, parameters: Iterable[Iterable[Any]]) -> None:
        await self._shared.executemany(sql, parameters)
        self._keep()

    def _keep(self) -> None:
        self.description, self.lastrowid = self._shared.description, self._shared.lastrowid
        self.rowcount = self._shared.rowcount

    async def fetchall(self) -> Iterable[Any]:
        # rowcount of a statement with RETURNING is known when its rows have been read
        rows = await self._shared.fetchall()
        self.rowcount = self._shared.rowcount
        return rows

    async def close(self) -> None:
        """The shared cursor stays open."""
