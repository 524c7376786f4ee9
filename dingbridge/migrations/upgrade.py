"""The revisions of a consumer's tables, run and compared on one connection: Alembic, without its commands.

A consumer with ``migrations`` names a package that holds its revisions, ``v0001_….py`` and so on, and has a
version table of its own, so that several consumers may share a database; one without it has its missing
tables created, and its version table has ``created``, so that revisions may follow later. Not here: the
transaction around it (``dingbridge/worker/store/migrations.py``), and what a revision does.
"""

import re
import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any, ClassVar, Protocol

from alembic.config import Config
from alembic.runtime.environment import EnvironmentContext
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from alembic.util import CommandError
from sqlalchemy import Column, Connection, MetaData, String, Table, create_engine, inspect, update

from dingbridge.errors import BridgeError
from dingbridge.migrations.lacking_columns import Lacking, lacking

LONGEST_NAME = 63
"""Bytes of an identifier in PostgreSQL."""

CREATED = "created"
"""The revision of tables that a consumer without ``migrations`` has created."""


class Tables(Protocol):
    """What has tables: a consumer's class, or the worker. ``own_tables`` are those of ``metadata`` that
    ``migrations`` makes; others, as those of an actions module, are created when they are missing."""

    name: ClassVar[str]
    metadata: ClassVar[MetaData | None]
    migrations: ClassVar[str | None]
    own_tables: ClassVar[frozenset[str]]


class MigrationError(BridgeError):
    """The tables cannot be brought to what the code expects; the message says why, and what to do."""


def bring_up(connection: Connection, consumer: type[Tables]) -> tuple[str | None, str | None]:
    """Make the tables of ``consumer`` be those of its code, in the transaction of ``connection``; returns the
    revision before (None: none) and after. Raises ``MigrationError``."""
    revisions = (None, None) if consumer.migrations is None else upgrade(connection, consumer)
    if consumer.metadata is None:
        return revisions
    tables = consumer.metadata.sorted_tables
    missing = lacking(connection, tables).tables
    if consumer.migrations is not None:
        missing = tuple(table for table in missing if table.name not in consumer.own_tables)
    elif tables and len(missing) == len(tables):
        _write_down(connection, consumer.name, CREATED)
    consumer.metadata.create_all(connection, missing)
    if left := lacking(connection, tables):
        raise MigrationError(f"{_whose(consumer)}: the database lacks {left}. {_remedy(consumer, left)}")
    return revisions


def _remedy(consumer: type[Tables], left: Lacking) -> str:
    file = f"path/to/file.py:{consumer.__name__}"
    write = f"`dingbridge consumers migrate {consumer.name} --write` (or {file}) writes the revision"
    if consumer.migrations is None:
        return f"The code has that, and tables that exist are not changed unasked: {write}"
    if of_code := lacking_after_revisions(consumer):
        return f"The code has that, and no revision makes {of_code}: {write}"
    if left.tables:
        return (
            "No revision is missing, so somebody removed that: restore the database, or give it an empty one"
        )
    return f"It is in no revision. Run on the database, then start again: {'; '.join(left.statements)}"


def lacking_after_revisions(consumer: type[Tables]) -> Lacking:
    """What the code of ``consumer``, which has ``migrations``, has and its revisions do not make."""
    with made_in_memory(scripts_of(str(consumer.migrations))) as connection:
        tables = [] if consumer.metadata is None else consumer.metadata.sorted_tables
        return lacking(connection, [table for table in tables if table.name in consumer.own_tables])


def upgrade(connection: Connection, consumer: type[Tables]) -> tuple[str | None, str | None]:
    """Run what is missing of the revisions of ``consumer`` in the transaction of ``connection``, and nothing
    else; returns the revision before (None: none) and after. Raises as ``migrate`` does."""
    scripts = scripts_of(str(consumer.migrations))
    table = version_table(consumer.name)
    before = _revision(connection, table)
    known = {script.revision for script in scripts.walk_revisions()}
    if before not in {None, CREATED, *known}:
        raise MigrationError(
            f"the tables of {_whose(consumer)} are at revision {before}, which this version does not "
            f"know: a newer dingbridge has been here. Run that version; or stop the consumer, and go back: "
            f"with the newer one installed, `dingbridge consumers migrate {consumer.name or 'NAME'} "
            f"--down {scripts.get_current_head()}{'' if consumer.name else ' --worker'}`"
        )
    if before in (None, CREATED):
        _take_over(connection, consumer, scripts, ours=before == CREATED)
    _run(connection, scripts, table)
    return before, _revision(connection, table)


