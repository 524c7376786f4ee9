"""What ``dingbridge approvals resync`` says of its cost before it asks."""

from datetime import UTC, datetime

import pytest
import typer

from dingbridge import ConsumerSettings
from dingbridge.consumers.approval.cli_support import calls_left, day_or_moment
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


@pytest.mark.parametrize(("wanted", "enough"), [(50, True), (51, False)])  # 50 are left of 60
async def test_a_backfill_that_the_budget_has_not_enough_for_says_so(settings, wanted, enough):
    await spend(settings, 10)
    said = await calls_left(settings, wanted)
    assert said.startswith(" (API_MONTHLY_BUDGET=100 leaves 50 for it in 20")
    assert ("not be done this month" in said) == (not enough)


async def test_without_a_budget_there_is_nothing_to_say(settings):
    assert await calls_left(settings.model_copy(update={"api_monthly_budget": 0}), 1_000_000) == ""


def test_a_day_is_one_of_dingtalks_time_zone_and_said_in_utc(settings):
    assert day_or_moment("2026-11-27", "--since", settings) == datetime(2026, 11, 26, 16, tzinfo=UTC)
    assert f"{day_or_moment('2026-11-27', '--since', settings):%d %H:%M}" == "26 16:00"
    with pytest.raises(typer.BadParameter, match="no time zone"):
        day_or_moment("0001-01-01", "--since", settings)
