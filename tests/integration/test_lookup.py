"""Whom a name, a number or a title means, by the consumers' tables, on SQLite and on PostgreSQL alike."""

import secrets
from collections.abc import AsyncIterator

import pytest
from sqlalchemy import make_url, text

from dingbridge import Reader, open_database
from dingbridge.console.lookup.hits import Hit
from dingbridge.console.lookup.lookup import LookedUp, look_up
from dingbridge.console.sources.databases import Databases
from dingbridge.consumers.address_sync.tables import metadata
from tests.support.company import NOW, fill


@pytest.fixture
async def databases(database_url: str) -> AsyncIterator[Databases]:
    await fill(database_url)
    found = Databases(lambda _: database_url)
    yield found
    await found.close()


def ids(found: LookedUp) -> list[tuple[str, str | None]]:
    return [(hit.kind, hit.id) for hit in found.hits]


MEANT = {
    "张三": [("person", "u-1"), ("person", "u-2"), ("approval", "pi-1")],
    "zhang san": [("person", "u-3")],
    "8000": [("person", "u-1"), ("person", "u-2")],
    "+86-13800138000": [("person", "u-1")],
    "+86 138 0013 8000": [("person", "u-1")],
    "000": [],
    "a-17": [],
    "A-17": [("person", "u-1")],
    "u-4": [("person", "u-4")],
    "采购一组": [("person", "u-1"), ("department", "8")],
    "张三 采购": [("person", "u-1")],
    "D-07": [("department", "7")],
    "7": [("department", "7")],
    "202611270001": [("approval", "pi-1")],
    "提交的采购": [("approval", "pi-2")],
    "pi-2": [("approval", "pi-2")],
    "QJ 1": [("request", "pi-1")],
    "TD-1": [("request", None)],
    "OA-1024": [("request", "u-1")],
    "%_": [("person", "u-5"), ("department", "9")],
    "%%": [],
    "'; DROP TABLE users; --": [],
    "9" * 40: [],
    "９９９９": [],
}


async def test_a_reader_finds_who_is_meant(databases: Databases) -> None:
    found = {terms: await look_up(databases, terms.split(), people=True) for terms in MEANT}
    assert {terms: ids(meant) for terms, meant in found.items()} == MEANT
    assert not any(meant.troubles for meant in found.values())


async def test_what_is_shown_of_a_person(databases: Databases) -> None:
    [person] = (await look_up(databases, ["A-17"], people=True)).hits
    assert (person.name, person.beside, person.state) == ("张三", "采购部, 采购一组", None)
    [left] = (await look_up(databases, ["李四", "u-4"], people=True)).hits
    assert left.state == "left"


async def test_more_than_are_shown_are_told(databases: Databases, database_url: str) -> None:
    opened = open_database(database_url)
    users = metadata.tables["users"]
    async with opened.transaction() as tx:
        row = {"corp_id": "ding1", "name": "王", "updated_at": NOW, "details_pending": False}
        for n in range(21):
            await tx.execute(users.insert(), row | {"userid": f"w{n}"})
    await opened.close()
    found = await look_up(databases, ["王"], people=True)
    assert len(found.hits) == 20
    assert found.more == {"person"}


async def test_a_consumer_without_tables_is_named(database_url: str) -> None:
    opened = open_database(database_url)
    await opened.create_tables(metadata)
    await opened.close()
    databases = Databases(lambda _: database_url)
    found = await look_up(databases, ["张三"], people=True)
    await databases.close()
    assert found.troubles == {"approval": "absent", "outbound": "absent"}


SLOW = {
    "sqlite": "WITH RECURSIVE n(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM n) SELECT count(*) FROM n",
    "postgresql": "SELECT pg_sleep(600)",
}


LIMIT = {"sqlite": "TIMEOUT_S", "postgresql": "READ_LIMIT_S"}


async def test_a_search_that_takes_too_long_is_ended(
    databases: Databases, database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    kind = database_url.partition(":")[0]
    monkeypatch.setattr(f"dingbridge.console.sources.databases.{LIMIT[kind]}", 0.2)

    async def slow(reader: Reader, terms: object) -> list[Hit]:
        await reader.execute(text(SLOW[kind]))
        return []

    monkeypatch.setattr("dingbridge.console.lookup.lookup.find_departments", slow)
    found = await look_up(databases, ["张三"], people=True)
    assert found.troubles == {"address-sync": "silent"}
    assert ids(found) == [("person", "u-1"), ("person", "u-2"), ("approval", "pi-1")]


async def test_a_table_that_the_console_may_not_read_is_told(postgres_url: str) -> None:
    await fill(postgres_url)
    owner = open_database(postgres_url)
    url = make_url(postgres_url).set(username=f"console_{secrets.token_hex(4)}", password="a-password")
    try:
        async with owner.transaction() as tx:
            await tx.execute(text(f"CREATE ROLE {url.username} LOGIN PASSWORD '{url.password}'"))
            for table in ("users", "departments", "memberships"):
                await tx.execute(text(f"GRANT SELECT ON {table} TO {url.username}"))
        databases = Databases(lambda _: url.render_as_string(hide_password=False))
        found = await look_up(databases, ["张三"], people=True)
        await databases.close()
        assert ids(found) == [("person", "u-1"), ("person", "u-2")]
        assert found.troubles == {"approval": "absent", "outbound": "absent"}
    finally:
        async with owner.transaction() as tx:
            await tx.execute(text(f"DROP OWNED BY {url.username}"))
            await tx.execute(text(f"DROP ROLE {url.username}"))
        await owner.close()
