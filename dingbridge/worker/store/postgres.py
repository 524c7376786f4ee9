"""Connections to PostgreSQL for transactions, kept open between them.

SQLAlchemy's pool and its transactions cost several times what PostgreSQL needs for a small transaction. So
its connections are taken out once, in its autocommit mode, in which it leaves transactions alone; ``BEGIN``,
``COMMIT`` and the inbox row go by the driver, and statements of handlers go through SQLAlchemy as ever.
docs/decisions/0022 has the measurement. Not here: what an error means (``database_errors.py``).
"""

import asyncio
from collections.abc import Awaitable
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from dingbridge.worker.outcomes import Retry


@dataclass(slots=True, eq=False)
class Link:
    """One connection, as SQLAlchemy and as the driver (asyncpg) see it."""

    connection: AsyncConnection
    driver: Any


class Links:
    """The connections of ``engine`` that are not in use; how many there may be is the caller's to limit."""

    def __init__(self, engine: AsyncEngine) -> None:
        """``engine`` has no pool, and is in autocommit mode."""
        self._engine = engine
        self._idle: list[Link] = []

    async def begin(self) -> Link:
        """A connection with a transaction open; end it with ``commit``, ``rollback`` or ``drop``."""
        link = await self._take()
        await self._or_drop(link, link.driver.execute("BEGIN"))
        return link

    async def commit(self, link: Link) -> None:
        """Raises ``Retry`` when there is nothing to commit: PostgreSQL has rolled back, since a statement had
        failed, and whoever sent it went on all the same. It says so in no other way."""
        done = await self._or_drop(link, link.driver.execute("COMMIT"))
        await self._give_back(link)
        if done != "COMMIT":
            raise Retry("a statement failed and the handler went on; the database has rolled back")

    async def rollback(self, link: Link) -> None:
        await self._or_drop(link, link.driver.execute("ROLLBACK"))
        await self._give_back(link)

    async def drop(self, link: Link) -> None:
        """Whatever is going on in it ends: the server rolls back."""
        link.driver.terminate()
        with suppress(Exception):
            await link.connection.invalidate()
        with suppress(Exception):
            await link.connection.close()

    async def close(self, within_s: float) -> None:
        """Close what is idle; what the server does not answer to ``within_s`` is dropped."""
        with suppress(TimeoutError):
            async with asyncio.timeout(within_s):
                while self._idle:
                    await self._idle[-1].connection.close()
                    self._idle.pop()
        while self._idle:
            await self.drop(self._idle.pop())

    async def _take(self) -> Link:
        while self._idle:
            link = self._idle.pop()
            if not link.driver.is_closed():
                return link
            await self.drop(link)
        connection = await self._engine.connect()
        raw = await connection.get_raw_connection()
        return Link(connection, raw.driver_connection)

    async def _give_back(self, link: Link) -> None:
        if link.connection.in_transaction():
            # SQLAlchemy's own idea of one; the server has ended it
            await self._or_drop(link, link.connection.rollback())
        if link.connection.invalidated or link.driver.is_closed():
            await self.drop(link)
        else:
            self._idle.append(link)

    async def _or_drop(self, link: Link, step: Awaitable[Any]) -> Any:
        try:
            return await step
        except BaseException:
            await self.drop(link)
            raise
