"""The command for rows that were ticked names those rows, each once, and no others."""

import pytest
from aiohttp import web
from hypothesis import given
from hypothesis import strategies as st
from multidict import MultiDict
from typer.main import get_command

from dingbridge.cli.terminal import listed
from dingbridge.console.outbound_choice import ACT_OF, MOST_ROWS, Choice, nameable, row_text
from dingbridge.consumers.outbound.cli import app

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
    assert command.shown.startswith("DATABASE_URL=… dingbridge outbound release --json --all")
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
