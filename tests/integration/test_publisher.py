"""The publisher between a real journal and a real Kafka: complete, in order, never stopped by one record."""

import asyncio
import json
import time
from collections import Counter
from contextlib import closing
from functools import partial
from types import SimpleNamespace

import pytest
from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType
from prometheus_client import CollectorRegistry

from dingbridge.events import decode, extract_facts
from dingbridge.ingress.journal.file import JournalFile
from dingbridge.ingress.journal.folder import current
from dingbridge.ingress.journal.retention import Retention
from dingbridge.ingress.journal.rows import NewCallback
from dingbridge.ingress.journal.writer import Journal
from dingbridge.ingress.metrics import JournalMetrics
from dingbridge.ingress.relay.publisher import Publisher
from dingbridge.ingress.relay.status import RelayStatus
from dingbridge.kafka.client import connection
from dingbridge.kafka.topics import ensure_topics
from dingbridge.settings import SAMPLE_CREDENTIALS, IngressSettings
from dingbridge.settings.apps import companies
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


async def keep(journal, events):
    now = int(time.time() * 1000)
    rows = [json.dumps(event, ensure_ascii=False).encode() for event in events]
    await journal.commit([NewCallback(now, "default", "http", row, extract_facts(row)) for row in rows])


@pytest.fixture
async def journal(tmp_path):
    journal = Journal(tmp_path, Retention(3600, 3600), JournalMetrics(CollectorRegistry()))
    await journal.start()
    yield journal
    await journal.stop()


def look(journal):
    """The journal's file as of now: ``acked``, and what is parked."""
    with closing(JournalFile(current(journal.root), read_only=True)) as file:
        parked = [one for seq in file.parked_seqs(0, 1000) for one in file.parked_of(seq)]
        return SimpleNamespace(acked=file.acked(), parked=parked)


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
    monkeypatch.setattr("dingbridge.ingress.relay.batches.RETRY_EVERY_S", (3600.0, 3600.0))


class Running:
    """A publisher that runs in a task until the end of the block."""

    def __init__(self, settings, journal):
        self.registry = CollectorRegistry()
        self.report = RelayStatus(self.registry)
        self.journal = journal
        self.publisher = Publisher(settings, partial(companies, settings), journal, self.report)
        journal.on_commit = self.publisher.wake

    async def __aenter__(self):
        self.task = asyncio.ensure_future(self.publisher.run())
        return self

    async def __aexit__(self, *_):
        self.publisher.stop()
        await self.task

    async def comes_to(self, seq):
        def there():
            assert not self.task.done() or self.task.result() is None
            return look(self.journal).acked >= seq

        await eventually(there, 60, f"acknowledged up to {seq}: {self.report.words}")


def numbers(records):
    return [decode(record.value).data["number"] for record in records]


async def test_all_of_it_in_order_by_key_and_nothing_twice_across_a_clean_restart(settings, journal):
    count = sized(3000, 3000, quick=1000)
    await keep(journal, [approval(n) for n in range(count)])
    async with Running(settings, journal) as running:
        await eventually(lambda: look(journal).acked > 100, 60, "the first records")
    async with Running(settings, journal) as running:
        await running.comes_to(count)
        await keep(journal, [approval(n) for n in range(count, count + 100)])
        await running.comes_to(count + 100)
    records = await read_topic(settings, settings.topic_prefix + "bpms_instance_change")
    assert Counter(numbers(records)) == Counter(range(count + 100))
    for partition in (0, 1):
        mine = numbers([r for r in records if r.partition == partition])
        assert mine == sorted(mine)
    assert len({r.partition for r in records if r.key == records[0].key}) == 1


async def test_a_record_over_the_topics_limit_is_parked_and_the_others_go_on_in_order(settings, journal):
    topic = settings.topic_prefix + "bpms_instance_change"
    admin = AIOKafkaAdminClient(**connection(settings))
    await admin.start()
    await admin.create_topics([NewTopic(topic, 1, 1, topic_configs={"max.message.bytes": "20000"})])
    large = {40, 41, 90}
    await keep(journal, [approval(n, title="大" * 20_000 if n in large else "") for n in range(120)])
    async with Running(settings, journal) as running:
        await running.comes_to(120)
        records = await read_topic(settings, topic)
        assert sorted(set(numbers(records))) == [n for n in range(120) if n not in large]
        assert [(p.seq - 1, p.reason) for p in look(journal).parked] == [
            (n, "too_large") for n in sorted(large)
        ]
        # what was sent again is a run that repeats, never a swap of two
        order = [n for i, n in enumerate(numbers(records)) if n not in numbers(records)[:i]]
        assert order == sorted(order)
        assert running.report.state == "up"

        limit = {"max.message.bytes": str(6 << 20)}
        await admin.alter_configs([ConfigResource(ConfigResourceType.TOPIC, topic, configs=limit)])
        running.publisher.retry()
        await eventually(lambda: not look(journal).parked, 60, "nothing parked")
    assert large <= set(numbers(await read_topic(settings, topic)))
    await admin.close()


