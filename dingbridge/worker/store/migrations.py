"""Brings the tables of a consumer to what its code expects, at its start: Alembic, without its commands.

A consumer with ``migrations`` names a package that holds its revisions, ``v0001_….py`` and so on, and has a
version table of its own, so that several consumers may share a database; one without it has its missing
tables created. The worker's own tables (``revisions``) are the same for all consumers. Everything happens in
one transaction that holds the database's lock: of processes that start together, one migrates and the others
find it done, and a migration that fails leaves everything as it was. Not here: what a revision does.
"""

import asyncio
import re
import zlib
from collections.abc import Sequence
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any, ClassVar, Protocol
from weakref import WeakKeyDictionary

import structlog
from alembic.config import Config
from alembic.runtime.environment import EnvironmentContext
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from alembic.util import CommandError
from sqlalchemy import Connection, MetaData, create_engine, inspect

from dingbridge.errors import BridgeError
from dingbridge.worker.store.database import Database
from dingbridge.worker.store.errors import translated
from dingbridge.worker.store.outbox import outbox

log = structlog.get_logger(__name__)

LONGEST_NAME = 63
"""Bytes of an identifier in PostgreSQL."""


class Tables(Protocol):
    """What has tables: a consumer's class, or the worker."""

    name: ClassVar[str]
    metadata: ClassVar[MetaData | None]
    migrations: ClassVar[str | None]


class WorkerTables:
    """The worker's own: inbox and outbox. The name is empty, which no consumer's is."""

    name: ClassVar[str] = ""
    metadata: ClassVar[MetaData | None] = outbox.metadata
    migrations: ClassVar[str | None] = "dingbridge.worker.store.revisions"


_by_loop: "WeakKeyDictionary[asyncio.AbstractEventLoop, asyncio.Lock]" = WeakKeyDictionary()


class MigrationError(BridgeError):
    """The tables cannot be brought to what the code expects; the message says why, and what to do."""


async def migrate(database: Database, consumer: type[Tables]) -> None:
    """Make the tables of ``consumer`` be those of its code; safe in several processes at once.

    Raises ``MigrationError`` for a database that a newer version has migrated, or that holds other tables of
    the same names; ``DatabaseDown``; or the database's own error, with everything as it was before.
    """
    if consumer.migrations is None:
        if consumer.metadata is not None:
            await database.create_tables(consumer.metadata)
        return
    # Alembic's ``op`` is one per process, and another migration could come between two of our statements
    async with _by_loop.setdefault(asyncio.get_running_loop(), asyncio.Lock()), database.transaction() as tx:
        await tx.lock_schema()
        with translated():
            came, went = await tx.connection.run_sync(upgrade, consumer)
            if consumer.metadata is not None:
                # what others added to the metadata, as the tables of an actions module
                await tx.connection.run_sync(consumer.metadata.create_all)
    if came != went:
        log.info("database.migrated", consumer=consumer.name or "every", before=came or "empty", now=went)


def upgrade(connection: Connection, consumer: type[Tables]) -> tuple[str | None, str | None]:
    """Run what is missing of the revisions of ``consumer`` in the transaction of ``connection``, and nothing
    else; returns the revision before (None: none) and after. Raises as ``migrate`` does."""
    scripts = _scripts(str(consumer.migrations))
    table = version_table(consumer.name)
    before = _revision(connection, table)
    known = {script.revision for script in scripts.walk_revisions()}
    if before is not None and before not in known:
        raise MigrationError(
            f"the tables of {_whose(consumer)} are at revision {before}, which this version does not "
            f"know: a newer dingbridge has been here. Run that version; or restore the database as it was "
            f"before, and let the consumer read again from then (dingbridge replay)"
        )
    if before is None:
        _refuse_strangers(connection, consumer, scripts)
    _run(connection, scripts, table)
    return before, _revision(connection, table)


def version_table(consumer: str) -> str:
    """The table that holds the revision of ``consumer``: of at most 63 characters, as PostgreSQL has it."""
    if not consumer:
        return "dingbridge_version"
    name = f"dingbridge_version_{re.sub('[^a-z0-9]', '_', consumer)}"
    if len(name) <= LONGEST_NAME:
        return name
    return f"{name[: LONGEST_NAME - 9]}_{zlib.crc32(consumer.encode()):08x}"


def _revision(connection: Connection, table: str) -> str | None:
    return MigrationContext.configure(connection, opts={"version_table": table}).get_current_revision()


@cache
def _scripts(package: str) -> ScriptDirectory:
    spec = find_spec(package)
    if spec is None or not spec.submodule_search_locations:
        raise MigrationError(f"there is no package {package} with the migrations; install dingbridge again")
    folder = str(Path(spec.submodule_search_locations[0]))
    scripts = ScriptDirectory(folder, version_locations=[folder])
    try:
        scripts.get_current_head()
    except CommandError as error:
        raise MigrationError(f"the revisions in {package} do not form one line ({error})") from error
    return scripts


def _run(connection: Connection, scripts: ScriptDirectory, table: str, *, to: str = "head") -> None:
    """Upgrade to revision ``to``."""

    def steps(revision: Any, context: MigrationContext) -> Sequence[Any]:
        return scripts._upgrade_revs(to, revision)

    with EnvironmentContext(Config(), scripts, fn=steps) as environment:
        # SQLite's DDL is transactional since we begin its transactions ourselves; Alembic assumes it is not
        environment.configure(connection=connection, version_table=table, transactional_ddl=True)
        environment.run_migrations()


def _refuse_strangers(connection: Connection, consumer: type[Tables], scripts: ScriptDirectory) -> None:
    """Raises ``MigrationError`` when tables of the first revision's names stand there already."""
    strange = sorted(_first_tables(scripts) & set(_tables(connection)))
    if strange:
        raise MigrationError(
            f"{_whose(consumer)} finds tables in its database that it has not made ({', '.join(strange)}). "
            "Give it a database of its own with DATABASE_URL"
        )


def _whose(consumer: type[Tables]) -> str:
    return f"consumer {consumer.name}" if consumer.name else "the worker"


def _first_tables(scripts: ScriptDirectory) -> set[str]:
    """The tables that the first revision makes, found by making them in memory."""
    engine = create_engine("sqlite://")
    try:
        with engine.connect() as connection:
            _run(connection, scripts, "version", to=str(scripts.get_base()))
            return set(_tables(connection)) - {"version"}
    finally:
        engine.dispose()


def _tables(connection: Connection) -> list[str]:
    return inspect(connection).get_table_names()