def bring_down(connection: Connection, consumer: type[Tables], revision: str) -> str:
    """Run the revisions of ``consumer`` above ``revision`` backwards, in the transaction of ``connection``;
    returns the one before. Raises ``MigrationError`` where that cannot be, with everything as it was."""
    if consumer.migrations is None:
        raise MigrationError(f"{_whose(consumer)} has no revisions, so there is none to go back from")
    scripts = scripts_of(consumer.migrations)
    table = version_table(consumer.name)
    before = _revision(connection, table)
    line = [script.revision for script in reversed(list(scripts.walk_revisions()))]
    if before not in line:
        raise MigrationError(
            f"the tables of {_whose(consumer)} are at revision {before or 'none'}, which this version does "
            "not know; run the version that made them"
        )
    below = line[: line.index(before) + 1]
    if revision not in below:
        raise MigrationError(
            f"{_whose(consumer)} is at revision {before}, and cannot go back to {revision}; there are "
            f"{', '.join(below)}"
        )
    for undone in below[below.index(revision) + 1 :]:
        if not hasattr(scripts.get_revision(undone).module, "downgrade"):
            raise MigrationError(
                f"revision {undone} of {_whose(consumer)} has no downgrade(); write it, or restore the "
                "database from its back-up"
            )
    _run(connection, scripts, table, to=revision, down=True)
    return before


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
def scripts_of(package: str) -> ScriptDirectory:
    """The revisions in ``package``. Raises ``MigrationError``."""
    try:
        spec = find_spec(package)
    except ModuleNotFoundError:  # of the package above it
        spec = None
    if spec is None or not spec.submodule_search_locations:
        raise MigrationError(
            f"there is no package {package} with the migrations; check `migrations` in the consumer's class, "
            "and that the package is installed with it"
        )
    folder = str(Path(spec.submodule_search_locations[0]))
    scripts = ScriptDirectory(folder, version_locations=[folder])
    try:
        scripts.get_current_head()
    except CommandError as error:
        raise MigrationError(f"the revisions in {package} do not form one line ({error})") from error
    return scripts


def _run(
    connection: Connection, scripts: ScriptDirectory, table: str, *, to: str = "head", down: bool = False
) -> None:
    """Upgrade to revision ``to``, or go ``down`` to it."""

    def steps(revision: Any, context: MigrationContext) -> Sequence[Any]:
        return scripts._downgrade_revs(to, revision) if down else scripts._upgrade_revs(to, revision)

    with EnvironmentContext(Config(), scripts, fn=steps) as environment:
        # SQLite's DDL is transactional since we begin its transactions ourselves; Alembic assumes it is not
        environment.configure(connection=connection, version_table=table, transactional_ddl=True)
        environment.run_migrations()


def _take_over(
    connection: Connection, consumer: type[Tables], scripts: ScriptDirectory, *, ours: bool
) -> None:
    """Of tables that ``create_all`` made for this consumer (``ours``) the first revision is written down.

    Raises ``MigrationError`` when tables of its names are somebody else's, or do not have its columns.
    """
    first = MetaData()
    with made_in_memory(scripts, str(scripts.get_base())) as made:
        first.reflect(made)
    strange = sorted(first.tables.keys() & set(inspect(connection).get_table_names()))
    if strange and not ours:
        raise MigrationError(
            f"{_whose(consumer)} finds tables in its database that it has not made ({', '.join(strange)}). "
            "Give it a database of its own with DATABASE_URL"
        )
    if ours and (left := lacking(connection, first.tables.values())):
        raise MigrationError(
            f"{_whose(consumer)}: its tables were created by older code than its first revision, and lack "
            f"{left}. Add that by hand, or give it an empty database"
        )
    if ours:
        _write_down(connection, consumer.name, str(scripts.get_base()))


def _write_down(connection: Connection, consumer: str, revision: str) -> None:
    """Make ``revision`` that of ``consumer``, with no step run."""
    table = Table(version_table(consumer), MetaData(), Column("version_num", String(32), primary_key=True))
    table.create(connection, checkfirst=True)
    if connection.execute(update(table).values(version_num=revision)).rowcount == 0:
        connection.execute(table.insert().values(version_num=revision))


def _whose(consumer: type[Tables]) -> str:
    return f"consumer {consumer.name}" if consumer.name else "the worker"


@contextmanager
def made_in_memory(scripts: ScriptDirectory, revision: str = "head") -> Iterator[Connection]:
    """A database in memory with what the revisions make, up to ``revision``."""
    engine = create_engine("sqlite://")
    try:
        with engine.connect() as connection:
            _run(connection, scripts, "version", to=revision)
            connection.exec_driver_sql("DROP TABLE version")
            yield connection
    finally:
        engine.dispose()
