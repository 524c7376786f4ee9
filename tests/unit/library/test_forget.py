"""``dingbridge forget`` without DingTalk and Kafka: whose userid it is, in which order consumers are asked,
and what is said of those that cannot be."""

import asyncio
import json

import pytest
import typer
from sqlalchemy import Column, MetaData, Table, Text, delete, select
from typer.testing import CliRunner

from dingbridge import Consumer, Forgotten, open_database
from dingbridge.cli.forget import command, databases
from dingbridge.errors import SettingsError
from dingbridge.worker.outcomes import Conflict, DependencyUnavailable
from dingbridge.worker.registry import Installed

CORP = "dingcorp01"

app = typer.Typer()
app.command()(command)


class Desk(Consumer):
    """``trouble`` comes with the next calls of ``forget``, one each; None: with this one none."""

    trouble: tuple[Exception | None, ...] = ()

    async def handle(self, event, tx, prepared): ...


def desk(name, tells=True):
    metadata = MetaData()
    table = Table(name, metadata, Column("userid", Text, primary_key=True), Column("name", Text))

    async def forget(self, person, tx):
        cls = type(self)
        now, cls.trouble = cls.trouble[:1], cls.trouble[1:]
        for error in filter(None, now):
            raise error
        mine = table.c.userid == person.userid
        names = {row.name for row in await tx.execute(select(table.c.name).where(mine))}
        gone = await tx.execute(delete(table).where(mine | table.c.name.in_(person.texts)))
        return Forgotten({name: gone.rowcount}, texts=frozenset(names if tells else ()))

    own = {"name": name, "topics": ["user_add_org"], "metadata": metadata, "forget": forget}
    return type(name, (Desk,), own)


@pytest.fixture
def installed(monkeypatch, tmp_path):
    """``names`` and ``texts``, of which the second knows a person by the name alone; and the command."""
    consumers = [desk("names"), desk("texts", tells=False)]
    monkeypatch.setattr(
        databases, "installed_consumers", lambda: [Installed(c.name, "ours", c) for c in consumers]
    )
    for name, value in {
        "DATABASE_URL": f"sqlite:///{tmp_path / 'all.db'}",
        "DINGTALK_CORP_ID": CORP,
        "KAFKA_BOOTSTRAP_SERVERS": "127.0.0.1:1",
    }.items():
        monkeypatch.setenv(name, value)
    return consumers


@pytest.fixture
async def rows(installed, tmp_path):
    database = open_database(f"sqlite:///{tmp_path / 'all.db'}")
    names, texts = (one.metadata.tables[one.name] for one in installed)
    await database.create_tables(names.metadata, texts.metadata)
    async with database.transaction() as tx:
        await tx.execute(names.insert(), [{"userid": "u1", "name": "甲"}, {"userid": "u2", "name": "乙"}])
        await tx.execute(texts.insert(), [{"userid": "-", "name": "甲"}, {"userid": "u2", "name": "乙"}])

    async def read():
        return [
            (table.name, row.userid)
            for table in (names, texts)
            for row in await database.reader().execute(select(table).order_by(table.c.userid))
        ]

    yield read
    await database.close()


def run(*arguments):
    result = CliRunner().invoke(app, ["u1", *arguments])
    return result.exit_code, result.stdout, result.stderr, result.exception


async def told(monkeypatch, *arguments):
    """In a thread of its own, since the command has an event loop of its own."""
    code, out, err, error = await asyncio.to_thread(run, "--force", "--yes", "--json", *arguments)
    return code, json.loads(out or "{}"), err, error


async def test_what_one_knows_the_person_by_is_found_by_the_others(monkeypatch, rows):
    code, report, _, _ = await told(monkeypatch)
    assert (code, report["done"]) == (0, True)
    assert await rows() == [("names", "u2"), ("texts", "u2")]


@pytest.mark.parametrize("trouble", [DependencyUnavailable("the disk is full"), Conflict("another wrote")])
async def test_a_run_that_breaks_off_knows_the_name_when_it_is_begun_again(
    monkeypatch, installed, rows, trouble
):
    installed[1].trouble = (None, trouble)
    code, _, _, error = await told(monkeypatch)
    if isinstance(trouble, Conflict):
        assert code == 0
    else:
        assert "run it again" in str(error)
        assert ("names", "u1") in await rows()
        assert (await told(monkeypatch))[0] == 0
    assert await rows() == [("names", "u2"), ("texts", "u2")]


async def test_of_whom_dingtalk_cannot_be_asked_nothing_is_deleted(monkeypatch, rows):
    code, out, said, _ = await asyncio.to_thread(run, "--json")
    assert (code, json.loads(out)["done"]) == (3, False)
    assert "DINGTALK_APP_KEY" in said
    assert ("names", "u1") in await rows()


@pytest.mark.parametrize("userid", ["", " u1"])
def test_an_empty_userid_which_stands_in_every_text_is_refused(installed, userid):
    result = CliRunner().invoke(app, [userid, "--force", "--yes"])
    assert result.exit_code == 2
    assert "blanks" in result.stderr


def test_a_company_has_to_be_named(monkeypatch, installed):
    monkeypatch.delenv("DINGTALK_CORP_ID")
    *_, error = run("--dry-run")
    assert isinstance(error, SettingsError)
    assert "--corp" in str(error)


async def test_who_does_not_say_and_who_never_ran_is_named(monkeypatch, installed, rows):
    installed[1].forget = Consumer.forget
    installed.append(desk("never"))
    _, report, _, _ = await told(monkeypatch, "--dry-run")
    why = {row["store"]: row["what"] for row in report["stores"] if row["now"] == "nothing"}
    assert why["never"] == "it has never run on this database"
    assert "its author does not say" in why["texts"]
