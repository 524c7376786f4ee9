"""The publisher between a real journal and a real Kafka: complete, in order, never stopped by one record."""

import asyncio
import json
import time
from collections import Counter
from contextlib import closing

import pytest
from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType
from prometheus_client import CollectorRegistry

from dingbridge.events import decode
from dingbridge.ingress.journal.checkpoint import Checkpoint
from dingbridge.ingress.journal.rows import NewCallback
from dingbridge.ingress.journal.store import JournalFile
from dingbridge.ingress.relay.publisher import Publisher
from dingbridge.ingress.relay.status import RelayStatus
from dingbridge.kafka.client import connection
from dingbridge.kafka.topics import ensure_topics
from dingbridge.settings import SAMPLE_CREDENTIALS, IngressSettings
from tests.support.kafka_reader import read_topic, topics
from tests.support.sizes import sized
from tests.support.waiting import eventually


def approval(number, **more):
    return {
        "EventType": "bpms_instance_change",
        "type": "finish",
        "processInstanceId": f"pi-{number % 7}",
        "corpId": "dingcorpsample01",
        "createTime": 1_731_000_000_000 + number,
        "title": "李雷提交的请假",
        "staffId": "u1",
        "number": number,
        **more,
    }


def keep(file, events):
    now = int(time.time() * 1000)
    rows = [json.dumps(event, ensure_ascii=False).encode() for event in events]
    file.keep(
        [
            NewCallback(now, "default", "http", row, b"k%d-%d" % (file.highest_seq(), i))
            for i, row in enumerate(rows)
        ]
    )


@pytest.fixture
def file(tmp_path):
    file = JournalFile(tmp_path / "journal.db", create=True)
    yield file
    file.close()


@pytest.fixture
def settings(kafka_env):
    values = {
        **SAMPLE_CREDENTIALS,
        **kafka_env,
        "DINGTALK_API_BASE": "http://127.0.0.1:1",
        "KAFKA_REQUEST_TIMEOUT_S": "5",
        "TOPIC_PARTITIONS": "2",
    }
    return IngressSettings.load(**{name.lower(): value for name, value in values.items()})


@pytest.fixture(autouse=True)
def retries_when_asked(monkeypatch):
    monkeypatch.setattr("dingbridge.ingress.relay.parked.RETRY_EVERY_S", (3600.0, 3600.0))


class Running:
    """A publisher that runs in a task until the end of the block."""

    def __init__(self, settings, folder):
        self.registry = CollectorRegistry()
        self.report = RelayStatus(self.registry)
        self.publisher = Publisher(settings, folder, self.report)
        self.folder = folder

    async def __aenter__(self):
        self.task = asyncio.ensure_future(self.publisher.run())
        return self

    async def __aexit__(self, *_):
        self.publisher.stop()
        await self.task

    async def comes_to(self, file, seq):
        def there():
            assert not self.task.done() or self.task.result() is None
            with closing(Checkpoint(self.folder, read_only=True)) as checkpoint:
                return checkpoint.seq() >= seq

        await eventually(there, 60, f"the checkpoint at {seq}: {self.report.words}")


def numbers(records):
    return [decode(record.value).data["number"] for record in records]


async def test_all_of_it_in_order_by_key_and_nothing_twice_across_a_clean_restart(settings, tmp_path, file):
    count = sized(3000, 3000, quick=1000)
    keep(file, [approval(n) for n in range(count)])
    async with Running(settings, tmp_path) as running:
        await eventually(lambda: running.publisher._progress.acknowledged > 100, 60, "the first records")
    async with Running(settings, tmp_path) as running:
        await running.comes_to(file, count)
        keep(file, [approval(n) for n in range(count, count + 100)])
        running.publisher.wake()
        await running.comes_to(file, count + 100)
    records = await read_topic(settings, settings.topic_prefix + "bpms_instance_change")
    assert Counter(numbers(records)) == Counter(range(count + 100))
    for partition in (0, 1):
        mine = numbers([r for r in records if r.partition == partition])
        assert mine == sorted(mine)
    assert len({r.partition for r in records if r.key == records[0].key}) == 1


async def test_a_record_over_the_topics_limit_is_parked_and_the_others_go_on_in_order(
    settings, tmp_path, file
):
    topic = settings.topic_prefix + "bpms_instance_change"
    admin = AIOKafkaAdminClient(**connection(settings))
    await admin.start()
    await admin.create_topics([NewTopic(topic, 1, 1, topic_configs={"max.message.bytes": "20000"})])
    large = {40, 41, 90}
    keep(file, [approval(n, title="大" * 20_000 if n in large else "") for n in range(120)])
    async with Running(settings, tmp_path) as running:
        await running.comes_to(file, 120)
        records = await read_topic(settings, topic)
        assert sorted(set(numbers(records))) == [n for n in range(120) if n not in large]
        checkpoint = Checkpoint(tmp_path, read_only=True)
        parked = checkpoint.parked()
        assert [(p.seq - 1, p.reason) for p in parked] == [(n, "too_large") for n in sorted(large)]
        # what was sent again is a run that repeats, never a swap of two
        order = [n for i, n in enumerate(numbers(records)) if n not in numbers(records)[:i]]
        assert order == sorted(order)
        assert running.report.state == "up"

        limit = {"max.message.bytes": str(6 << 20)}
        await admin.alter_configs([ConfigResource(ConfigResourceType.TOPIC, topic, configs=limit)])
        running.publisher.retry_parked()
        await eventually(lambda: not checkpoint.parked(), 60, "nothing parked")
        checkpoint.close()
    assert large <= set(numbers(await read_topic(settings, topic)))
    await admin.close()


