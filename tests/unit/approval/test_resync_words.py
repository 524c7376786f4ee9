"""What ``dingbridge approvals resync`` says of its cost before it asks."""

import pytest

from consumers.approval.cli_support import calls_left
from dingbridge import ConsumerSettings
from dingbridge.api_budget import ApiCalls
from dingbridge.dingtalk.budget import Priority


@pytest.fixture
def settings(tmp_path):
    return ConsumerSettings.load(
        data_dir=tmp_path, dingtalk_app_key="ding1", dingtalk_app_secret="s", api_monthly_budget=100
    )


@pytest.mark.parametrize(("wanted", "months"), [(70, None), (71, 2), (150, 2), (151, 3)])
async def test_a_backfill_that_the_budget_has_not_enough_for_says_how_many_months_it_takes(
    settings, wanted, months
):
    spent = ApiCalls.of(settings)
    for _ in range(10):
        await spent.spend("processinstance/get", Priority.EVENT)
    spent.close()
    said = calls_left(settings, wanted)
    assert said.startswith(" (API_MONTHLY_BUDGET=100 leaves 70 for it in 20")
    assert (f"{months} months at least, with 80 calls in each to come" in said) == (months is not None)
    assert ("not be done this month" in said) == (months is not None)


def test_without_a_budget_there_is_nothing_to_say(settings):
    assert calls_left(settings.model_copy(update={"api_monthly_budget": 0}), 1_000_000) == ""
