"""Which errors of a database mean that it is down, and which that the statement is wrong.

SQLAlchemy has one tree for both. ``translated`` raises ``DatabaseDown`` and ``TransactionRace`` for errors
that the statement did not cause, and lets every other error pass.
"""

import asyncio
import sqlite3
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager

from sqlalchemy.exc import DBAPIError, PendingRollbackError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError

from dingbridge.errors import BridgeError
from dingbridge.worker.outcomes import Conflict, DependencyUnavailable

_SQLITE_DOWN = frozenset(
    {
        sqlite3.SQLITE_BUSY,
        sqlite3.SQLITE_CANTOPEN,
        sqlite3.SQLITE_CORRUPT,
        sqlite3.SQLITE_FULL,
        sqlite3.SQLITE_IOERR,
        sqlite3.SQLITE_LOCKED,
        sqlite3.SQLITE_NOTADB,
        sqlite3.SQLITE_PERM,
        sqlite3.SQLITE_PROTOCOL,
        sqlite3.SQLITE_READONLY,
    }
)
"""Primary result codes (https://sqlite.org/rescode.html) that say nothing about the statement."""

_READ_ONLY = "25006"
_POSTGRES_DOWN = ("08", "25P03", "25P04", "28", "3D000", _READ_ONLY, "53", "57P", "58")
"""SQLSTATE prefixes (https://www.postgresql.org/docs/current/errcodes-appendix.html): connection, a
transaction that was idle or open for too long, refused credentials, missing database, read-only standby,
resources, shutdown and start-up, system errors."""

_POSTGRES_RACE = ("40001", "40P01")
"""Serialization failure and deadlock: the transaction is right and wants to run again."""


class DatabaseDown(DependencyUnavailable):
    """The database does not answer, refuses us, or cannot write."""


class TransactionRace(Conflict):
    """PostgreSQL rolled the transaction back because of another one; run it again from its beginning."""


def is_down(error: BaseException, *, read_only: bool = False) -> bool:
    """Whether ``error``, raised by a database operation, means that the database is down.

    A database that cannot be written is down, unless it was opened to read (``read_only``).
    """
    seen: BaseException | None = error
    while seen is not None:
        if isinstance(seen, OSError | PoolTimeoutError | PendingRollbackError):
            return True
        if isinstance(seen, DBAPIError) and seen.connection_invalidated:
            return True
        code = getattr(seen, "sqlite_errorcode", None)
        if read_only and (code == sqlite3.SQLITE_READONLY or getattr(seen, "sqlstate", None) == _READ_ONLY):
            return False
        if isinstance(code, int) and code & 0xFF in _SQLITE_DOWN:
            return True
        state = getattr(seen, "sqlstate", None)
        if isinstance(state, str) and state.startswith(_POSTGRES_DOWN):
            return True
        if type(seen).__module__.startswith("asyncpg") and "connection is closed" in str(seen):
            return True
        seen = seen.orig if isinstance(seen, DBAPIError) else seen.__cause__
    return False


def is_missing_table(error: BaseException) -> bool:
    """Whether ``error`` means that a table, not its content, is missing."""
    cause = getattr(error, "orig", None)
    return getattr(cause, "sqlstate", None) == "42P01" or "no such table" in str(cause)


@contextmanager
def translated(*, quiet: bool = False, read_only: bool = False) -> Iterator[None]:
    """Raise ``DatabaseDown`` or ``TransactionRace`` for errors that the statement did not cause; with
    ``quiet`` raise nothing."""
    try:
        yield
    except (BridgeError, asyncio.CancelledError):
        raise
    except Exception as error:
        if quiet:
            return
        if is_down(error, read_only=read_only):
            cause = error.orig if isinstance(error, DBAPIError) else error
            raise DatabaseDown(f"the database does not work ({type(cause).__name__})") from error
        state = getattr(getattr(error, "orig", error), "sqlstate", None)
        if state in _POSTGRES_RACE:
            raise TransactionRace("the database rolled back because of another transaction") from error
        raise


@asynccontextmanager
async def answered(within_s: float) -> AsyncIterator[None]:
    """Raises ``DatabaseDown`` when its block takes longer than ``within_s``. On a connection that the network
    has dropped, the driver may otherwise wait for a quarter of an hour."""
    with translated():
        async with asyncio.timeout(within_s):
            yield
