"""What waits by hand and what is told of the rows: approve, release, reconcile, report, forget."""

import asyncio
import json

import pytest
from sqlalchemy import func, insert, select, update
from typer.testing import CliRunner

from dingbridge import Person, open_database
from dingbridge.consumers.outbound import waiting
from dingbridge.consumers.outbound.cli import app
from dingbridge.consumers.outbound.contacts import unnamed
from dingbridge.consumers.outbound.requests.forgetting import forget
from dingbridge.consumers.outbound.requests.tables import outbound_requests
from dingbridge.consumers.outbound.tables import metadata, outbound_entity, outbound_outgoing
from dingbridge.events import decode
from dingbridge.testing import recorded
from tests.support.documents import ROOT
from tests.unit.outbound.ledger_rows import NOON_MS, filled, row

NOON = "2025-11-24T16:00:00Z"


ROWS = [
    row("1"),
    row("2"),
    row("2", kind="department"),
    row("1", corp_id="c2"),
    row("late", at_ms=NOON_MS),
    row("grace", reason="grace"),
    row("adopted", reason="adopted"),
    row("refused", "refused", None),
    row("update", reason="update-approval"),
    row("conflict", "conflict", "flapping"),
    row("done", "done", None),
]


@pytest.fixture
def url(tmp_path, monkeypatch):
    url = f"sqlite:///{tmp_path / 'outbound.db'}"

    asyncio.run(filled(url, ROWS))
    monkeypatch.setenv("DATABASE_URL", url)
    monkeypatch.setenv("KAFKA_BOOTSTRAP_SERVERS", "127.0.0.1:1")
    return url


def rows_where(url, condition):
    async def read():
        database = open_database(url)
        found = await database.reader().execute(select(outbound_entity).where(condition))
        keys = [(one.corp_id, one.kind, one.own_id) for one in found]
        await database.close()
        return sorted(keys)

    return asyncio.run(read())


@pytest.mark.parametrize(
    ("chosen", "expected"),
    [
        (["1"], {("c1", "user", "1"), ("c2", "user", "1")}),
        (["1", "--corp", "c1"], {("c1", "user", "1")}),
        (["2", "--kind", "department"], {("c1", "department", "2")}),
        (["1", "grace", "--corp", "c2"], {("c2", "user", "1")}),
        (["--all", "--until", NOON, "--corp", "c1"], {("c1", kind, id_) for kind, id_ in
            (("user", "1"), ("user", "2"), ("department", "2"), ("user", "update"))}),
        (["--all", "--kind", "user"], {("c1", "user", "1"), ("c1", "user", "2"), ("c2", "user", "1"),
            ("c1", "user", "late"), ("c1", "user", "update")}),
        (["--all", "--state", "update"], {("c1", "user", "update")}),
        (["--all", "--state", "removal", "--kind", "department"], {("c1", "department", "2")}),
    ],
)  # fmt: skip
def test_those_that_are_named_are_counted_and_approved_and_no_others(url, chosen, expected):
    approved = outbound_entity.c.removal_approved
    counted = CliRunner().invoke(app, ["approve", *chosen, "--dry-run", "--json"])
    assert json.loads(counted.stdout) == {"matching": len(expected), "approved": 0}
    assert CliRunner().invoke(app, ["approve", *chosen]).exit_code == 2, "nobody can be asked"
    assert rows_where(url, approved) == []
    done = CliRunner().invoke(app, ["approve", *chosen, "--yes", "--json"])
    assert json.loads(done.stdout) == {"matching": len(expected), "approved": len(expected)}
    assert set(rows_where(url, approved)) == expected


def test_what_is_held_back_is_released_and_what_waits_for_its_days_is_not(url):
    result = CliRunner().invoke(app, ["release", "--all", "--yes", "--json"])
    assert json.loads(result.stdout)["released"] == 3
    due = outbound_entity.c.due_ms.is_not(None)
    assert {own_id for _, _, own_id in rows_where(url, due)} == {"adopted", "refused", "conflict"}


def test_one_state_is_released_and_the_others_wait(url):
    result = CliRunner().invoke(app, ["release", "--all", "--yes", "--state", "refused", "--json"])
    assert json.loads(result.stdout)["released"] == 1
    due = outbound_entity.c.due_ms.is_not(None)
    assert {own_id for _, _, own_id in rows_where(url, due)} == {"refused"}
    assert CliRunner().invoke(app, ["release", "--all", "--state", "pending"]).exit_code == 2