async def test_a_large_callback_passes_with_the_defaults(settings, journal):
    await keep(journal, [approval(1, title="长" * 400_000), approval(2)])
    async with Running(settings, journal) as running:
        await running.comes_to(2)
    records = await read_topic(settings, settings.topic_prefix + "bpms_instance_change")
    assert sorted(numbers(records)) == [1, 2]
    assert max(len(r.value) for r in records) > 1_200_000


async def test_a_topic_that_cannot_be_made_holds_back_only_its_own_records_in_order(settings, journal):
    asked_too_much = settings.model_copy(update={"topic_replication": 3})
    other = {
        "EventType": "check_in",
        "TimeStamp": 1_731_000_000_000,
        "CorpId": "dingcorpsample01",
        "StaffId": "u",
    }
    await ensure_topics(settings, [settings.topic_prefix + "check_in"])
    await keep(journal, [approval(0), approval(1), other, approval(2)])
    async with Running(asked_too_much, journal) as running:
        await running.comes_to(4)
        assert len(await read_topic(settings, settings.topic_prefix + "check_in")) == 1
        assert [(p.seq, p.reason) for p in look(journal).parked] == [(n, "topic_missing") for n in (1, 2, 4)]
    await keep(journal, [approval(3)])
    async with Running(settings, journal) as running:
        await running.comes_to(5)
        assert [p.seq for p in look(journal).parked] == [1, 2, 4, 5], "newer ones wait behind the parked"
        running.publisher.retry()
        await eventually(lambda: not look(journal).parked, 60, "nothing parked")
        await keep(journal, [approval(4)])
        await running.comes_to(6)
    records = await read_topic(settings, settings.topic_prefix + "bpms_instance_change")
    keyed = [decode(r.value) for r in records]
    assert [e.data["number"] for e in sorted(keyed, key=lambda e: e.sequence)] == [0, 1, 2, 3, 4]


async def test_unknown_event_types_flow_but_do_not_mint_topics_without_bounds(settings, journal):
    bounded = settings.model_copy(update={"unknown_topics_max": 3})
    await keep(
        journal,
        [
            {"EventType": f"brand_new_{n}", "CorpId": "dingcorpsample01", "eventId": f"e{n}"}
            for n in range(10)
        ],
    )
    async with Running(bounded, journal) as running:
        await running.comes_to(10)
        counted = running.registry.get_sample_value
        assert counted("dingbridge_published_total", {"event_type": "other"}) == 10
        assert counted("dingbridge_published_total", {"event_type": "brand_new_1"}) is None
    prefix = settings.topic_prefix
    assert await topics(settings) == sorted(
        [prefix + "unclassified", *(f"{prefix}brand_new_{n}" for n in range(3))]
    )
    over = await read_topic(settings, prefix + "unclassified")
    assert {decode(r.value).event_type for r in over} == {f"brand_new_{n}" for n in range(3, 10)}
    async with Running(bounded, journal):  # the bound holds across a restart
        await keep(journal, [{"EventType": "brand_new_99", "CorpId": "dingcorpsample01", "eventId": "e99"}])
        await eventually(
            lambda: _count(settings, prefix + "unclassified", 8), 60, "the newest among the unclassified"
        )
    assert prefix + "brand_new_99" not in await topics(settings)


async def _count(settings, topic, count):
    return len(await read_topic(settings, topic)) == count


async def test_a_frozen_broker_holds_everything_and_loses_nothing(settings, journal, breakable_kafka):
    await keep(journal, [approval(n) for n in range(50)])
    async with Running(settings, journal) as running:
        await running.comes_to(50)
        breakable_kafka.pause()
        await keep(journal, [approval(n) for n in range(50, 300)])
        await eventually(lambda: running.report.state != "up", 60, "the outage is noticed")
        breakable_kafka.resume()
        await running.comes_to(300)
        await eventually(lambda: running.report.state == "up", 60, "up again")
    records = await read_topic(settings, settings.topic_prefix + "bpms_instance_change")
    assert set(numbers(records)) == set(range(300))
