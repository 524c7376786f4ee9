"""How many calls each app has made in each month: one table, in PostgreSQL or in a small SQLite file."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Final, TypeVar

from sqlalchemy import BigInteger, Column, MetaData, SmallInteger, Table, Text, delete, func, select, text
from sqlalchemy.engine import make_url
from sqlalchemy.exc import SQLAlchemyError

from dingbridge.errors import BridgeError
from dingbridge.worker.store.database import Database, open_database
from dingbridge.worker.store.transaction import Transaction

T = TypeVar("T")

WITHIN_S: Final = 4.0
"""For an answer, in s; a call of DingTalk's API waits for it."""


class StoreFailed(BridgeError):
    """The counts could not be read or written; the message says why, without an address or a password."""


class CallCounts:
    """The counts at ``url`` (``sqlite:///path`` or ``postgresql://…``), for one event loop. Every method
    raises ``StoreFailed``, within ``WITHIN_S``."""

    def __init__(self, url: str) -> None:
        """Opens nothing yet."""
        self._url = url
        self._is_file = url.startswith("sqlite")
        self._table = _table("calls" if self._is_file else "dingbridge_api_calls")
        self._lock = asyncio.Lock()
        self._database: Database | None = None

    async def count(self, app: str, month: str, priority: int, api: str, most: int | None) -> int | None:
        """Count one call; or, when ``month`` (``2026-11``) has ``most`` already (None: no limit), only return
        how many."""
        calls = self._table.c

        async def work(tx: Transaction) -> int | None:
            if not self._is_file:  # processes of several hosts spend no more than there is
                await tx.execute(text(f"LOCK TABLE {self._table.name} IN EXCLUSIVE MODE"))
            if most is not None:
                of_month = select(func.coalesce(func.sum(calls.calls), 0))
                total = int(await tx.scalar(of_month.where(calls.app == app, calls.month == month)))
                if total >= most:
                    return total
            one = tx.insert(self._table).values(app=app, month=month, priority=priority, api=api, calls=1)
            key = [column.name for column in self._table.primary_key]
            await tx.execute(one.on_conflict_do_update(index_elements=key, set_={"calls": calls.calls + 1}))
            return None

        return await self._answer(work)

    async def counts(self, app: str, month: str) -> list[tuple[int, str, int]]:
        """``(priority, api, calls)`` of a month."""
        calls = self._table.c
        asked = select(calls.priority, calls.api, calls.calls).where(calls.app == app, calls.month == month)

        async def work(tx: Transaction) -> list[tuple[int, str, int]]:
            return [(row.priority, row.api, row.calls) for row in await tx.execute(asked)]

        return await self._answer(work)

    async def forget(self, before: str) -> None:
        """Delete the months before this one."""

        async def work(tx: Transaction) -> None:
            await tx.execute(delete(self._table).where(self._table.c.month < before))

        await self._answer(work)

    async def close(self) -> None:
        """Close the connection; the next use opens it again."""
        database, self._database = self._database, None
        if database is not None:
            await database.close()

    async def _answer(self, work: Callable[[Transaction], Awaitable[T]]) -> T:
        """The result of ``work``. What takes too long is cancelled and not waited for: a connection that the
        network has dropped takes its time to end."""
        task = asyncio.ensure_future(self._transaction(work))
        try:
            done, _ = await asyncio.wait({task}, timeout=WITHIN_S)
        finally:
            task.cancel()
        if not done:
            raise StoreFailed(f"{self._where}: no answer within {WITHIN_S:g} s")
        return task.result()

    async def _transaction(self, work: Callable[[Transaction], Awaitable[T]]) -> T:
        async with self._lock:  # so one connection is enough
            try:
                if self._database is None:
                    self._database = open_database(self._url)
                    await self._database.create_tables(self._table.metadata)
                async with self._database.transaction() as tx:
                    return await work(tx)
            except BaseException as error:
                await self.close()
                if isinstance(error, BridgeError | SQLAlchemyError | OSError):
                    cause = error.__cause__ or error
                    raise StoreFailed(f"{self._where}: {type(cause).__name__}") from None
                raise

    @property
    def _where(self) -> str:
        return str(make_url(self._url).database) if self._is_file else "DATABASE_URL"


def _table(name: str) -> Table:
    return Table(
        name,
        MetaData(),
        Column("app", Text, primary_key=True),
        Column("month", Text, primary_key=True),
        Column("priority", SmallInteger, primary_key=True, autoincrement=False),
        Column("api", Text, primary_key=True),
        Column("calls", BigInteger, nullable=False),
    )
