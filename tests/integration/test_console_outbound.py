"""Outbound's page: what waits is shown, and an operator's word reaches the rows that were counted."""

import pytest
from sqlalchemy import select

from dingbridge import open_database
from dingbridge.console.access.users import Role
from dingbridge.consumers.outbound.tables import outbound_entity
from tests.integration.console_support import Form, audited, confirmed, console_at, done, page, submit, words
from tests.support.sizes import on_one_database
from tests.unit.outbound.ledger_rows import filled, row

WORDS = "ask 韩梅梅 first"
ROWS = [
    row("1"),
    row("2", corp_id="c2"),
    row("3", kind="department"),
    row("4"),
    row("adopted", reason="adopted"),
    row("refused", "refused", None, words=WORDS),
    row("grace", reason="grace"),
]
_e = outbound_entity.c


async def approved(url):
    database = open_database(url)
    found = await database.reader().execute(select(_e.own_id).where(_e.removal_approved))
    await database.close()
    return sorted(one.own_id for one in found)


@pytest.fixture
async def env(database_url):
    await filled(database_url, ROWS)
    return {"KAFKA_BOOTSTRAP_SERVERS": "127.0.0.1:1", "DATABASE_URL": database_url}


@on_one_database
async def test_what_is_ticked_is_approved_and_then_the_rest(env, database_url, tmp_path, monkeypatch):
    async with console_at(tmp_path, env, monkeypatch, Role.OPERATOR) as who:
        shown = await page(who, "/outbound")
        assert "Removals that wait: 4" in shown
        form = Form(shown, "/outbound/count")
        ticked = [box for box in form.boxes if '"2"' in box[1] or '"3"' in box[1]]
        mixed = [*form.hidden, *ticked, ("which", "selected")]
        assert "one company and one kind at a time" in await submit(who, "/outbound/count", mixed, 400)
        ticked = [box for box in form.boxes if '"1"' in box[1] or '"4"' in box[1]]
        asking = await confirmed(who, "/outbound/count", [*form.hidden, *ticked, ("which", "selected")])
        assert "--kind user --" in words(asking)
        assert await approved(database_url) == [], "counting changes nothing"
        assert "<strong>2</strong>" in await done(who, asking)
        assert await approved(database_url) == ["1", "4"]

        rest = await confirmed(who, "/outbound/count", [*form.hidden, ("which", "all")])
        assert "<strong>2 will be removed" in rest
        await done(who, rest)
        assert await approved(database_url) == ["1", "2", "3", "4"]
        acts = [e["count"] for e in audited(who) if e["act"] == "command" and "dry" not in e["command"]]
        assert acts == [2, 2]


@on_one_database
async def test_a_viewer_sees_counts_without_words_and_may_do_nothing(
    env, database_url, tmp_path, monkeypatch
):
    async with console_at(tmp_path, env, monkeypatch, Role.VIEWER) as who:
        shown = await page(who, "/outbound", {"state": "refused"})
        assert "Refused: 1" in shown
        assert WORDS not in shown
        assert 'type="checkbox"' not in shown
        fields = [("csrf", await who.csrf()), ("state", "removal"), ("which", "all")]
        await submit(who, "/outbound/count", fields, 403)
        assert await approved(database_url) == []


async def test_without_a_database_or_tables_it_says_what_to_do(tmp_path, monkeypatch):
    env = {"KAFKA_BOOTSTRAP_SERVERS": "127.0.0.1:1"}
    async with console_at(tmp_path, env, monkeypatch, Role.READER) as who:
        assert "set CONSOLE_DATABASES" in await page(who, "/outbound")
    (tmp_path / "outbound.db").touch()
    async with console_at(tmp_path, env, monkeypatch, Role.OPERATOR) as who:
        shown = await page(who, "/outbound")
        assert "no tables yet" in shown
        assert "dingbridge consume outbound" in shown
