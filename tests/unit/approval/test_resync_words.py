"""What ``dingbridge approvals resync`` says of its cost before it asks."""

import shlex
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
import typer
from hypothesis import given
from hypothesis import strategies as st
from typer.main import get_command

from dingbridge import ConsumerSettings
from dingbridge.cli.terminal import listed, moment
from dingbridge.consumers.approval.cli import app
from dingbridge.consumers.approval.cli_resync import _command
from dingbridge.consumers.approval.cli_support import calls_left, day_or_moment
from dingbridge.consumers.approval.reconcile.reconciler import Scope
from dingbridge.dingtalk.api.approvals import INSTANCES
from dingbridge.dingtalk.budget import Priority
from dingbridge.worker.api.budget import ApiCalls


@pytest.fixture
def settings(tmp_path):
    return ConsumerSettings.load(
        data_dir=tmp_path,
        dingtalk_app_key="ding1",
        dingtalk_app_secret="s",
        dingtalk_corp_id="dingcorp1",
        api_monthly_budget=100,
    )


async def spend(settings, calls):
    spent = ApiCalls.of(settings)
    for _ in range(calls):
        await spent.spend(INSTANCES, Priority.EVENT)
    await spent.close()


@pytest.mark.parametrize(
    ("wanted", "listing", "months"),
    [(70, 5, None), (71, 5, 2), (145, 5, 2), (146, 5, 3), (73, 79, 4)],  # 75 are left of 80, or 1
)
async def test_a_backfill_that_the_budget_has_not_enough_for_says_how_many_months_it_takes(
    settings, wanted, listing, months
):
    await spend(settings, 10)
    said = await calls_left(settings, wanted, listing=listing, again="a command")
    assert said.startswith(" (API_MONTHLY_BUDGET=100 leaves 70 for it in 20")
    assert ("not be done this month" in said) == (months is not None)
    assert ("this goes on: a command\n" in said) == (months is not None)
    words = f"{months} months at least, each with 80 calls, of which the list takes {listing}"
    assert (words in said) == (months is not None)


async def test_a_list_that_the_budget_has_not_enough_for_is_to_be_made_shorter(settings):
    await spend(settings, 10)
    assert "narrow" not in await calls_left(settings, 70)
    for said in (
        await calls_left(settings, 71),
        await calls_left(settings, 71, listing=80, again="a command"),
    ):
        assert "narrow --since, --until or --process-code" in said
        assert "months at least" not in said
        assert "a command" not in said


@given(
    since=st.datetimes(datetime(2000, 1, 1), datetime(2030, 1, 1), timezones=st.timezones()),
    codes=st.lists(st.text("PROC-0aZ", min_size=1), unique=True).map(tuple),
    without_event=st.sampled_from(["none", "all"]),
)
def test_the_command_that_goes_on_means_the_same_approvals_on_any_day(since, codes, without_event):
    scope = Scope("c", "default", since, since + timedelta(days=30), codes, without_event)
    program, *arguments = shlex.split(_command(scope))[2:]
    options = get_command(app).commands[program].make_context(program, arguments).params
    found = Scope(
        "c",
        "default",
        moment(options["since"], "--since"),
        moment(options["until"], "--until"),
        listed(options["process_code"]),
        "all" if options["with_actions"] else "none",
    )
    spans = [(s, u) for _, s, u in replace(found, process_codes=("x",)).spans()]
    assert spans == [(s, u) for _, s, u in replace(scope, process_codes=("x",)).spans()]
    assert (found.process_codes, found.without_event) == (codes, without_event)


async def test_without_a_budget_there_is_nothing_to_say(settings):
    assert await calls_left(settings.model_copy(update={"api_monthly_budget": 0}), 1_000_000) == ""


def test_a_day_is_one_of_dingtalks_time_zone_and_said_in_utc(settings):
    assert day_or_moment("2026-11-27", "--since", settings) == datetime(2026, 11, 26, 16, tzinfo=UTC)
    assert f"{day_or_moment('2026-11-27', '--since', settings):%d %H:%M}" == "26 16:00"
    with pytest.raises(typer.BadParameter, match="no time zone"):
        day_or_moment("0001-01-01", "--since", settings)
