"""Migrations: models and revisions agree, and ``consumers migrate`` writes the missing revision."""

import asyncio
import importlib
import sys
from itertools import count
from pathlib import Path

import pytest
from sqlalchemy import Column, MetaData, Table, Text, inspect, select, text

from dingbridge import Consumer, open_database
from dingbridge.cli.consumer_file import load as load_consumer
from dingbridge.cli.consumers.migrate import migrate as command
from dingbridge.cli.consumers.revision import missing_revision
from dingbridge.consumers.address_sync import AddressSync
from dingbridge.errors import BridgeError
from dingbridge.migrations.upgrade import MigrationError, scripts_of, version_table
from dingbridge.worker.registry import known_consumers
from dingbridge.worker.store.migrations import WorkerTables, migrate
from tests.support.migrations import differences, revision

FIRST = """
import sqlalchemy as sa
from alembic import op
revision = "0001"
down_revision = None
def upgrade():
    op.create_table("bills", sa.Column("id", sa.Text, primary_key=True), sa.Column("amount", sa.Text))
"""


SECOND = """
import sqlalchemy as sa
from alembic import op
revision = "0002"
down_revision = "0001"
def upgrade():
    op.add_column("bills", sa.Column("currency", sa.Text, server_default="CNY"))
    {more}
"""


def code(migrations, *more, others=()):
    """A consumer class with ``bills`` of two columns and ``more``; ``others`` are tables beside it."""
    tables = MetaData()
    Table("bills", tables, Column("id", Text, primary_key=True), Column("amount", Text), *more)
    for name in others:
        Table(name, tables, Column("id", Text, primary_key=True))
    about = {"name": "billing"}
    return type("Billing", (Consumer,), {**about, "metadata": tables, "migrations": migrations})


numbers = count()
"""No two tests have a package of the same name: what was read of one is remembered."""


@pytest.fixture
async def database(tmp_path):
    opened = open_database(f"sqlite:///{tmp_path / 'test.db'}")
    yield opened
    await opened.close()


@pytest.fixture
def billing(tmp_path, monkeypatch):
    """A consumer class whose migrations a test writes: ``billing({"v0001": …})``."""
    monkeypatch.syspath_prepend(tmp_path)

    def made(**files):
        package = f"revisions_{next(numbers)}"
        folder = tmp_path / package
        folder.mkdir()
        for name, source in {"__init__": "", **files}.items():
            (folder / f"{name}.py").write_text(source)
        return code(package)

    yield made
    for name in [name for name in sys.modules if name.startswith("revisions_")]:
        del sys.modules[name]


def with_migrations():
    return [WorkerTables, *(c for c in known_consumers().values() if c.migrations is not None)]


@pytest.mark.parametrize("consumer", with_migrations(), ids=lambda c: c.name or "worker")
async def test_models_and_migrations_agree(database, consumer):
    assert await differences(database, consumer, consumer.metadata) == []


async def test_a_column_that_no_migration_makes_is_noticed(database):
    changed = MetaData()
    for table in AddressSync.metadata.sorted_tables:
        table.to_metadata(changed)
    changed.tables["users"].append_column(Column("shoe_size", Text))
    [(what, _, table, column)] = await differences(database, AddressSync, changed)
    assert (what, table, column.name) == ("add_column", "users", "shoe_size")


async def test_a_database_that_a_newer_version_migrated_is_refused_in_words(database, billing):
    await migrate(database, billing(v0001=FIRST, v0002=SECOND.format(more="")))
    with pytest.raises(
        MigrationError, match=r"at revision 0002, which this version does not know.*copy from before"
    ):
        await migrate(database, billing(v0001=FIRST))


async def test_tables_of_somebody_else_are_refused_in_words(database, billing):
    async with database.transaction() as tx:
        await tx.execute(text("CREATE TABLE bills (id TEXT, total INTEGER)"))
    with pytest.raises(MigrationError, match=r"have not made \(bills\).*database of its own"):
        await migrate(database, billing(v0001=FIRST))


async def test_a_migration_that_fails_leaves_everything_as_it_was(database, billing):
    await migrate(database, billing(v0001=FIRST))
    with pytest.raises(ZeroDivisionError):
        await migrate(database, billing(v0001=FIRST, v0002=SECOND.format(more="1 / 0")))
    async with database.reading() as connection:
        columns = await connection.run_sync(lambda c: [i["name"] for i in inspect(c).get_columns("bills")])
    assert columns == ["id", "amount"]
    assert await revision(database, billing(v0001=FIRST)) == "0001"


async def test_consumers_in_one_database_have_versions_of_their_own(database, billing):
    consumer = billing(v0001=FIRST)
    await migrate(database, AddressSync)
    await migrate(database, consumer)
    assert await revision(database, consumer) == "0001"
    assert version_table("address-sync") == "dingbridge_version_address_sync"


