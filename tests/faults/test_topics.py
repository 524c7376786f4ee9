"""Topics that vanish, refuse, or are asked for without bounds. Callbacks come by HTTP, as DingTalk's do."""

import asyncio
import json

import aiohttp
from aiokafka.admin import AIOKafkaAdminClient, NewTopic

from dingbridge.kafka.client import connection
from tests.support.comparison import assert_in_order, compare
from tests.support.ingress import IngressUnderTest
from tests.support.kafka_reader import delete_topics, topics
from tests.support.load import EVENT_TYPE, Load, event
from tests.support.processes import eventually
from tests.support.pusher import Pusher
from tests.support.sizes import sized


async def test_a_topic_deleted_under_load_is_made_again_and_what_follows_is_whole(
    processes, kafka_env, kafka_settings, tmp_path, figure
):
    ingress = IngressUnderTest(processes, tmp_path, kafka_env)
    pusher = Pusher(ingress.url)
    topic = kafka_settings.topic_prefix + EVENT_TYPE
    await asyncio.to_thread(ingress.start)
    async with Load(pusher, lanes=20, per_second=200) as load:
        await load.more(200)
        await eventually(lambda: asyncio.to_thread(_published, ingress, 100), what="records in the topic")
        await delete_topics(kafka_settings, [topic])
        await load.more(200)
    await eventually(lambda: asyncio.to_thread(ingress.drained), 120, "the backlog is published")
    assert set(pusher.outcomes) == {"success"}, "nobody outside noticed"
    assert await topics(kafka_settings) == [topic]
    found = await compare(kafka_settings, pusher)
    there = sorted({int(record.sequence) for record in found.seen})
    last = len(pusher.succeeded)
    figure(f"{last} callbacks, in the topic that was made again the last {len(there)}, without a gap")
    # what the operator deleted is gone; from the first that is there on, none is missing
    assert there == list(range(there[0], last + 1))
    assert len(there) >= 200
    assert_in_order(found.seen, by_number=True)


def _published(ingress: IngressUnderTest, goal: float) -> bool:
    return ingress.metric("dingbridge_published_total") >= goal


async def test_records_over_the_topics_limit_are_parked_under_load_and_retried_when_it_is_raised(
    processes, kafka_env, kafka_settings, tmp_path, figure
):
    ingress = IngressUnderTest(processes, tmp_path, kafka_env)
    pusher = Pusher(ingress.url)
    topic = kafka_settings.topic_prefix + EVENT_TYPE
    admin = AIOKafkaAdminClient(**connection(kafka_settings))
    await admin.start()
    await admin.create_topics([NewTopic(topic, 2, 1, topic_configs={"max.message.bytes": "30000"})])
    await asyncio.to_thread(ingress.start)
    large = set(range(1_000_000, 1_000_003))
    async with Load(pusher, lanes=20, per_second=200) as load, aiohttp.ClientSession() as http:
        for number in sorted(large):
            await load.more(50)
            assert await pusher.push(http, number, event(number, "large", title="大" * 30_000)) == "success"
        await eventually(lambda: asyncio.to_thread(_parked, ingress, 3), what="three are parked")
        published = await asyncio.to_thread(ingress.metric, "dingbridge_published_total")
        await load.more(50)
        await eventually(lambda: asyncio.to_thread(_published, ingress, published + 50), what="others go on")
        assert await asyncio.to_thread(ingress.metric, "dingbridge_kafka_errors_total") >= 3
        assert await asyncio.to_thread(ingress.kafka_state) == "up", "by new producers"

        await raise_limit(admin, topic)
        retried = await asyncio.to_thread(
            processes.run, "journal", "retry", env={**kafka_env, **ingress.env}, timeout_s=60
        )
        assert retried.returncode == 0, retried.stderr
        await eventually(lambda: asyncio.to_thread(_parked, ingress, 0), what="nothing is parked")
    await eventually(lambda: asyncio.to_thread(ingress.drained), 120, "all is published")
    assert set(pusher.outcomes) == {"success"}
    found = await compare(kafka_settings, pusher)
    figure(f"three parked, retried under load: {found}")
    found.assert_holds()
    assert_in_order(found.seen, by_number=True)
    await admin.close()


async def raise_limit(admin: AIOKafkaAdminClient, topic: str) -> None:
    """Gives the topic the limit of our own policy."""
    from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType

    limit = {"max.message.bytes": str(6 << 20)}
    await admin.alter_configs([ConfigResource(ConfigResourceType.TOPIC, topic, configs=limit)])


def _parked(ingress: IngressUnderTest, count: int) -> bool:
    return ingress.metric("dingbridge_parked") == count


async def test_a_callback_of_700_kilobytes_passes_with_the_defaults(
    processes, kafka_env, kafka_settings, tmp_path, figure
):
    ingress = IngressUnderTest(processes, tmp_path, kafka_env)
    pusher = Pusher(ingress.url)
    await asyncio.to_thread(ingress.start)
    bodies = [event(0), event(1, title="长" * 235_000), event(2)]
    await pusher.push_all(enumerate(bodies), concurrency=1)
    await eventually(lambda: asyncio.to_thread(ingress.drained), what="all is published")
    assert [pusher.answers[n] for n in range(3)] == ["success"] * 3
    found = await compare(kafka_settings, pusher)
    figure(f"{len(bodies[1])} bytes; {found}")
    found.assert_holds()
    assert len(bodies[1]) > 700_000


async def test_a_flood_of_unknown_event_types_is_bounded_in_topics_and_in_metric_series(
    processes, kafka_env, kafka_settings, tmp_path, figure
):
    ingress = IngressUnderTest(processes, tmp_path, kafka_env, {"UNKNOWN_TOPICS_MAX": "5"})
    pusher = Pusher(ingress.url)
    await asyncio.to_thread(ingress.start)
    await pusher.push_all([(0, event(0)), (1, unknown(1))])
    await eventually(lambda: asyncio.to_thread(ingress.drained), what="the first are published")
    await eventually(lambda: asyncio.to_thread(_published, ingress, 2), what="and counted")
    series = await asyncio.to_thread(_series, ingress)

    await pusher.push_all((n, unknown(n)) for n in range(2, sized(500, 20_000)))
    await eventually(lambda: asyncio.to_thread(ingress.drained), 300, "the flood is published")
    await eventually(lambda: asyncio.to_thread(_published, ingress, len(pusher.answers)), what="and counted")
    new = await asyncio.to_thread(_series, ingress) - series
    names = await topics(kafka_settings)
    found = await compare(kafka_settings, pusher)
    figure(f"{len(pusher.answers)} unknown types: {len(names)} topics, {len(new)} new series; {found}")
    assert len(names) == 5 + 2, "five unknown ones, the known one, the unclassified"
    assert not [words for words in new if "brand_new" in words]
    assert len(new) <= 2, new
    found.assert_holds()


def unknown(number: int) -> bytes:
    """An event of a type that the catalogue does not have, each of another."""
    payload = {
        "EventType": f"brand_new_{number}",
        "CorpId": "dingcorpsample01",
        "eventId": f"e{number}",
        "number": number,
    }
    return json.dumps(payload).encode()


def _series(ingress: IngressUnderTest) -> set[str]:
    return {f"{s.name}{sorted(s.labels.items())}" for family in ingress.metrics() for s in family.samples}
