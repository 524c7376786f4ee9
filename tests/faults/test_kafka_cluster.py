"""Three brokers, and so topics that want two of three copies in sync: leaders die, then the majority."""

import asyncio
from collections.abc import Iterator

import pytest
from aiokafka import TopicPartition
from aiokafka.client import AIOKafkaClient

from dev.servers import KafkaServer, start_kafka
from dingbridge.kafka.client import connection
from dingbridge.settings import KafkaSettings
from tests.support.comparison import assert_in_order, compare
from tests.support.ingress import IngressUnderTest
from tests.support.load import EVENT_TYPE, Load, event
from tests.support.processes import eventually
from tests.support.pusher import Pusher
from tests.support.sizes import LONG

SHORT = {"KAFKA_REQUEST_TIMEOUT_S": "3", "TOPIC_REPLICATION": "3", "TOPIC_PARTITIONS": "3"}


@pytest.fixture
def cluster(tmp_path) -> Iterator[KafkaServer]:
    with start_kafka(tmp_path, how="jars", brokers=3) as brokers:
        yield brokers


@pytest.fixture
def cluster_settings(cluster) -> KafkaSettings:
    return KafkaSettings.load(kafka_bootstrap_servers=cluster.bootstrap)


async def test_the_leader_is_killed_under_load(processes, cluster, cluster_settings, tmp_path, figure):
    ingress = IngressUnderTest(processes, tmp_path, {"KAFKA_BOOTSTRAP_SERVERS": cluster.bootstrap}, SHORT)
    pusher = Pusher(ingress.url)
    await asyncio.to_thread(ingress.start)
    async with Load(pusher, lanes=12, per_second=120) as load:
        await load.more(150)
        await eventually(lambda: asyncio.to_thread(_published, ingress, 100), 120, "records in the cluster")
        leader = await _leader(cluster_settings)
        cluster.kill(leader)
        at_the_kill = await asyncio.to_thread(_count, ingress)
        await eventually(
            lambda: asyncio.to_thread(_published, ingress, at_the_kill + 150), 120, "the others take over"
        )
        if LONG:
            await _two_die_and_one_comes_back(ingress, cluster, leader, load)
    await eventually(lambda: asyncio.to_thread(ingress.published), 180, "the backlog is published")
    assert set(pusher.outcomes) == {"success"}, "nobody outside noticed"
    found = await compare(cluster_settings, pusher)
    figure(f"{'leader, then a second one killed' if LONG else 'leader killed'}; {found}")
    found.assert_holds()
    assert_in_order(found.seen, by_number=True)


async def _two_die_and_one_comes_back(ingress, cluster, leader, load):
    second = (leader + 1) % 3
    cluster.kill(second)
    await load.more(300)
    stuck = await asyncio.to_thread(_count, ingress)
    await eventually(lambda: asyncio.to_thread(_not_up, ingress), what="the publisher says that it is stuck")
    words = (await asyncio.to_thread(ingress.readyz))[1]["kafka"]["words"]
    assert "KAFKA_BOOTSTRAP_SERVERS" not in words, "two brokers are dead, the setting is right"
    await load.more(600, timeout_s=300)
    assert await asyncio.to_thread(_count, ingress) == stuck, "one replica of three is no acknowledgement"
    # a new publisher must ask for its topics, and one of them is new
    await load.pusher.push_all([(1_000_000, event(1_000_000, event_type="bpms_task_change"))])
    await asyncio.to_thread(ingress.restart)
    await load.more(6000, timeout_s=300)
    parked = await asyncio.to_thread(ingress.metric, "dingbridge_parked")
    assert not parked, "refused for the moment, not for itself"
    await asyncio.to_thread(cluster.start, second)
    await eventually(lambda: asyncio.to_thread(_published, ingress, stuck + 300), 180, "writes are taken")


def _not_up(ingress: IngressUnderTest) -> bool:
    return ingress.kafka_state() in ("stalled", "down")


def _count(ingress: IngressUnderTest) -> float:
    return ingress.metric("dingbridge_published_total")


def _published(ingress: IngressUnderTest, goal: float) -> bool:
    return _count(ingress) >= goal


async def _leader(settings: KafkaSettings) -> int:
    """The broker, counted from 0, that leads partition 0 of the events' topic."""
    client = AIOKafkaClient(**connection(settings))
    await client.bootstrap()
    try:
        metadata = await client.fetch_all_metadata()
        node_id = metadata.leader_for_partition(TopicPartition(settings.topic_prefix + EVENT_TYPE, 0))
        return int(node_id) - 1
    finally:
        await client.close()
