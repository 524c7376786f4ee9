"""The command for rows that were ticked names those rows, each once, and no others."""

from pathlib import Path

import pytest
from aiohttp import web
from hypothesis import given
from hypothesis import strategies as st
from multidict import MultiDict
from typer.main import get_command

from dingbridge import open_database
from dingbridge.cli.terminal import listed
from dingbridge.console.access.users import Role
from dingbridge.console.outbound_choice import ACT_OF, MOST_ROWS, Choice, nameable, row_text
from dingbridge.consumers.outbound.cli import app
from dingbridge.consumers.outbound.requests.tables import outbound_requests
from dingbridge.consumers.outbound.tables import metadata, outbound_entity
from dingbridge.consumers.outbound.waiting import STATES
from tests.unit.console.support import browser, settings_in
from tests.unit.outbound.ledger_rows import NOON_MS, row

TEXT = st.text(st.characters(exclude_categories=["Cs", "Cc"]), min_size=1, max_size=12)


ROWS = st.tuples(
    st.sampled_from(["c1", "c2", "-x"]),
    st.sampled_from(["user", "department"]),
    st.lists(TEXT.filter(nameable), min_size=1, max_size=8),
).map(lambda of: [(of[0], of[1], own_id) for own_id in of[2]])


STATE = st.sampled_from(sorted(ACT_OF))


def options_of(command):
    group = get_command(app)
    verb = group.commands[command.argv[1]]
    return verb.make_context(command.argv[1], list(command.argv[2:])).params


@given(ROWS, STATE)
def test_the_command_names_the_rows_each_once(rows, state):
    form = MultiDict([("state", state), *(("row", row_text(row)) for row in rows)])
    choice = Choice.of(form)
    for dry_run in (True, False):
        command = choice.command(dry_run=dry_run)
        assert command.argv[1] == ACT_OF[state]
        options = options_of(command)
        assert (options["dry_run"], options["all_"]) == (dry_run, False)
        named = [(options["corp"], options["kind"], own_id) for own_id in listed(options["ids"])]
        assert sorted(named) == sorted(set(rows))


def test_all_of_a_state_are_bound_to_a_time():
    choice = Choice("adopted", until="2026-11-27T12:00:00Z")
    command = choice.command(count=7, database="postgresql://x:secret@y/z")
    options = options_of(command)
    assert (options["all_"], options["state"], options["until"]) == (True, "adopted", "2026-11-27T12:00:00Z")
    assert command.count == 7
    assert command.shown.startswith("DATABASE_URL=… dingbridge outbound release --yes --json --all")
    assert "secret" not in command.shown + repr(command)


def test_all_of_a_state_can_be_taken_whatever_is_ticked():
    of_two_companies = [("row", row_text((corp, "user", "1"))) for corp in ("c1", "c2")]
    assert Choice.of(MultiDict([("state", "adopted"), *of_two_companies, ("which", "all")])) == Choice(
        "adopted"
    )


@pytest.mark.parametrize(
    "fields",
    [
        [],
        [("state", "pending")],
        [
            ("state", "adopted"),
            ("row", row_text(("c1", "user", "1"))),
            ("row", row_text(("c2", "user", "1"))),
        ],
        [("state", "adopted"), ("row", "x")],
        [("state", "adopted"), ("row", '["c1", "todo", "1"]')],
        [("state", "adopted"), ("row", '["c1", "user", "1,2"]')],
        [("state", "adopted"), *(("row", row_text(("c1", "user", str(n)))) for n in range(MOST_ROWS + 1))],
    ],
)
def test_what_cannot_be_a_choice_is_refused(fields):
    with pytest.raises(web.HTTPBadRequest):
        Choice.of(MultiDict(fields))


# -- Outbound's page opens whatever waits in its tables


ODD = "\ufeff<b>'\"{{ 7*7 }}\x7f" + "很长" * 200


def request(number: int, kind: str, result: str) -> dict[str, object]:
    body = {"body": "{}", "source": "/oa", "message_id": "m", "result": result, "result_ms": NOON_MS}
    named = {"corp_id": "c1", "kind": kind, "request_id": f"{ODD}{number}", "type": f"{kind}.start"}
    return {**named, **body, "words": ODD, "reason": ODD, "code": "88"}


async def test_each_state_is_shown_approvals_and_to_dos_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    database = open_database(f"sqlite:///{tmp_path / 'outbound.db'}")
    await database.create_tables(metadata)
    waiting = ("removal-approval", "update-approval", "adopted", ODD)
    results = [*(("pending", reason) for reason in waiting), ("conflict", None)]
    async with database.transaction() as tx:
        rows = [
            row(f"{ODD}{n}", result, reason, fields='["name"]', words=ODD, kind=kind)
            for n, (result, reason) in enumerate([*results, ("refused", ODD)])
            for kind in ("user", "department")
        ]
        await tx.execute(outbound_entity.insert(), rows)
        asked = [
            (kind, result) for kind in ("approval", "todo") for result in ("pending", "refused", "conflict")
        ]
        requests = [request(number, *one) for number, one in enumerate(asked)]
        await tx.execute(outbound_requests.insert(), requests)
    await database.close()
    async with browser(settings_in(tmp_path)) as who:
        for role in (Role.VIEWER, Role.READER, Role.OPERATOR):
            await who.log_in(role)
            for state in ("", *STATES, "requests", "no such"):
                answer = await who.get("/outbound", params={"state": state})
                assert answer.status == 200, (role, state)
                text = await answer.text()
                assert "Approvals and to-dos: 6" in text or state
                assert "<b>'" not in text
