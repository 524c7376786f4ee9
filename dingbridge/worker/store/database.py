"""A consumer's database: SQLite by default, PostgreSQL by ``DATABASE_URL``, through SQLAlchemy 2 (async).

Responsible for connections, for the transaction that a handler writes in, and for short reads outside of it.
Not here: what an error means (``errors.py``), what is written (the consumer), and the inbox row
(``inbox.py``).
"""

import asyncio
import contextlib
import math
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from contextvars import ContextVar
from functools import partial
from pathlib import Path
from typing import Any, Final

from sqlalchemy import URL, MetaData, event
from sqlalchemy.engine import Connection, ExceptionContext
from sqlalchemy.exc import DBAPIError, DisconnectionError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, create_async_engine
from sqlalchemy.pool import ConnectionPoolEntry

from dingbridge.errors import SettingsError
from dingbridge.settings.database_url import in_memory, parse_database_url, tls_of
from dingbridge.worker.context import Context, Reader
from dingbridge.worker.outcomes import Reject
from dingbridge.worker.store.errors import DatabaseDown, answered, translated
from dingbridge.worker.store.sqlite_cursor import BEGIN, one_cursor
from dingbridge.worker.store.transaction import FAILED, SAVEPOINTS, Transaction

BUSY_TIMEOUT_MS = 10_000
"""How long SQLite waits for another process's write before it says "locked", in ms."""

CLOSE_TIMEOUT_S = 5
"""How long closing a pool of connections may take, in s."""

ANSWER_TIMEOUT_S = 30
"""How long the database may take to connect, begin, commit, or answer a short question of the runtime's own,
before it counts as down, in s."""

POOL_SIZE = 16
READ_POOL_SIZE = 8
"""Connections to PostgreSQL that one worker keeps open at most, for transactions and for short reads."""

_of_event: ContextVar["tuple[Database, Transaction] | None"] = ContextVar("_of_event", default=None)
"""In a handler, and in tasks that it starts: the transaction of its event."""

_STATEMENTS: Final = "dingbridge_statements"
"""In the ``info`` of a connection to SQLite: its ``SqliteStatements``."""

Check = Callable[[AsyncConnection], Awaitable[None]]


