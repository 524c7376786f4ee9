"""The transaction that a handler writes in. Connections, and when it commits, are ``database.py``'s."""

from collections.abc import Mapping, Sequence
from typing import Any, Final, NoReturn

from sqlalchemy import ColumnElement, Executable, Table
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.engine import CursorResult
from sqlalchemy.ext.asyncio import AsyncConnection

from dingbridge.errors import SettingsError
from dingbridge.worker.context import Context, Reader
from dingbridge.worker.outcomes import Retry
from dingbridge.worker.store.errors import translated

FAILED: Final = "dingbridge_failed"
SAVEPOINTS: Final = "dingbridge_savepoints"
"""In a connection's ``info``: in how many savepoints its last failed statement stood (None: none failed), and
how many are open (``database.py``)."""


class Transaction:
    """One write transaction; leaving ``Database.transaction()`` normally commits it, an exception rolls it
    back, and it has ``ended``. ``connection`` is SQLAlchemy's own, for what this wrapper does not offer.

    Events of one group share the connection; each event has a ``Transaction`` of its own (``of``)."""

    def __init__(self, connection: AsyncConnection, ctx: Context | None = None) -> None:
        self.connection = connection
        self.abandoned = self.ended = False
        self._ctx = ctx

    def of(self, ctx: Context) -> "Transaction":
        """The same transaction, for the event of ``ctx``."""
        return Transaction(self.connection, ctx)

    @property
    def ctx(self) -> Context:
        """The context of the event that this transaction belongs to, the same that ``prepare`` was given.

        Raises ``LookupError`` in a transaction that was begun beside the events.
        """
        if self._ctx is None:
            raise LookupError(
                "this transaction belongs to no event, so it has no ctx; begin it with "
                "Database.transaction(ctx)"
            )
        return self._ctx

    def abandon(self) -> None:
        """Leave it to a handler that does not end: it is rolled back, its connection not used again."""
        self.abandoned = True

    def check_statements(self) -> None:
        """Raises ``Retry`` when a statement was cancelled, or has failed outside a savepoint that was rolled
        back, and the handler went on: PostgreSQL rolls back at COMMIT then, and SQLite would commit the
        rest."""
        if self.connection.invalidated or self.connection.info.get(FAILED) is not None:
            raise Retry("a statement failed and the handler went on; the transaction is rolled back")

    @property
    def dialect(self) -> str:
        """``sqlite`` or ``postgresql``."""
        return self.connection.dialect.name

    async def execute(
        self,
        statement: Executable,
        parameters: Mapping[str, Any] | Sequence[Mapping[str, Any]] | None = None,
    ) -> CursorResult[Any]:
        """Run one statement. Raises ``DatabaseDown``, ``TransactionRace``, or SQLAlchemy's own error."""
        with translated():
            return await self.connection.execute(statement, parameters)

    async def execute_driver_sql(self, statement: str, parameters: tuple[Any, ...]) -> CursorResult[Any]:
        """Run a statement in the driver's own spelling (``?`` or ``$1``). Raises as ``execute`` does."""
        with translated():
            return await self.connection.exec_driver_sql(statement, parameters)

    async def scalar(self, statement: Executable, parameters: Mapping[str, Any] | None = None) -> Any:
        """First column of the first row, None if there is no row."""
        return (await self.execute(statement, parameters)).scalar()

    def insert(self, table: Table) -> sqlite.Insert | postgresql.Insert:
        """``INSERT`` of this database's dialect, with its ``on_conflict_…`` methods."""
        return sqlite.insert(table) if self.dialect == "sqlite" else postgresql.insert(table)

    async def lock_schema(self) -> None:
        """Let no other process of ours change tables until this transaction ends: two members that start
        together would both find a table missing. SQLite has only one writer anyhow."""
        if self.dialect == "postgresql":
            # an advisory lock's number is free to choose; this one is the text "ding" as an integer
            with translated():
                await self.connection.exec_driver_sql("SELECT pg_advisory_xact_lock(1684631143)")

    async def upsert(
        self,
        table: Table,
        values: Mapping[str, Any],
        key_columns: Sequence[str],
        *,
        where: ColumnElement[bool] | None = None,
    ) -> int:
        """Insert ``values`` (column name → value), or update the row with the same ``key_columns``.

        ``key_columns`` name the primary key or a unique constraint. ``where`` is a condition on the row that
        is in the table, as ``table.c.generation == 3``: unless it holds, that row stays as it is. A row
        whose every column is a key is inserted or left alone. Returns the number of rows written, 0 or 1.
        """
        statement = self.insert(table).values(dict(values))
        changed = {name: statement.excluded[name] for name in values if name not in key_columns}
        if changed:
            statement = statement.on_conflict_do_update(
                index_elements=list(key_columns), set_=changed, where=where
            )
        else:
            statement = statement.on_conflict_do_nothing(index_elements=list(key_columns))
        return int((await self.execute(statement)).rowcount)


class _NoConnection:
    def __getattr__(self, name: str) -> NoReturn:
        raise SettingsError(
            [
                "the consumer has `uses_database = False`, and its handler asks for the database; remove "
                "that line"
            ]
        )


_NONE: Any = _NoConnection()


def no_reader() -> Reader:
    """For a consumer with ``uses_database = False``: each read raises ``SettingsError``."""
    return Reader(lambda: _NONE.connect())


def no_transaction(ctx: Context) -> Transaction:
    """For such a consumer: each statement raises ``SettingsError``."""
    return Transaction(_NONE, ctx)
