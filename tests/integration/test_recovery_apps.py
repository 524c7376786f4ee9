"""The failed lists of several apps of one ingress, one of which DingTalk refuses."""

import asyncio

import pytest

from dingbridge.events import decode
from dingbridge.kafka.topic_policy import event_topic
from dingbridge.settings import SAMPLE_CREDENTIALS
from dingbridge.simulator.server import Simulator
from tests.integration.simulator_support import settings
from tests.support.ingress import IngressUnderTest
from tests.support.kafka_reader import read_all
from tests.support.processes import eventually
from tests.unit.recovery.memory import item

KEY, SECRET = SAMPLE_CREDENTIALS["DINGTALK_APP_KEY"], SAMPLE_CREDENTIALS["DINGTALK_APP_SECRET"]


def table(name, key, secret):
    return (
        f'[apps.{name}]\ntoken = "tokenOf{name}"\naes_key = "{name[0] * 43}"\nowner_keys = ["ding{name}"]\n'
        f'app_key = "{key}"\napp_secret = "{secret}"\ncorp_id = "dingcorp01"\n'
    )


@pytest.fixture
async def simulator():
    async with Simulator(settings()) as running:
        yield running


async def test_each_app_has_its_list_read_and_one_that_is_refused_holds_up_no_other(
    simulator, processes, kafka_env, kafka_settings, tmp_path
):
    file = tmp_path / "apps.toml"
    file.write_text(table("hr", KEY, SECRET) + table("sales", "dingsales", "wrong"))
    ingress = IngressUnderTest(
        processes,
        tmp_path,
        kafka_env,
        {
            "DINGTALK_APP_KEY": "",
            "DINGTALK_APP_SECRET": "",
            "DINGTALK_APPS_FILE": str(file),
            "DINGTALK_API_BASE": simulator.base_url,
            "DATA_DIR": str(tmp_path),
            "RECOVERY_AFTER_OUTAGE_S": "1",
        },
    )
    simulator.failed.add(item(1))
    await asyncio.to_thread(ingress.start)

    async def recovered(count):
        return await asyncio.to_thread(ingress.metric, "dingbridge_recovery_items_total") == count

    await eventually(lambda: recovered(1), 60, "the list of hr was read")
    await asyncio.to_thread(ingress.process.wait_for_log, "recovery.failed", 60)
    said = [line for line in ingress.process.log_text().splitlines() if "recovery.failed" in line]
    assert all("sales" in line for line in said)

    simulator.failed.add(item(2))
    both = await asyncio.to_thread(processes.run, "recover", env=ingress.env)
    assert both.returncode == 1, both.stderr
    assert "items: 1" in both.stdout.splitlines()
    assert "not read: sales: " in both.stderr
    assert "not read: default: " in both.stderr
    one = await asyncio.to_thread(processes.run, "recover", "--app", "hr", env=ingress.env)
    assert one.returncode == 0, one.stderr

    # the list goes to another app of the file, while the ingress runs
    file.write_text(table("sales", KEY, SECRET))
    simulator.failed.add(item(3))
    await eventually(lambda: recovered(3), 60, "the list of sales was read")

    await eventually(lambda: asyncio.to_thread(ingress.drained), 60, "all is in Kafka")
    records = (await read_all(kafka_settings))[event_topic(kafka_settings, "user_modify_org")]
    found = sorted(
        (e.subject, e.source.rpartition("/")[2], e.via) for e in (decode(r.value) for r in records)
    )
    assert found == [
        ("u1", "hr", "failed-list"),
        ("u2", "hr", "failed-list"),
        ("u3", "sales", "failed-list"),
    ]