def test_status_lists_each_once_and_the_states_count_the_same(url):
    listed = [json.loads(line) for line in CliRunner().invoke(app, ["status", "--json"]).stdout.splitlines()]
    assert sorted(one["id"] for one in listed) == sorted(
        row["own_id"] for row in ROWS if row["own_id"] != "done"
    )

    async def counted():
        database = open_database(url)
        found = await waiting.counts(database.reader())
        await database.close()
        return found

    assert asyncio.run(counted()) == {
        "removal": 5, "update": 1, "adopted": 1, "conflict": 1, "refused": 1, "pending": 1, "requests": 0
    }  # fmt: skip


def test_a_reconcile_is_counted_before(url):
    due = outbound_entity.c.due_ms.is_not(None)
    assert json.loads(CliRunner().invoke(app, ["reconcile", "--dry-run", "--json"]).stdout)["known"] == 11
    assert rows_where(url, due) == []
    assert json.loads(CliRunner().invoke(app, ["reconcile", "--json"]).stdout) == {"known": 11, "due": 11}
    assert len(rows_where(url, due)) == 11


def test_nobody_is_meant_by_nothing(url):
    assert CliRunner().invoke(app, ["approve"]).exit_code != 0
    assert CliRunner().invoke(app, ["approve", "1", "--all"]).exit_code != 0
    assert CliRunner().invoke(app, ["approve", "--all", "--kind", "todo"]).exit_code == 2
    assert rows_where(url, outbound_entity.c.removal_approved) == []


# -- What people do to departments that the OA never named is reported; what we make is not


@pytest.mark.parametrize("ours", [True, False])
async def test_a_department_whose_creation_is_committed_meanwhile_is_no_persons(tmp_path, monkeypatch, ours):
    """By PostgreSQL's READ COMMITTED: the event's handler finds no row with its dept_id, the agent commits
    it, and no creation is under way any more. It was reported as a department that people had made."""
    event = next(
        decode(one.value) for one in recorded(ROOT / "schemas" / "examples" / "org_dept_create.json")
    )
    url = f"sqlite:///{tmp_path / 'outbound.db'}"
    await filled(url, [row("d1", "done", None, kind="department", corp_id=event.corp_id)])
    looks = unnamed._creates

    async def commits_meanwhile(tx, corp_id):
        if ours:
            await tx.execute(update(outbound_entity).values(ding_id=event.subject))
        return await looks(tx, corp_id)

    monkeypatch.setattr(unnamed, "_creates", commits_meanwhile)
    database = open_database(url)
    async with database.transaction() as tx:
        await unnamed.report_unnamed(tx, event, "department", None)
        reported = (await tx.execute(select(func.count()).select_from(outbound_outgoing))).scalar_one()
        [due] = (await tx.execute(select(outbound_entity.c.flagged))).scalars()
    await database.close()
    assert (reported, due) == ((0, True) if ours else (1, False))


# -- Whose requests ``dingbridge forget`` empties: those that name the person by id


CORP = "dingcorp01"


NAME = "王伟"


def request(request_id, **body):
    return {
        "corp_id": CORP,
        "kind": "todo",
        "request_id": request_id,
        "type": "todo.desired",
        "body": json.dumps({"corpId": CORP, **body}, ensure_ascii=False),
        "source": "/oa",
        "message_id": request_id,
        "result": "done",
    }


async def test_a_namesake_s_requests_and_a_number_in_a_form_are_left_and_counted(tmp_path):
    database = open_database(f"sqlite:///{tmp_path / 'outbound.db'}")
    await database.create_tables(metadata)
    rows = [
        request("theirs", creator="1024", subject=f"{NAME}的待办"),
        request("of a namesake", creator="7", subject="王伟明的待办"),
        request("of a number", creator="7", form={"amount": "1024"}),
        request("of nobody", creator="7", subject="年报"),
    ]
    async with database.transaction() as tx:
        await tx.execute(insert(outbound_requests), rows)
        forgotten = await forget(tx, Person(CORP, "1024", frozenset({NAME})))
    kept = {
        row.request_id: json.loads(row.body).keys() - {"corpId", "creator"}
        for row in await database.reader().execute(select(outbound_requests))
    }
    await database.close()
    assert kept == {
        "theirs": set(),
        "of a namesake": {"subject"},
        "of a number": {"form"},
        "of nobody": {"subject"},
    }
    assert forgotten.masked == {outbound_requests.name: 1}
    assert [words.split()[0] for words in forgotten.stays] == ["2"]