class Database:
    """One consumer's database. Made by ``open_database``; connects when it is first used."""

    def __init__(self, writer: AsyncEngine, reader: AsyncEngine) -> None:
        self._writer, self._reader = writer, reader
        # SQLite has one writer; waiting here is fair and costs nothing, waiting in its busy handler polls
        self._one_writer = asyncio.Lock() if writer.dialect.name == "sqlite" else None
        self._in_memory = writer is reader
        # waiting for a connection says nothing about the database, so it is not the pool that waits
        self._writing = self._one_writer or asyncio.Semaphore(POOL_SIZE)
        one_for_both = self._one_writer if self._in_memory else None
        self._reading = one_for_both or asyncio.Semaphore(READ_POOL_SIZE)
        self._unanswered_at = -math.inf
        self.check: Check | None = None
        """Awaited once for each new connection that is to write, before its first transaction."""
        _watch_statements(writer)
        if writer.dialect.name == "postgresql":
            for engine in (writer, reader):
                event.listen(engine.sync_engine, "connect", _connected)
                event.listen(engine.sync_engine, "checkout", self._refuse_older)

    def reopened(self) -> "Database":
        """A closed SQLite database for another event loop; statements that were compiled once stay so."""
        return Database(self._writer, self._reader)

    @property
    def dialect(self) -> str:
        """``sqlite`` or ``postgresql``."""
        return self._writer.dialect.name

    def reader(self, within_s: float | None = None) -> Reader:
        """``within_s``: a read that is certainly short raises ``DatabaseDown`` after that time, in s. Without
        it, only the end of the connection does, which may take a quarter of an hour to notice when the
        network dropped it."""
        return Reader(self.reading, within_s)

    @asynccontextmanager
    async def transaction(self, ctx: Context | None = None) -> AsyncIterator[Transaction]:
        """A write transaction (SQLite: ``BEGIN IMMEDIATE``, PostgreSQL: ``READ COMMITTED``); ``ctx`` becomes
        its ``ctx``.

        Raises ``DatabaseDown`` or ``TransactionRace`` where the database is the reason, ``Retry`` when a
        statement failed and the handler went on all the same, and ``Reject`` inside a handler, whose event
        has a transaction already.
        """
        of_event = _of_event.get()
        if of_event is not None and of_event[0] is self and not of_event[1].ended:
            raise Reject(
                "the handler began a transaction inside the one of its event, and would wait for itself; "
                "write with the `tx` that it was given"
            )
        async with self._writing:
            async with answered(ANSWER_TIMEOUT_S):
                connection = await self._writer.connect()
            transaction = Transaction(connection, ctx)
            try:
                async with answered(ANSWER_TIMEOUT_S):
                    await self._check_once(connection)
                    await connection.begin()
                connection.info[FAILED], connection.info[SAVEPOINTS] = None, 0
                yield transaction
                transaction.check_statements()
                async with answered(ANSWER_TIMEOUT_S):
                    await connection.commit()
            except BaseException as error:
                dropped = await _roll_back(connection, dropped=transaction.abandoned)
                if dropped or isinstance(error, DatabaseDown):
                    self._unanswered_at = time.monotonic()
                raise
            finally:
                transaction.ended = True
                with translated(quiet=True):
                    await connection.close()

    @contextmanager
    def within_handler(self, tx: Transaction) -> Iterator[None]:
        """A handler runs with ``tx``: a transaction of its own would wait for this one, and is refused."""
        token = _of_event.set((self, tx))
        try:
            yield
        finally:
            tx.ended = True
            _of_event.reset(token)

    async def _check_once(self, connection: AsyncConnection) -> None:
        if self.check is not None and not connection.info.get("dingbridge_checked"):
            await self.check(connection)
            await connection.rollback()
            connection.info["dingbridge_checked"] = True

    @asynccontextmanager
    async def reading(self) -> AsyncIterator[AsyncConnection]:
        """A connection for one short read. ``Reader`` is what handlers get."""
        async with self._reading:
            with translated(read_only=True):
                try:
                    async with self._reader.connect() as connection:
                        yield connection
                except TimeoutError:  # of the reader's own limit, which no short read comes near
                    self._unanswered_at = time.monotonic()
                    raise

    async def answers(self, timeout_s: float) -> bool:
        """Whether the database answers a new question within ``timeout_s``. If not, it may only be busy."""
        if self._in_memory:
            return True  # it lives in this process
        try:
            async with asyncio.timeout(timeout_s), self._reader.connect() as connection:
                await connection.exec_driver_sql("SELECT 1")
        except Exception:
            return False
        return True

    def _refuse_older(self, _: object, record: ConnectionPoolEntry, __: object) -> None:
        """Of connections from before one did not answer, the network may have dropped all: the pool opens
        another in place of each, which would else cost ``ANSWER_TIMEOUT_S`` itself."""
        if record.info["connected_at"] <= self._unanswered_at:
            raise DisconnectionError("older than a connection that did not answer")

    async def create_tables(self, *metadatas: MetaData) -> None:
        """Create what is missing of each ``metadata``; what exists is left as it is."""
        async with self.transaction() as tx:
            await tx.lock_schema()
            for metadata in metadatas:
                with translated():
                    await tx.connection.run_sync(metadata.create_all)

    async def close(self) -> None:
        """Close all connections. One that does not close within ``CLOSE_TIMEOUT_S`` is abandoned: its server
        or its disk does not answer."""
        for engine in (self._writer, self._reader):
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(CLOSE_TIMEOUT_S):
                    await engine.dispose()


def _connected(_: object, record: ConnectionPoolEntry) -> None:
    record.info["connected_at"] = time.monotonic()