async def test_tables_that_others_added_to_the_metadata_are_created(database, billing):
    consumer = billing(v0001=FIRST)  # and then an actions module is loaded
    ledger = Table("ledger", consumer.metadata, Column("id", Text, primary_key=True))
    await migrate(database, consumer)
    assert (await database.reader().execute(select(ledger))).all() == []
    ledger.append_column(Column("days", Text))
    with pytest.raises(
        MigrationError, match=r"lacks ledger\.days.*: ALTER TABLE ledger ADD COLUMN days TEXT"
    ):
        await migrate(database, consumer)


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        (
            {"others": ["ledger"]},
            "lacks ledger.*If no revision makes that.*consumers migrate billing --write.* restore it",
        ),
        ({"more": "currency"}, r"lacks bills\.currency.*If no revision makes that"),
    ],
)
async def test_what_no_revision_makes_is_refused_with_the_command_that_writes_it(
    database, billing, changed, words
):
    package = billing(v0001=FIRST).migrations
    more = [Column(changed["more"], Text)] if "more" in changed else []
    consumer = code(package, *more, others=changed.get("others", ()))
    for _ in range(2):
        with pytest.raises(MigrationError, match=words):
            await migrate(database, consumer)
    assert await tables_of(database) == [], "and nothing was made"


async def test_a_database_that_was_made_otherwise_is_refused_with_the_statement_that_mends_it(
    database, billing
):
    consumer = billing(v0001=FIRST)
    await migrate(database, consumer)
    async with database.transaction() as tx:
        await tx.execute(text("ALTER TABLE bills DROP COLUMN amount"))
    with pytest.raises(MigrationError, match=r"by hand: ALTER TABLE bills ADD COLUMN amount TEXT"):
        await migrate(database, consumer)


async def test_without_migrations_missing_tables_are_created_and_missing_columns_refused(database):
    await migrate(database, code(None))
    await migrate(database, code(None, others=["ledger"]))
    assert {"bills", "ledger"} <= set(await tables_of(database))
    with pytest.raises(
        MigrationError, match=r"lacks bills\.note.*code that made them.*consumers migrate billing --write"
    ):
        await migrate(database, code(None, Column("note", Text)))


async def test_tables_of_release_0_1_0_are_those_of_the_first_revision(database, billing):
    consumer = billing(v0001=FIRST, v0002=SECOND.format(more=""))
    await migrate(database, code(None))
    async with database.transaction() as tx:
        table = version_table("billing")
        await tx.execute(text(f"CREATE TABLE {table} (version_num VARCHAR(32) PRIMARY KEY)"))
        await tx.execute(text(f"INSERT INTO {table} VALUES ('created')"))
    await migrate(database, code(None))
    await migrate(database, consumer)
    assert await revision(database, consumer) == "0002"
    assert (await database.reader().execute(text("SELECT id, amount, currency FROM bills"))).all() == []


async def tables_of(database):
    async with database.reading() as connection:
        return await connection.run_sync(lambda c: inspect(c).get_table_names())


def test_version_tables_fit_into_postgresqls_identifiers():
    names = {version_table("a" * 99 + end) for end in "bc"}
    assert len(names) == 2
    assert max(map(len, names)) <= 63


@pytest.mark.parametrize("package", ["nowhere", "nowhere.at.all"])
def test_a_package_of_revisions_that_is_not_there_is_said(package: str) -> None:
    with pytest.raises(MigrationError, match=rf"no package {package}.*check `migrations` in the consumer's"):
        scripts_of(package)


# -- ``dingbridge consumers migrate`` writes the missing revision


TITLE = 'Column("title", Text)'


MORE = (
    f'{TITLE}, Column("at", UtcDateTime), Column("n", Text, nullable=False, server_default="x"), '
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


async def start(consumer):
    """What a start does with the tables; the columns of each then."""
    loaded = load_consumer(consumer)
    database = open_database(f"sqlite:///{Path(consumer).parent.parent / 'billing.db'}")
    try:
        await migrate(database, loaded)
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
    """The first with the code that they were made by; the second with what is new."""
    await start(author(TITLE))
    with pytest.raises(MigrationError, match="consumers migrate billing --write"):
        await start(author(MORE, more=LEDGER))
    await run(author(TITLE), write=True)
    changed = author(MORE, migrations=True, more=LEDGER)
    await run(changed)
    with pytest.raises(MigrationError):
        await start(changed)  # shown, and not written
    await run(changed, write=True, message="more of them")
    names = sorted(path.name for path in Path(changed).parent.glob("migrations/v*.py"))
    assert names == ["v0001_bills.py", "v0002_more_of_them.py"]
    tables = await start(author(MORE, migrations=True, more=LEDGER))
    assert tables == {"bills": ["id", "title", "at", "n", "j"], "ledger": ["id"]}


async def test_an_empty_database_gets_one_revision_and_each_change_another(author):
    await run(author(TITLE), write=True)
    assert await start(author(TITLE, migrations=True)) == {"bills": ["id", "title"]}
    changed = author(MORE, migrations=True)
    await run(changed, write=True)
    assert missing_revision(load_consumer(changed)).files == ()
    assert await start(changed) == {"bills": ["id", "title", "at", "n", "j"]}


def test_a_column_without_a_value_for_the_rows_that_there_are_is_refused(author, capsys):
    command(author(TITLE), write=True)
    changed = author(f'{TITLE}, Column("n", Text, nullable=False)', migrations=True)
    with pytest.raises(BridgeError, match=r"bills\.n may not be NULL.*server_default"):
        command(changed)
    command(author(TITLE, migrations=True))
    assert "No revision is missing" in capsys.readouterr().err
