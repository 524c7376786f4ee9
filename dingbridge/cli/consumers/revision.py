"""The revision that is missing between a consumer's code and its revisions, as the source of a module.

Alembic compares the code with a database in memory in which the revisions have run. Only additions are taken:
tables, columns, indexes. What the code no longer has stays in the database. For a changed type the author
writes a revision.
"""

import importlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from alembic import command
from alembic.autogenerate.api import AutogenContext
from alembic.operations import ops
from sqlalchemy import create_engine
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.types import TypeDecorator, TypeEngine

import dingbridge
from dingbridge.errors import BridgeError
from dingbridge.migrations.upgrade import configuration, scripts_of
from dingbridge.worker.consumer import Consumer

Operation = ops.CreateTableOp | ops.AddColumnOp | ops.CreateIndexOp


@dataclass(frozen=True, slots=True)
class SourceFile:
    """A file to be written, and its text."""

    path: Path
    text: str


@dataclass(frozen=True, slots=True)
class Missing:
    """The files of the revision that is missing, none if none is, and what to do with them (``hint``)."""

    files: Sequence[SourceFile]
    hint: str


def missing_revision(consumer: type[Consumer], message: str = "") -> Missing:
    """Compare the code of ``consumer`` with what its revisions make.

    Raises ``BridgeError`` for a consumer without tables, and for a column that rows could not be given.
    """
    if consumer.metadata is None:
        raise BridgeError(f"consumer {consumer.name} has no tables of its own (`metadata`)")
    made = _generated(consumer, message)
    if made is None:
        return Missing((), "")
    name, text = made
    if consumer.migrations is not None:
        folder = Path(scripts_of(consumer.migrations).dir)
        return Missing([SourceFile(folder / name, text)], "Start the consumer again: it runs it.")
    package, folder = _package(consumer)
    first = SourceFile(folder / "__init__.py", f'"""The revisions of the tables of {consumer.name}."""\n')
    return Missing(
        [first, SourceFile(folder / name, text)],
        f'Set `migrations = "{package}"` in {consumer.__qualname__}, let the package ship with yours, and '
        "start the consumer again. A table that is there already is left as it is. So this revision must "
        "hold what your databases have: if the code has more by now, write it with the code of before",
    )


def _generated(consumer: type[Consumer], message: str) -> tuple[str, str] | None:
    """The name and the text of the revision that is missing, None if none is."""

    def additions(context: object, revision: object, directives: list[ops.MigrationScript]) -> None:
        (script,) = directives
        upgrade = script.upgrade_ops
        if upgrade is None or not (found := _additions(upgrade)):
            directives.clear()
            return
        if consumer.migrations is None:  # its tables are there already, wherever it ran
            for one in found:
                if not isinstance(one, ops.AddColumnOp):
                    one.if_not_exists = True
        upgrade.ops[:], script.downgrade_ops = found, ops.DowngradeOps([])
        script.message = message or _named(found)

    def ours(item: Any, name: str | None, kind: str, reflected: bool, compared: Any) -> bool:
        return not (kind == "table" and name not in consumer.own_tables)

    engine = create_engine("sqlite://")
    try:
        with TemporaryDirectory() as scratch, engine.connect() as connection:
            config = configuration(
                connection,
                consumer,
                Path(scratch),
                target_metadata=consumer.metadata,
                include_object=ours,
                compare_type=False,
                render_item=_own_type,
            )
            count = 0
            if consumer.migrations is not None:
                command.upgrade(config, "head")
                count = len(list(scripts_of(consumer.migrations).walk_revisions()))
            command.revision(
                config,
                autogenerate=True,
                version_path=scratch,
                rev_id=f"{count + 1:04}",
                process_revision_directives=additions,
            )
            written = next(Path(scratch).glob("*.py"), None)
            return None if written is None else (written.name, written.read_text(encoding="utf-8"))
    finally:
        engine.dispose()


def _additions(found: ops.UpgradeOps) -> list[Operation]:
    """Raises ``BridgeError`` for a column that the rows that there are could not be given."""
    flat = [
        inner for one in found.ops for inner in (one.ops if isinstance(one, ops.ModifyTableOps) else (one,))
    ]
    kept = [one for one in flat if isinstance(one, Operation)]
    for one in kept:
        if isinstance(one, ops.AddColumnOp) and not (one.column.nullable or one.column.server_default):
            raise BridgeError(
                f"{one.table_name}.{one.column.name} may not be NULL, and the rows that there are have no "
                "value for it: give the column a server_default, or nullable=True"
            )
    return kept


def _named(operations: Sequence[Operation]) -> str:
    """What the operations add, as ``bills.title, ledger``."""
    added = [
        f"{one.table_name}.{one.column.name}" if isinstance(one, ops.AddColumnOp) else str(one.table_name)
        for one in operations
        if not isinstance(one, ops.CreateIndexOp)
    ]
    return ", ".join(added) or "indexes"


def _own_type(kind: str, item: object, context: AutogenContext) -> str | bool:
    """Render a type that is not SQLAlchemy's own by its name."""
    if kind != "type" or not isinstance(item, TypeEngine | TypeDecorator):
        return False
    cls = type(item)
    if cls is JSONB:  # Alembic renders the type of its text without a module
        context.imports.add("from sqlalchemy.dialects import postgresql")
        return "postgresql.JSONB()"
    if cls.__module__.split(".")[0] == "sqlalchemy":
        return False
    ours = getattr(dingbridge, cls.__qualname__, None) is cls
    context.imports.add(f"from {'dingbridge' if ours else cls.__module__} import {cls.__qualname__}")
    return repr(item) if not isinstance(item, TypeDecorator) else f"{cls.__qualname__}()"


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
