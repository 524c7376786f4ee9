"""Brings the tables of a consumer to what its code expects, at its start: Alembic, without its commands.

A consumer with ``migrations`` names a package that holds its revisions, ``v0001_….py`` and so on, and has a
version table of its own, so that several consumers may share a database; one without it has its missing
tables created. Everything happens in one transaction that holds the database's lock: of processes that start
together, one migrates and the others find it done, and a migration that fails leaves everything as it was.

A database that version 0.1 made, by ``create_all`` and with no version table, is recognised by its tables and
columns, and counts as being at the first revision. Not here: what a revision does, and the runtime's own
tables, which are the same for all consumers (``inbox.py``).
"""

import asyncio
import re
import zlib
from collections.abc import Sequence
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any
from weakref import WeakKeyDictionary

import structlog
from alembic.config import Config
from alembic.runtime.environment import EnvironmentContext
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from alembic.util import CommandError
from sqlalchemy import Connection, create_engine, inspect

from dingbridge.errors import BridgeError
from dingbridge.worker.consumer import Consumer
from dingbridge.worker.store.database import Database
from dingbridge.worker.store.errors import translated

log = structlog.get_logger(__name__)

LONGEST_NAME = 63
"""Bytes of an identifier in PostgreSQL."""

_by_loop: "WeakKeyDictionary[asyncio.AbstractEventLoop, asyncio.Lock]" = WeakKeyDictionary()


class MigrationError(BridgeError):
    """The tables cannot be brought to what the code expects; the message says why, and what to do."""


async def migrate(database: Database, consumer: type[Consumer]) -> None:
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
        log.info("database.migrated", consumer=consumer.name, before=came or "empty", now=went)


def upgrade(connection: Connection, consumer: type[Consumer]) -> tuple[str | None, str | None]:
    """Run what is missing of the revisions of ``consumer`` in the transaction of ``connection``, and nothing
    else; returns the revision before (None: none) and after. Raises as ``migrate`` does."""
    scripts = _scripts(str(consumer.migrations))
    table = version_table(consumer.name)
    before = _revision(connection, table)
    known = {script.revision for script in scripts.walk_revisions()}
    if before is not None and before not in known:
        raise MigrationError(
            f"the tables of consumer {consumer.name} are at revision {before}, which this version does not "
            f"know: a newer dingbridge has been here. Run that version; or restore the database as it was "
            f"before, and let the consumer read again from then (dingbridge replay)"
        )
    if before is None and _made_without_versions(connection, consumer, scripts):
        _run(connection, scripts, table, stamp=scripts.get_base())
    _run(connection, scripts, table)
    return before, _revision(connection, table)


def version_table(consumer: str) -> str:
    """The table that holds the revision of ``consumer``: of at most 63 characters, as PostgreSQL has it."""
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


def _run(
    connection: Connection,
    scripts: ScriptDirectory,
    table: str,
    *,
    stamp: str | None = None,
    to: str = "head",
) -> None:
    """Upgrade to revision ``to``; or, with ``stamp``, only write down that the tables are at that one."""

    def steps(revision: Any, context: MigrationContext) -> Sequence[Any]:
        if stamp is not None:
            return scripts._stamp_revs(stamp, revision)
        return scripts._upgrade_revs(to, revision)

    with EnvironmentContext(Config(), scripts, fn=steps) as environment:
        # SQLite's DDL is transactional since we begin its transactions ourselves; Alembic assumes it is not
        environment.configure(connection=connection, version_table=table, transactional_ddl=True)
        environment.run_migrations()


def _made_without_versions(
    connection: Connection, consumer: type[Consumer], scripts: ScriptDirectory
) -> bool:
    """Whether the tables of the first revision stand there, though no revision is written down.

    Raises ``MigrationError`` when there are tables of their names that are not like them.
    """
    expected = _first_tables(scripts)
    found = {name: _columns(connection, name) for name in _tables(connection) if name in expected}
    if not found:
        return False
    strange = sorted(name for name in expected if not expected[name] <= found.get(name, frozenset()))
    if strange:
        raise MigrationError(
            f"consumer {consumer.name} finds tables in its database that it has not made (not as expected: "
            f"{', '.join(strange)}). Give it a database of its own with DATABASE_URL"
        )
    return True


def _first_tables(scripts: ScriptDirectory) -> dict[str, frozenset[str]]:
    """The tables and columns that the first revision makes, found by making them in memory."""
    engine = create_engine("sqlite://")
    try:
        with engine.connect() as connection:
            _run(connection, scripts, "version", to=str(scripts.get_base()))
            return {name: _columns(connection, name) for name in _tables(connection) if name != "version"}
    finally:
        engine.dispose()


def _tables(connection: Connection) -> list[str]:
    return inspect(connection).get_table_names()


def _columns(connection: Connection, table: str) -> frozenset[str]:
    return frozenset(column["name"] for column in inspect(connection).get_columns(table))
