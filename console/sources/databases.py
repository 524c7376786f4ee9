"""The consumers' databases, read-only: a statement at a time, on connections that are kept."""

import asyncio
from collections.abc import Callable, Mapping
from typing import Any, Final

from sqlalchemy import Executable
from sqlalchemy.engine import Result

from dingbridge.worker.context import Reader
from dingbridge.worker.store.database import Database, open_database

TIMEOUT_S: Final = 5.0
READ_LIMIT_S: Final = 3.0
"""After which PostgreSQL itself ends a statement, in s."""


class Databases:
    """The database of each consumer, opened when it is first asked. Consumers of one address share it."""

    def __init__(self, url_of: Callable[[str], str]) -> None:
        """``url_of`` gives a consumer's address."""
        self._url_of = url_of
        self._opened: dict[str, Database] = {}

    def reader(self, consumer: str) -> Reader:
        """Short reads; the database itself refuses a write. Raises ``DatabaseDown`` for an SQLite file that
        is not there: the consumer has not run here, or elsewhere."""
        url = self._url_of(consumer)
        database = self._opened.get(url)
        if database is None:
            database = self._opened[url] = open_database(url, create=False, read_limit_s=READ_LIMIT_S)
        return database.reader(TIMEOUT_S)

    async def execute(
        self, consumer: str, statement: Executable, parameters: Mapping[str, Any] | None = None
    ) -> Result[Any]:
        """All rows of one reading statement. Raises ``DatabaseDown``, also after ``TIMEOUT_S``, or
        SQLAlchemy's error for a table that is not there."""
        return await self.reader(consumer).execute(statement, parameters)

    async def close(self) -> None:
        await asyncio.gather(*(database.close() for database in self._opened.values()))
