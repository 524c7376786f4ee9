"""Brings the tables of a consumer to what its code expects, at its start (``dingbridge/migrations``).

The worker's own tables (``revisions``) are the same for all consumers. Everything happens in one transaction
that holds the database's lock. Of processes that start together, the first migrates and the others find it
done. A migration that fails, or that leaves a column of the code missing, changes nothing.
"""

import asyncio
from typing import ClassVar
from weakref import WeakKeyDictionary

import structlog
from sqlalchemy import MetaData

from dingbridge.migrations.upgrade import Tables, bring_up
from dingbridge.worker.store import offsets, outbox  # noqa: F401 - their tables
from dingbridge.worker.store.database import Database
from dingbridge.worker.store.errors import translated
from dingbridge.worker.store.inbox import metadata as tables

log = structlog.get_logger(__name__)


class WorkerTables:
    """The worker's own. The name is empty, which no consumer's is."""

    name: ClassVar[str] = ""
    metadata: ClassVar[MetaData | None] = tables
    migrations: ClassVar[str | None] = "dingbridge.worker.store.revisions"
    own_tables: ClassVar[frozenset[str]] = frozenset(tables.tables)


_by_loop: "WeakKeyDictionary[asyncio.AbstractEventLoop, asyncio.Lock]" = WeakKeyDictionary()


async def migrate(database: Database, consumer: type[Tables]) -> None:
    """Make the tables of ``consumer`` be those of its code; safe in several processes at once.

    Raises ``MigrationError`` for a database that a newer version has migrated, that holds other tables of the
    same names, or that lacks a column of the code; ``DatabaseDown``; or the database's own error, with
    everything as it was before.
    """
    # Alembic's ``op`` is one per process, and another migration could come between two of our statements
    async with _by_loop.setdefault(asyncio.get_running_loop(), asyncio.Lock()), database.transaction() as tx:
        await tx.lock_schema()
        with translated():
            before, now = await tx.connection.run_sync(bring_up, consumer)
    if before != now:
        log.info("database.migrated", consumer=consumer.name or "every", before=before or "empty", now=now)