async def test_a_large_callback_passes_with_the_defaults(settings, tmp_path, file):
    keep(file, [approval(1, title="长" * 400_000), approval(2)])
    async with Running(settings, tmp_path) as running:
        await running.comes_to(file, 2)
    records = await read_topic(settings, settings.topic_prefix + "bpms_instance_change")
    assert sorted(numbers(records)) == [1, 2]
    assert max(len(r.value) for r in records) > 1_200_000


async def test_a_topic_that_cannot_be_made_holds_back_only_its_own_records_in_order(settings, tmp_path, file):
    asked_too_much = settings.model_copy(update={"topic_replication": 3})
    other = {
        "EventType": "check_in",
        "TimeStamp": 1_731_000_000_000,
        "CorpId": "dingcorpsample01",
        "StaffId": "u",
    }
    await ensure_topics(settings, [settings.topic_prefix + "check_in"])
    keep(file, [approval(0), approval(1), other, approval(2)])
    async with Running(asked_too_much, tmp_path) as running:
        await running.comes_to(file, 4)
        assert len(await read_topic(settings, settings.topic_prefix + "check_in")) == 1
        checkpoint = Checkpoint(tmp_path, read_only=True)
        assert [(p.seq, p.reason) for p in checkpoint.parked()] == [(n, "topic_missing") for n in (1, 2, 4)]
    keep(file, [approval(3)])
    async with Running(settings, tmp_path) as running:
        await running.comes_to(file, 5)
        assert [p.seq for p in checkpoint.parked()] == [1, 2, 4, 5], "newer ones wait behind the parked"
        running.publisher.retry_parked()
        await eventually(lambda: not checkpoint.parked(), 60, "nothing parked")
        keep(file, [approval(4)])
        running.publisher.wake()
        await running.comes_to(file, 6)
    checkpoint.close()
    records = await read_topic(settings, settings.topic_prefix + "bpms_instance_change")
    keyed = [decode(r.value) for r in records]
    assert [e.data["number"] for e in sorted(keyed, key=lambda e: e.sequence)] == [0, 1, 2, 3, 4]


async def test_unknown_event_types_flow_but_do_not_mint_topics_without_bounds(settings, tmp_path, file):
    bounded = settings.model_copy(update={"unknown_topics_max": 3})
    keep(
        file,
        [
            {"EventType": f"brand_new_{n}", "CorpId": "dingcorpsample01", "eventId": f"e{n}"}
            for n in range(10)
        ],
    )
    async with Running(bounded, tmp_path) as running:
        await running.comes_to(file, 10)
        counted = running.registry.get_sample_value
        assert counted("dingbridge_published_total", {"event_type": "other"}) == 10
        assert counted("dingbridge_published_total", {"event_type": "brand_new_1"}) is None
    prefix = settings.topic_prefix
    assert await topics(settings) == sorted(
        [prefix + "unclassified", *(f"{prefix}brand_new_{n}" for n in range(3))]
    )
    over = await read_topic(settings, prefix + "unclassified")
    assert {decode(r.value).event_type for r in over} == {f"brand_new_{n}" for n in range(3, 10)}
    async with Running(bounded, tmp_path):  # the bound holds across a restart
        keep(file, [{"EventType": "brand_new_99", "CorpId": "dingcorpsample01", "eventId": "e99"}])
        await eventually(
            lambda: _count(settings, prefix + "unclassified", 8), 60, "the newest among the unclassified"
        )
    assert prefix + "brand_new_99" not in await topics(settings)


async def _count(settings, topic, count):
    return len(await read_topic(settings, topic)) == count


async def test_a_frozen_broker_holds_everything_and_loses_nothing(settings, tmp_path, file, breakable_kafka):
    keep(file, [approval(n) for n in range(50)])
    async with Running(settings, tmp_path) as running:
        await running.comes_to(file, 50)
        breakable_kafka.pause()
        keep(file, [approval(n) for n in range(50, 300)])
        running.publisher.wake()
        await eventually(lambda: running.report.state != "up", 60, "the outage is noticed")
        breakable_kafka.resume()
        await running.comes_to(file, 300)
        await eventually(lambda: running.report.state == "up", 60, "up again")
    records = await read_topic(settings, settings.topic_prefix + "bpms_instance_change")
    assert set(numbers(records)) == set(range(300))
