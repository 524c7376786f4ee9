"""A worker while DingTalk's Open API does not do as asked, over real HTTP: no event pays for it."""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from dingbridge import Context, Event
from dingbridge import retry as backoff
from dingbridge.dingtalk import transport
from dingbridge.kafka.topic_policy import dlq_topic, event_topic
from dingbridge.settings import SAMPLE_CREDENTIALS, KafkaSettings
from dingbridge.simulator.server import Simulator
from dingbridge.simulator.settings import SimulatorSettings
from dingbridge.worker import service as service_module
from tests.integration.worker_support import (
    EffectConsumer,
    committed,
    consumer_settings,
    event_record,
    named,
    publish,
    rows,
    serving,
)
from tests.support.kafka_reader import read_topic
from tests.support.sizes import on_one_database
from tests.support.waiting import eventually


class Asking(EffectConsumer):
    max_attempts = 1

    async def prepare(self, event: Event, ctx: Context) -> None:
        await ctx.dingtalk.user(str(event.subject))


@pytest.fixture
async def simulator() -> AsyncIterator[Simulator]:
    async with Simulator(SimulatorSettings(simulator_port=0, simulator_users=12)) as running:
        yield running


@pytest.mark.parametrize(
    "fault",
    [
        {"kind": "http", "status": 503},
        {"kind": "errcode", "errcode": 90018},
        {"kind": "errcode", "errcode": 90020},
    ],
    ids=["down", "rate-limited", "quota-spent"],
)
@on_one_database
async def test_while_dingtalk_refuses_every_call_partitions_pause_and_nothing_is_buried(
    simulator: Simulator,
    kafka_env: dict[str, str],
    kafka_settings: KafkaSettings,
    database_url: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    fault: dict[str, Any],
) -> None:
    # DingTalk asks for seconds, and at the quota's end for the rest of the month
    monkeypatch.setattr(backoff, "ASKED_MAX_S", 0.05)
    monkeypatch.setattr(backoff, "UNAVAILABLE_FIRST_S", 0.05)
    monkeypatch.setattr(backoff, "UNAVAILABLE_MAX_S", 0.1)
    monkeypatch.setattr(transport, "RATE_DELAYS_S", (0.01,))
    monkeypatch.setattr(service_module, "API_CALLS_EVERY_S", 0.05)
    consumer = named(Asking)()
    settings = consumer_settings(
        kafka_env,
        database_url,
        dingtalk_api_base=simulator.base_url,
        dingtalk_app_key=SAMPLE_CREDENTIALS["DINGTALK_APP_KEY"],
        dingtalk_app_secret=SAMPLE_CREDENTIALS["DINGTALK_APP_SECRET"],
        dingtalk_corp_id=SAMPLE_CREDENTIALS["DINGTALK_CORP_ID"],
        data_dir=tmp_path,
    )
    people = list(simulator.platform.company.users)
    await publish(settings, [event_record(f"e{n}", userid) for n, userid in enumerate(people)])
    simulator.faults.add({"api": "v2/user/get", "times": None, **fault})
    async with serving(consumer, settings) as service:
        # more than one refusal for each: with one attempt each would be given up at its first
        await eventually(lambda: simulator.api.calls["/topapi/v2/user/get"] > 3 * len(people))
        assert service.worker.state()[1]["unavailable"]
        assert await rows(database_url) == []
        simulator.faults.clear()

        async def all_are_applied() -> bool:
            return len(await rows(database_url)) == len(people)

        await eventually(all_are_applied, 120)
        # DingTalk's quota does not count contact calls
        assert not service.registry.get_sample_value("dingbridge_api_calls", {"priority": "event"})
    assert await read_topic(settings, dlq_topic(settings, consumer.name)) == []
    assert await committed(settings, consumer.name) == {event_topic(settings, "user_modify_org"): len(people)}
