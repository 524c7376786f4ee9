"""The revision that is missing between a consumer's code and its tables, as the source of a module.

Alembic compares and renders; only what adds is taken: tables, columns, indexes. What the code no longer has
stays in the database, and a type that has changed is for the author's own revision.
"""

import importlib
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from alembic.autogenerate import produce_migrations, render_python_code
from alembic.autogenerate.api import AutogenContext
from alembic.operations import ops
from alembic.runtime.migration import MigrationContext
from sqlalchemy import Column, Connection, MetaData, create_engine
from sqlalchemy.schema import ColumnCollectionConstraint, SchemaItem
from sqlalchemy.types import TypeDecorator, TypeEngine

import dingbridge
from dingbridge.errors import BridgeError
from dingbridge.migrations.lacking_columns import Lacking, lacking
from dingbridge.migrations.upgrade import made_in_memory, scripts_of
from dingbridge.settings import ConsumerSettings
from dingbridge.worker.consumer import Consumer
from dingbridge.worker.outcomes import DependencyUnavailable
from dingbridge.worker.store.database import open_database

Operation = ops.CreateTableOp | ops.AddColumnOp | ops.CreateIndexOp

MODULE = '''"""{what}."""

import sqlalchemy as sa
from alembic import op
{imports}
revision = "{revision}"
down_revision = {before}


def upgrade() -> None:
    {body}
{down}'''


@dataclass(frozen=True, slots=True)
class SourceFile:
    """A file to be written, and its text."""

    path: Path
    text: str


@dataclass(frozen=True, slots=True)
class Missing:
    """The files of the revisions that are missing, none if none is, and what to do with them (``hint``)."""

    files: Sequence[SourceFile]
    hint: str


async def missing_revisions(consumer: type[Consumer], message: str = "") -> Missing:
    """Compare the code of ``consumer`` with what its revisions make, or without any with its database.

    Raises ``BridgeError`` for a consumer without tables, for a column that rows could not be given, and for a
    database that does not answer.
    """
    if consumer.metadata is None:
        raise BridgeError(f"consumer {consumer.name} has no tables of its own (`metadata`)")
    if consumer.migrations is None:
        return await _first(consumer, consumer.metadata, message)
    scripts = scripts_of(consumer.migrations)
    with made_in_memory(scripts) as connection:
        added = _operations(connection, consumer)
    if not added:
        return Missing((), "")
    head = scripts.get_current_head()
    number = len(list(scripts.walk_revisions())) + 1
    file = _module(Path(scripts.dir), number, head, added, message)
    return Missing([file], "Start the consumer again: it runs it.")


async def _first(consumer: type[Consumer], metadata: MetaData, message: str) -> Missing:
    """What its database holds as the first revision, what the code has besides as the second."""
    there, added = await _in_database(consumer, metadata)
    package, folder = _package(consumer)
    engine = create_engine("sqlite://")
    try:
        with engine.connect() as connection:
            everything = _operations(connection, consumer)
    finally:
        engine.dispose()
    as_it_is = everything if there is None else [one for one in map(_part(there, added), everything) if one]
    files = [
        SourceFile(folder / "__init__.py", f'"""The revisions of the tables of {consumer.name}."""\n'),
        _module(folder, 1, None, as_it_is, "the first tables"),
    ]
    if added:
        files.append(_module(folder, 2, "0001", added, message))
    return Missing(
        files,
        f'Set `migrations = "{package}"` in {consumer.__qualname__}, let the package ship with yours, and '
        "start the consumer again: tables that it created itself are taken over.",
    )


async def _in_database(
    consumer: type[Consumer], metadata: MetaData
) -> tuple[Lacking | None, Sequence[Operation]]:
    """What the database lacks (None: it is empty, or not there), and what would add that."""

    def look(connection: Connection) -> tuple[Lacking | None, Sequence[Operation]]:
        lack = lacking(connection, metadata.sorted_tables)
        empty = len(lack.tables) == len(metadata.tables)
        return (None, ()) if empty else (lack, _operations(connection, consumer))

    try:
        database = open_database(ConsumerSettings.load().database_url_for(consumer.name), create=False)
    except DependencyUnavailable:
        return None, ()
    try:
        async with database.reading() as connection:
            return await connection.run_sync(look)
    finally:
        await database.close()


def _part(there: Lacking, added: Sequence[Operation]) -> Any:
    """Takes off an operation what the database lacks; None when nothing is left of it."""
    new_indexes = {one.index_name for one in added if isinstance(one, ops.CreateIndexOp)}
    new_tables = {table.name for table in there.tables}
    new_columns = {(column.table.name, column.name) for column in there.columns}

    def of(operation: Operation) -> Operation | None:
        if operation.table_name in new_tables:
            return None
        if isinstance(operation, ops.CreateIndexOp):
            return None if operation.index_name in new_indexes else operation
        if isinstance(operation, ops.CreateTableOp):
            new = {column for table, column in new_columns if table == operation.table_name}
            operation.columns = [part for part in operation.columns if not new & _columns_of(part)]
        return operation

    return of