def _watch_statements(engine: AsyncEngine) -> None:
    """Note in a connection's ``info`` that a statement failed, until its savepoint is rolled back. A
    cancelled statement fails its whole transaction.

    After a failed statement PostgreSQL rolls back at COMMIT, and its driver reports no error. SQLite would
    commit the rest. https://docs.sqlalchemy.org/en/20/core/events.html
    """

    @event.listens_for(engine.sync_engine, "handle_error")
    def _failed(context: ExceptionContext) -> None:
        info, cancelled = _info(context), isinstance(context.original_exception, asyncio.CancelledError)
        # of an error before the statement was sent the database knows nothing
        if info is not None and (cancelled or isinstance(context.sqlalchemy_exception, DBAPIError)):
            stood, before = 0 if cancelled else info.get(SAVEPOINTS, 0), info.get(FAILED)
            info[FAILED] = stood if before is None else min(stood, before)

    @event.listens_for(engine.sync_engine, "savepoint")
    def _began(connection: Connection, name: str) -> None:
        connection.info[SAVEPOINTS] = connection.info.get(SAVEPOINTS, 0) + 1

    @event.listens_for(engine.sync_engine, "release_savepoint")
    def _released(connection: Connection, name: str, context: Any) -> None:
        connection.info[SAVEPOINTS] -= 1
        if connection.info.get(FAILED) is not None:  # it stands in the one around this now
            connection.info[FAILED] = min(connection.info[FAILED], connection.info[SAVEPOINTS])

    @event.listens_for(engine.sync_engine, "rollback_savepoint")
    def _rolled_back(connection: Connection, name: str, context: Any) -> None:
        if (connection.info.get(FAILED) or 0) >= connection.info[SAVEPOINTS]:
            connection.info[FAILED] = None
        connection.info[SAVEPOINTS] -= 1


def _info(context: ExceptionContext) -> dict[Any, Any] | None:
    """Return the ``info`` of the connection, None if it is not there any more."""
    connection = context.connection
    return None if connection is None or connection.closed or connection.invalidated else connection.info


async def _roll_back(connection: AsyncConnection, *, dropped: bool) -> bool:
    """Raises nothing. A connection that does not answer, or that is ``dropped`` because a handler may still
    use it, is closed; the database then rolls back. Returns whether it was."""
    with translated(quiet=True):
        try:
            if not dropped:
                async with answered(ANSWER_TIMEOUT_S):
                    await connection.rollback()
        except DatabaseDown:
            dropped = True
        if dropped:
            await connection.invalidate()
    return dropped


def open_database(
    url: str,
    *,
    create: bool = True,
    durable: bool = True,
    idle_limit_s: float | None = None,
    read_limit_s: float | None = None,
) -> Database:
    """The database at ``sqlite:///path`` (its folder is created), ``sqlite://`` (in memory) or
    ``postgresql://user:password@host:port/name``; the driver is ours.

    ``idle_limit_s``: PostgreSQL ends a transaction that was idle for so long, since its process is frozen or
    cut off and others wait for its rows. ``read_limit_s``: PostgreSQL ends a read that takes longer, with
    SQLAlchemy's error. ``durable`` false: a SQLite file for a test, of which a power cut may lose everything.

    Nothing is connected yet. Raises ``SettingsError`` for any other address, and ``DatabaseDown`` when
    ``create`` is false and there is no such SQLite file.
    """
    try:
        parsed = parse_database_url(url)
    except ValueError as error:
        raise SettingsError([f"DATABASE_URL: {error}"]) from None
    if parsed.drivername == "postgresql":
        return _open_postgres(parsed.set(drivername="postgresql+asyncpg"), idle_limit_s, read_limit_s)
    return _open_sqlite(parsed.set(drivername="sqlite+aiosqlite"), create, durable)


