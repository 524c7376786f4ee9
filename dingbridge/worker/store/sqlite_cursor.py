"""Runs the statements of SQLite, which aiosqlite gives to a thread of its own.

SQLAlchemy makes a cursor for each statement and closes it, and each of these steps waits for that thread.
Here a connection has one cursor for all its statements, which run one after the other anyhow.

The thread would go on with a statement whose caller was cancelled, and keep the writer's lock. So a
cancellation interrupts the statement, rolls its transaction back, and only then goes on. The connection stays
usable. A later statement of the same transaction is refused.
"""

import asyncio
import sqlite3
import time
from collections.abc import Awaitable, Callable, Iterable
from contextlib import suppress
from typing import Any, Final

import aiosqlite

BEGIN: Final = "BEGIN IMMEDIATE"

CUT_TIMEOUT_S: Final = 5
"""How long a cancellation waits for the end of its statement, in s. Only a disk that hangs takes longer, and
a ``BEGIN`` that waits for another process."""

INTERRUPT_EVERY_S: Final = 0.01
"""Time between two interrupts, in s. An interrupt does nothing to a statement that has not begun."""


class SqliteStatements:
    """The statements of one connection, which share a ``cursor``."""

    def __init__(self, connection: aiosqlite.Connection, cursor: aiosqlite.Cursor, *, begins: bool) -> None:
        self.cursor = cursor
        self.hangs = False
        """Whether a statement that was cancelled did not end."""
        self._running = False
        self._connection, self._begins = connection, begins

    def check(self, sql: str) -> None:
        """Raises ``sqlite3.OperationalError`` when the transaction of ``sql`` is over. SQLite ends it by
        itself after an interrupt or on a full disk, and would commit each statement that follows."""
        if self._begins and sql != BEGIN and not self._connection.in_transaction:
            raise sqlite3.OperationalError(
                "the transaction is over, since a statement of it was cancelled or failed"
            )

    async def run(self, step: Awaitable[Any]) -> Any:
        """Await ``step`` of a statement."""
        self._running = True
        try:
            return await step
        except asyncio.CancelledError:
            await self._cut()
            raise
        finally:
            self._running = False

    async def _cut(self) -> None:
        """End the statement and its transaction, however often the caller is cancelled."""
        # The thread takes this up when the statement has ended. The same cursor forgets unread rows first.
        rollback = asyncio.ensure_future(self.cursor.execute("ROLLBACK"))
        rollback.add_done_callback(lambda ended: ended.cancelled() or ended.exception())
        until = time.monotonic() + CUT_TIMEOUT_S
        while not rollback.done() and time.monotonic() < until:
            with suppress(ValueError, sqlite3.Error):  # the connection was closed meanwhile
                await self._connection.interrupt()
            with suppress(asyncio.CancelledError):
                await asyncio.wait((rollback,), timeout=INTERRUPT_EVERY_S)
        self.hangs = not rollback.done()

    def after_cut(self, step: Callable[[], Awaitable[None]]) -> Callable[[], Awaitable[None]]:
        """Return ``step``, which now first ends a statement that its handler has left behind."""

        async def cut_and_step() -> None:
            if self._running:
                await self._cut()
            await step()

        return cut_and_step


async def one_cursor(connection: aiosqlite.Connection, *, begins: bool) -> SqliteStatements:
    """Let every ``cursor()`` of ``connection`` be of one cursor. ``begins``: all statements stand between a
    ``BEGIN`` and its end."""
    statements = SqliteStatements(connection, await connection.cursor(), begins=begins)
    connection.cursor = lambda: _Cursor(statements)  # type: ignore[method-assign,assignment,return-value]
    connection.rollback = statements.after_cut(connection.rollback)  # type: ignore[method-assign,assignment]
    connection.close = statements.after_cut(connection.close)  # type: ignore[method-assign,assignment]
    return statements


class _Cursor:
    """What SQLAlchemy takes for an aiosqlite ``Cursor``: the results of one statement."""

    arraysize = 1

    def __init__(self, statements: SqliteStatements) -> None:
        self._statements, self._shared = statements, statements.cursor
        self.description: Any = None
        self.rowcount = -1
        self.lastrowid: int | None = None

    async def __aenter__(self) -> "_Cursor":
        return self

    async def execute(self, sql: str, parameters: Iterable[Any] = ()) -> None:
        self._statements.check(sql)
        await self._statements.run(self._shared.execute(sql, parameters))
        self._keep()

    async def executemany(self, sql: str, parameters: Iterable[Iterable[Any]]) -> None:
        self._statements.check(sql)
        await self._statements.run(self._shared.executemany(sql, parameters))
        self._keep()

    def _keep(self) -> None:
        self.description, self.lastrowid = self._shared.description, self._shared.lastrowid
        self.rowcount = self._shared.rowcount

    async def fetchall(self) -> Iterable[Any]:
        # rowcount of a statement with RETURNING is known when its rows have been read
        rows: Iterable[Any] = await self._statements.run(self._shared.fetchall())
        self.rowcount = self._shared.rowcount
        return rows

    async def close(self) -> None:
        """The shared cursor stays open."""