def _columns_of(part: SchemaItem) -> set[str]:
    """The column that ``part`` of a table is, or those that a constraint is about."""
    if isinstance(part, Column):
        return {part.name}
    return {column.name for column in part.columns} if isinstance(part, ColumnCollectionConstraint) else set()


def _operations(connection: Connection, consumer: type[Consumer]) -> list[Operation]:
    """What would add to the database of ``connection`` that the code has more."""

    def ours(item: Any, name: str | None, kind: str, reflected: bool, compared: Any) -> bool:
        return not (kind == "table" and name not in consumer.own_tables)

    options = {"include_object": ours, "compare_type": False}
    context = MigrationContext.configure(connection, opts=options)
    script = produce_migrations(context, consumer.metadata or MetaData())
    found: list[Any] = list(script.upgrade_ops.ops if script.upgrade_ops is not None else ())
    flat = [inner for one in found for inner in (one.ops if isinstance(one, ops.ModifyTableOps) else (one,))]
    kept = [one for one in flat if isinstance(one, Operation)]
    for one in kept:
        if isinstance(one, ops.AddColumnOp) and not (one.column.nullable or one.column.server_default):
            raise BridgeError(
                f"{one.table_name}.{one.column.name} may not be NULL, and the rows that there are have no "
                "value for it: give the column a server_default, or nullable=True"
            )
    return kept


def _module(
    folder: Path, number: int, before: str | None, operations: Sequence[Operation], message: str
) -> SourceFile:
    what = message or ", ".join(
        f"{one.table_name}.{one.column.name}" if isinstance(one, ops.AddColumnOp) else str(one.table_name)
        for one in operations
        if not isinstance(one, ops.CreateIndexOp)
    )
    what = what or "indexes"
    contexts: list[AutogenContext] = []
    body = _body(ops.UpgradeOps(ops=list(operations)), contexts)
    imports = {line for context in contexts[:1] for line in context.imports}
    # a table takes its indexes along, and the first revision has nothing before it
    made = {one.table_name for one in operations if isinstance(one, ops.CreateTableOp)}
    undone = [
        one.reverse()
        for one in reversed(operations)
        if not (isinstance(one, ops.CreateIndexOp) and one.table_name in made)
    ]
    down = f"\n\ndef downgrade() -> None:\n    {_body(ops.DowngradeOps(ops=undone), [])}\n" if before else ""
    slug = re.sub(r"[^a-z0-9]+", "_", what.lower()).strip("_")[:40].rstrip("_")
    revision = f"{number:04}"
    text = MODULE.format(
        what=what[:1].upper() + what[1:],
        imports="".join(f"\n{line}" for line in sorted(imports)) + ("\n" if imports else ""),
        revision=revision,
        before=None if before is None else f'"{before}"',
        body=body,
        down=down,
    )
    return SourceFile(folder / f"v{revision}_{slug}.py", text)


def _body(operations: ops.UpgradeOps | ops.DowngradeOps, contexts: list[AutogenContext]) -> str:
    rendered = render_python_code(operations, render_item=_own_type(contexts))
    lines = (line for line in rendered.splitlines() if not line.strip().startswith("# ###"))
    # Alembic renders the text inside PostgreSQL's JSONB without its module
    body = re.sub(r"^    sa\.", "        sa.", "\n".join(lines), flags=re.MULTILINE)
    return body.replace("=Text()", "=sa.Text()").strip()


def _own_type(contexts: list[AutogenContext]) -> Any:
    """Renders a type that is not SQLAlchemy's own by its name; ``contexts`` then knows the imports."""

    def render(kind: str, item: object, context: AutogenContext) -> str | bool:
        contexts.append(context)
        if kind != "type" or not isinstance(item, TypeEngine | TypeDecorator):
            return False
        cls = type(item)
        if cls.__module__.split(".")[0] == "sqlalchemy":
            return False
        ours = getattr(dingbridge, cls.__qualname__, None) is cls
        context.imports.add(f"from {'dingbridge' if ours else cls.__module__} import {cls.__qualname__}")
        return repr(item) if not isinstance(item, TypeDecorator) else f"{cls.__qualname__}()"

    return render


def _package(consumer: type[Consumer]) -> tuple[str, Path]:
    """The package for the revisions of a consumer that has none yet, beside its module, and its folder."""
    module = importlib.import_module(consumer.__module__)
    folder = Path(str(module.__file__)).parent
    package = consumer.__module__ if hasattr(module, "__path__") else consumer.__module__.rpartition(".")[0]
    name = "migrations" if package else f"{consumer.__module__}_migrations"
    return f"{package}.{name}".removeprefix("."), folder / name


def write_all(files: Sequence[SourceFile]) -> None:
    """Raises ``BridgeError`` for a file that exists, that is an installed copy, or that cannot be written."""
    for file in files:
        if "site-packages" in file.path.parts:
            raise BridgeError(f"{file.path} is an installed copy; install your sources with `pip install -e`")
        if file.path.exists():
            raise BridgeError(f"{file.path} is there already; remove it, or set `migrations`")
    try:
        for file in files:
            file.path.parent.mkdir(exist_ok=True)
            file.path.write_text(file.text, encoding="utf-8")
    except OSError as error:
        raise BridgeError(f"{error.filename} cannot be written ({error.strerror})") from error
