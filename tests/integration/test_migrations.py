"""Migrations on both databases, and by processes that start at the same moment."""

import asyncio
import sys

import pytest
from sqlalchemy import Column, Index, MetaData, Table, Text

from dingbridge import Consumer, UtcDateTime, open_database
from dingbridge.cli.consumers.revision import missing_revision
from dingbridge.worker.registry import known_consumers
from dingbridge.worker.store.migrations import migrate
from tests.support.migrations import differences, revision
from tests.support.sizes import sized

START = """
import asyncio, sys
from dingbridge import open_database
from dingbridge.worker.store.migrations import migrate
from dingbridge.worker.registry import load_consumer

async def main():
    database = open_database(sys.argv[1])
    print("ready", flush=True)
    sys.stdin.readline()
    await migrate(database, load_consumer("address-sync"))
    await database.close()

asyncio.run(main())
"""


async def test_models_and_migrations_agree_on_this_database(database_url):
    database = open_database(database_url)
    try:
        for consumer in known_consumers().values():
            if consumer.migrations is not None:
                assert await differences(database, consumer, consumer.metadata) == [], consumer.name
    finally:
        await database.close()


@pytest.mark.parametrize("count", [sized(3, 4)])
async def test_processes_that_start_at_once_migrate_once(database_url, count):
    pipe = asyncio.subprocess.PIPE
    starts = [
        await asyncio.create_subprocess_exec(
            sys.executable, "-c", START, database_url, stdin=pipe, stdout=pipe, stderr=pipe
        )
        for _ in range(count)
    ]
    for process in starts:
        assert await process.stdout.readline() == b"ready\n"
    ended = await asyncio.gather(*(process.communicate(b"go\n") for process in starts))
    assert [process.returncode for process in starts] == [0] * count, ended
    address_sync = known_consumers()["address-sync"]
    database = open_database(database_url)
    try:
        assert await differences(database, address_sync, address_sync.metadata) == []
        assert await revision(database, address_sync)
    finally:
        await database.close()


async def test_a_first_revision_runs_where_the_consumer_has_made_its_tables_before(
    database_url, tmp_path, monkeypatch
):
    tables = MetaData()
    columns = (Column("id", Text, primary_key=True), Column("at", UtcDateTime))
    Table("bills", tables, *columns, Index("by_at", "at"))
    about = {"name": "billing", "metadata": tables, "__module__": __name__}
    before = type("Billing", (Consumer,), about)
    folder = tmp_path / "first_revisions"
    folder.mkdir()
    for file in missing_revision(before).files:
        (folder / file.path.name).write_text(file.text)
    monkeypatch.syspath_prepend(tmp_path)
    after = type("Billing", (Consumer,), {**about, "migrations": folder.name})
    database = open_database(database_url)
    try:
        await migrate(database, before)
        await migrate(database, after)
        assert await revision(database, after) == "0001"
        assert await differences(database, after, tables) == []
    finally:
        await database.close()
