"""``dingbridge consumers migrate``: the revision that it writes is the one that is missing."""

import asyncio
import importlib
import sys
from contextlib import asynccontextmanager
from itertools import count
from pathlib import Path
from types import SimpleNamespace
from unittest.mock import AsyncMock

import pytest
import typer
from sqlalchemy import inspect

from dingbridge import open_database
from dingbridge.cli.consumer_file import load as load_consumer
from dingbridge.cli.consumers import down
from dingbridge.cli.consumers.migrate import migrate as command
from dingbridge.errors import BridgeError, KafkaUnavailable
from dingbridge.kafka.admin import explaining
from dingbridge.migrations.upgrade import MigrationError, lacking_after_revisions, scripts_of
from dingbridge.worker.store import inbox
from dingbridge.worker.store.migrations import WorkerTables, migrate, migrate_down

FIRST = 'Column("title", Text)'
MORE = (
    f'{FIRST}, Column("at", UtcDateTime), Column("n", Text, nullable=False, server_default="x"), '
    'Column("j", JSON().with_variant(JSONB(), "postgresql")), Index("i", "at"), '
    'UniqueConstraint("title", "n")'
)
CONSUMER = """
from sqlalchemy import JSON, Column, Index, MetaData, Table, Text, UniqueConstraint
from sqlalchemy.dialects.postgresql import JSONB
from dingbridge import Consumer, UtcDateTime

tables = MetaData()
Table("bills", tables, Column("id", Text, primary_key=True), {columns})
{more}

class Billing(Consumer):
    name = "billing"
    topics = ("user_add_org",)
    metadata = tables
    migrations = {migrations!r}

    async def handle(self, event, tx, prepared): ...
"""
LEDGER = 'Table("ledger", tables, Column("id", Text, primary_key=True))'
numbers = count()


@pytest.fixture
def author(tmp_path, monkeypatch):
    """An author who changes a file: ``author(columns, migrations)`` is the consumer's address afterwards."""
    monkeypatch.setenv("DATA_DIR", str(tmp_path))
    monkeypatch.setattr(sys, "path", [*sys.path])
    package = f"author_{next(numbers)}"
    folder = tmp_path / package
    folder.mkdir()
    (folder / "__init__.py").touch()

    def changes(columns, *, migrations=False, more=""):
        for name in [name for name in sys.modules if name.startswith(package)]:
            del sys.modules[name]
        scripts_of.cache_clear()
        importlib.invalidate_caches()
        revisions = f"{package}.migrations" if migrations else None
        source = CONSUMER.format(columns=columns, migrations=revisions, more=more)
        (folder / f"consumer{next(numbers)}.py").write_text(source)
        file = max(folder.glob("consumer*.py"), key=lambda path: int(path.stem.removeprefix("consumer")))
        return f"{file}:Billing"

    yield changes
    for name in [name for name in sys.modules if name.startswith(package)]:
        del sys.modules[name]


async def start(consumer, *, back_to=None):
    """What a start does with the tables, or going back; the columns of each then."""
    loaded = load_consumer(consumer)
    database = open_database(f"sqlite:///{Path(consumer).parent.parent / 'billing.db'}")
    try:
        await (migrate(database, loaded) if back_to is None else migrate_down(database, loaded, back_to))
        async with database.reading() as connection:
            return await connection.run_sync(
                lambda c: {
                    table: [column["name"] for column in inspect(c).get_columns(table)]
                    for table in inspect(c).get_table_names()
                    if not table.startswith("dingbridge")
                }
            )
    finally:
        await database.close()


async def run(consumer, **options):
    await asyncio.to_thread(command, consumer, **options)  # it has an event loop of its own
    scripts_of.cache_clear()


async def test_tables_that_were_created_get_their_first_revisions(author):
    await start(author(FIRST))
    changed = author(MORE, more=LEDGER)
    with pytest.raises(MigrationError, match="consumers migrate billing --write"):
        await start(changed)
    await run(changed)
    with pytest.raises(MigrationError):
        await start(changed)  # shown, and not written
    await run(changed, write=True, message="more of them")
    names = sorted(path.name for path in Path(changed).parent.glob("migrations/v*.py"))
    assert names == ["v0001_the_first_tables.py", "v0002_more_of_them.py"]
    tables = await start(author(MORE, migrations=True, more=LEDGER))
    assert tables == {"bills": ["id", "title", "at", "n", "j"], "ledger": ["id"]}


async def test_an_empty_database_gets_one_revision_and_each_change_another(author):
    await run(author(FIRST), write=True)
    assert await start(author(FIRST, migrations=True)) == {"bills": ["id", "title"]}
    changed = author(MORE, migrations=True)
    await run(changed, write=True)
    assert not lacking_after_revisions(load_consumer(changed))
    assert await start(changed) == {"bills": ["id", "title", "at", "n", "j"]}
    assert await start(changed, back_to="0001") == {"bills": ["id", "title"]}


@pytest.mark.parametrize("options", [{"worker": True}, {"down": "0001", "write": True}])
def test_options_that_do_not_belong_together_are_refused(author, options):
    with pytest.raises(typer.BadParameter, match="--down"):
        command(author(FIRST), **options)


@pytest.mark.parametrize(
    ("answer", "error", "words"),
    [
        ({"error_code": 30, "members": []}, KafkaUnavailable, "does not allow this"),
        ({"error_code": 0, "members": [{}, {}]}, BridgeError, r"run: billing \(2\), elsewhere \(2\)\. Noth"),
    ],
)
def test_the_way_back_waits_until_kafka_says_that_nobody_is_in_the_group(
    author, monkeypatch, answer, error, words
):
    @asynccontextmanager
    async def admin(settings):
        with explaining(settings):
            yield SimpleNamespace(find_coordinator=AsyncMock(return_value=1))

    monkeypatch.setattr(down, "admin_client", admin)
    monkeypatch.setattr(down, "describe_groups", AsyncMock(return_value=[answer]))
    consumer = author(FIRST)

    async def others() -> None:
        """One that is not installed here has worked with the database as well."""
        database = open_database(f"sqlite:///{Path(consumer).parent.parent / 'billing.db'}")
        await migrate(database, WorkerTables)
        await inbox.register(database, "elsewhere", ["user_add_org"])
        await database.close()

    asyncio.run(others())
    with pytest.raises(error, match=words):
        command(consumer, down="0001", worker=True)


def test_a_column_without_a_value_for_the_rows_that_there_are_is_refused(author, capsys):
    command(author(FIRST), write=True)
    changed = author(f'{FIRST}, Column("n", Text, nullable=False)', migrations=True)
    with pytest.raises(BridgeError, match=r"bills\.n may not be NULL.*server_default"):
        command(changed)
    command(author(FIRST, migrations=True))
    assert "No revision is missing" in capsys.readouterr().err
