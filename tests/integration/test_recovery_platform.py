"""The poller with our client on the simulator: tokens, bans and quotas in the middle."""

import pytest

from dingbridge.dingtalk.api import DingTalkClient
from dingbridge.dingtalk.budget import Priority
from dingbridge.dingtalk.errors import QuotaSpent, Unavailable
from dingbridge.settings import SAMPLE_CREDENTIALS
from dingbridge.simulator.pushes.failed import FailedList
from dingbridge.simulator.server import Simulator
from tests.integration.simulator_support import settings
from tests.unit.recovery.memory import Process, item

API = "get_call_back_failed_result"
KEY, SECRET = SAMPLE_CREDENTIALS["DINGTALK_APP_KEY"], SAMPLE_CREDENTIALS["DINGTALK_APP_SECRET"]


@pytest.fixture
async def simulator():
    async with Simulator(settings()) as simulator:
        for number in range(450):
            simulator.failed.add(item(number))
        yield simulator


@pytest.fixture
async def client(simulator):
    async with DingTalkClient(app_key=KEY, app_secret=SECRET, base=simulator.base_url) as client:
        yield client.at(Priority.RECOVERY)


def process(client):
    return Process(FailedList(), client=client)


async def test_the_list_is_read_with_a_call_a_page(simulator, client):
    one = process(client)
    result = await one.poller.run()
    assert (result.items, len(one.disk.callbacks)) == (450, 450)
    assert simulator.stats()["api_calls"] == {"/gettoken": 1, f"/call_back/{API}": 3}


@pytest.mark.parametrize(
    ("fault", "error"),
    [
        ({"kind": "ban"}, Unavailable),
        ({"kind": "errcode", "errcode": 90020}, QuotaSpent),
    ],
)
async def test_a_refusal_in_the_middle_loses_nothing_and_is_gone_on_from(simulator, client, fault, error):
    simulator.faults.add({"api": API, **fault, "after": 1, "times": 1})
    one = process(client)
    with pytest.raises(error):
        await one.poller.run()
    assert len(one.disk.callbacks) == 200
    await one.poller.run()
    assert len(one.disk.callbacks) == 450
    assert one.missing == 0
    assert not one.disk.requests


async def test_an_answer_that_is_cut_off_is_a_page_that_may_be_gone(simulator, client):
    simulator.faults.add({"api": API, "kind": "cut", "after": 1, "times": 1})
    one = process(client)
    with pytest.raises(Unavailable):
        await one.poller.run()
    assert one.missing == 1
    assert len(one.disk.requests) == 1
    await one.poller.run()
    assert len(one.disk.callbacks) == 250


@pytest.mark.parametrize("status", [200, 403])
async def test_an_html_page_in_its_place_may_be_a_proxys_after_dingtalk_gave_the_page(
    simulator, client, status
):
    simulator.faults.add({"api": API, "kind": "ban", "status": status, "after": 1, "times": 1})
    one = process(client)
    with pytest.raises(Unavailable):
        await one.poller.run()
    assert (one.missing, len(one.disk.requests)) == (1, 1)
