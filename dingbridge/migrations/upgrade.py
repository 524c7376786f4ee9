"""The revisions of a consumer's tables, run and compared on one connection by Alembic's commands.

A consumer's ``migrations`` names the package with its revisions, ``v0001_….py`` and so on. Each consumer
has its own version table, so several consumers may share a database. Tables in no revision are created
when they are missing: those of a consumer without ``migrations``, and those that others add to ``metadata``.
Columns that a setting has added (``FROM_SETTINGS``) are, too.

``dingbridge/worker/store/migrations.py`` has the transaction around it.
"""

import re
import zlib
from argparse import Namespace
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any, ClassVar, Final, Protocol

from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from alembic.util import CommandError
from sqlalchemy import Connection, MetaData, inspect
from sqlalchemy.exc import DBAPIError

from dingbridge.errors import BridgeError
from dingbridge.migrations.lacking_columns import FROM_SETTINGS, Lacking, lacking

LONGEST_NAME: Final = 63
"""Bytes of an identifier in PostgreSQL."""

CREATED_BY_0_1_0: Final = "created"
"""The revision that release 0.1.0 wrote down for tables of a consumer without ``migrations``."""


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
    in_revisions = consumer.own_tables if consumer.migrations is not None else frozenset[str]()
    consumer.metadata.create_all(connection, [table for table in tables if table.name not in in_revisions])
    before = lacking(connection, tables)
    for column, statement in zip(before.columns, before.statements, strict=True):
        if column.info.get(FROM_SETTINGS):
            connection.exec_driver_sql(statement)
    if left := lacking(connection, tables):
        raise MigrationError(f"{_whose(consumer)}: the database lacks {left}. {_remedy(consumer, left)}")
    return revisions


def _remedy(consumer: type[Tables], left: Lacking) -> str:
    write = f"`dingbridge consumers migrate {consumer.name or 'NAME'} --write`"
    if consumer.migrations is None:
        return (
            "The code has that, and tables that exist are not changed unasked. With the code that made them, "
            f"{write} (or path/to/file.py:{consumer.__name__}) writes the first revision; then with this "
            "code, the second"
        )
    by_hand = "; ".join(left.statements) or "restore it, or give the consumer an empty one"
    return f"If no revision makes that, {write} writes it. Else the database was changed by hand: {by_hand}"


def upgrade(connection: Connection, consumer: type[Tables]) -> tuple[str | None, str | None]:
    """Run what is missing of the revisions of ``consumer`` in the transaction of ``connection``, and nothing
    else; returns the revision before (None: none) and after. Raises ``MigrationError``, or the database's own
    error."""
    scripts = scripts_of(str(consumer.migrations))
    before, head = _revision(connection, consumer), scripts.get_current_head()
    if before == head:
        return before, head
    if before not in {None, CREATED_BY_0_1_0, *(script.revision for script in scripts.walk_revisions())}:
        raise MigrationError(
            f"the tables of {_whose(consumer)} are at revision {before}, which this version does not "
            "know: a newer version has been here. Run that one; or put the database's copy from before back"
        )
    config = configuration(connection, consumer)
    if before == CREATED_BY_0_1_0:
        command.stamp(config, str(scripts.get_base()), purge=True)
    there = consumer.own_tables & set(inspect(connection).get_table_names()) if before is None else set()
    try:
        command.upgrade(config, "head")
    except DBAPIError as error:
        if not there:
            raise
        raise MigrationError(
            f"{_whose(consumer)} finds tables in its database that its revisions have not made "
            f"({', '.join(sorted(there))}). If they are its own, from before it had revisions, its first "
            "revision needs if_not_exists=True; else give it a database of its own with DATABASE_URL"
        ) from error
    return before, head


def version_table(consumer: str) -> str:
    """The table that holds the revision of ``consumer``: of at most 63 characters, as PostgreSQL has it."""
    if not consumer:
        return "dingbridge_version"
    name = f"dingbridge_version_{re.sub('[^a-z0-9]', '_', consumer)}"
    if len(name) <= LONGEST_NAME:
        return name
    return f"{name[: LONGEST_NAME - 9]}_{zlib.crc32(consumer.encode()):08x}"


def configuration(
    connection: Connection, consumer: type[Tables], scratch: Path | None = None, **options: Any
) -> Config:
    """The configuration of Alembic's commands for the tables of ``consumer``, on ``connection``.

    ``scratch`` is a folder that new revisions are written to, beside those of ``migrations``. ``options`` are
    of ``EnvironmentContext.configure``. Raises ``MigrationError`` as ``scripts_of`` does.
    """
    folders = [] if consumer.migrations is None else [scripts_of(consumer.migrations).dir]
    found = Config(
        cmd_opts=Namespace(quiet=True),
        attributes={
            "connection": connection,
            "options": {"version_table": version_table(consumer.name), **options},
        },
    )
    places = "\n".join([*folders, *([] if scratch is None else [str(scratch)])])
    for name, value in {
        "script_location": str(Path(__file__).with_name("environment")),
        "version_locations": places,
        "path_separator": "newline",
        "file_template": "v%(rev)s_%(slug)s",
    }.items():
        found.set_main_option(name, value.replace("%", "%%"))
    return found


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


def _revision(connection: Connection, consumer: type[Tables]) -> str | None:
    options = {"version_table": version_table(consumer.name)}
    return MigrationContext.configure(connection, opts=options).get_current_revision()


def _whose(consumer: type[Tables]) -> str:
    return f"consumer {consumer.name}" if consumer.name else "the worker"