def _open_postgres(url: URL, idle_limit_s: float | None, read_limit_s: float | None) -> Database:
    # by SET, and not as parameters of the connection: PgBouncer refuses those that it does not know
    idle = (
        [] if idle_limit_s is None else [f"idle_in_transaction_session_timeout = {idle_limit_s * 1000:.0f}"]
    )
    # reads commit by themselves, which spares BEGIN and ROLLBACK: two of three round trips
    read_only = [*idle, "default_transaction_read_only = on"]
    if read_limit_s is not None:
        read_only.append(f"statement_timeout = {read_limit_s * 1000:.0f}")
    tls = tls_of(url)
    url = url.difference_update_query(["sslmode", "sslrootcert"])
    named = {"timeout": 10, "ssl": tls, "server_settings": {"application_name": "dingbridge"}}
    writer = create_async_engine(url, pool_size=POOL_SIZE, connect_args=named)
    reader = create_async_engine(
        url,
        pool_size=READ_POOL_SIZE,
        max_overflow=READ_POOL_SIZE,  # for ``answers``, while a handler's own connection hangs
        isolation_level="AUTOCOMMIT",
        connect_args=named,
    )
    for engine, wanted in ((writer, idle), (reader, read_only)):
        _set_up_postgres(engine, "; ".join(f"SET {one}" for one in wanted))
    return Database(writer, reader)


def _set_up_postgres(engine: AsyncEngine, statements: str) -> None:
    @event.listens_for(engine.sync_engine, "connect")
    def _connected(connection: Any, record: Any) -> None:
        if statements:
            connection.run_async(lambda raw: raw.execute(statements))


def _open_sqlite(url: URL, create: bool, durable: bool) -> Database:
    if in_memory(url):
        engine = create_async_engine(url)
        _set_up_sqlite(engine)
        return Database(engine, engine)
    if not create and not Path(str(url.database)).is_file():
        raise DatabaseDown(f"there is no database at {url.database}")
    try:
        Path(str(url.database)).parent.mkdir(parents=True, exist_ok=True)
        if create:
            Path(str(url.database)).touch(mode=0o600)  # it will hold people's phone numbers
    except OSError as error:
        raise SettingsError(
            [f"DATABASE_URL or DATA_DIR: {url.database} cannot be created ({error.strerror})"]
        ) from error
    writer = create_async_engine(url, pool_size=1, max_overflow=0)
    _set_up_sqlite(writer, durable=durable)
    # a read is one statement: BEGIN and ROLLBACK would cost as much again
    reader = create_async_engine(
        url,
        pool_size=4,
        max_overflow=POOL_SIZE,
        isolation_level="AUTOCOMMIT",
        skip_autocommit_rollback=True,
    )
    _set_up_sqlite(reader, read_only=True)
    return Database(writer, reader)


def _set_up_sqlite(engine: AsyncEngine, *, read_only: bool = False, durable: bool = True) -> None:
    """Take transaction control away from the driver, which would begin late and deferred: two transactions
    that read first and then write could then not both go on. SQLAlchemy's documentation, "Enabling
    Non-Legacy SQLite Transactional Modes"."""

    @event.listens_for(engine.sync_engine, "connect")
    def _connected(connection: Any, record: Any) -> None:
        connection.isolation_level = None
        cursor = connection.cursor()
        cursor.execute(f"PRAGMA busy_timeout={BUSY_TIMEOUT_MS}")
        cursor.execute("PRAGMA foreign_keys=ON")
        if read_only:
            cursor.execute("PRAGMA query_only=ON")
        else:
            cursor.execute("PRAGMA journal_mode=WAL")
            # the offset is committed after the effect: an effect lost by a power cut would be lost for good
            cursor.execute(f"PRAGMA synchronous={'FULL' if durable else 'OFF'}")
        cursor.close()
        record.info[_STATEMENTS] = connection.run_async(partial(one_cursor, begins=not read_only))

    @event.listens_for(engine.sync_engine, "begin")
    def _begin(connection: Any) -> None:
        if not read_only:
            connection.exec_driver_sql(BEGIN)

    @event.listens_for(engine.sync_engine, "handle_error")
    def _cancelled(context: ExceptionContext) -> None:
        """Keep the connection of a cancelled statement that has ended; in memory it is the database."""
        info = _info(context) or {}
        if _STATEMENTS in info and isinstance(context.original_exception, asyncio.CancelledError):
            context.is_disconnect = info[_STATEMENTS].hangs
