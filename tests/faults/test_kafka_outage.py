"""Kafka dies, freezes or stays away for long: callbacks are answered all the while, nothing is lost or
reordered, and the backlog drains by itself when it is back."""

import asyncio
import time

import pytest

from tests.faults.sabotage import Sabotage
from tests.support.comparison import assert_in_order, compare
from tests.support.ingress import IngressUnderTest
from tests.support.kafka_reader import delete_topics, topics
from tests.support.load import EVENT_TYPE, Load
from tests.support.processes import eventually
from tests.support.pusher import Pusher
from tests.support.sizes import sized

SHORT = {"KAFKA_REQUEST_TIMEOUT_S": "1"}


PER_SECOND = 200


async def test_broker_killed_and_restarted_under_load(
    processes, kafka_env, kafka_settings, breakable_kafka, tmp_path, figure
):
    ingress = IngressUnderTest(processes, tmp_path, kafka_env)
    pusher = Pusher(ingress.url)
    await asyncio.to_thread(ingress.start)
    kills = sized(1, 10)
    async with Load(pusher, per_second=PER_SECOND) as load:  # at full speed it starves the broker's start
        for _ in range(kills):
            await load.more(150)
            breakable_kafka.kill()
            await asyncio.to_thread(breakable_kafka.start)
        await load.more(150)
    await eventually(lambda: asyncio.to_thread(ingress.published), 120, "the backlog is published")
    assert set(pusher.outcomes) == {"success"}, "nobody outside noticed"
    found = await compare(kafka_settings, pusher)
    figure(f"{kills} SIGKILLs of the broker; {found}")
    found.assert_holds()
    assert_in_order(found.seen, by_number=True)


async def test_broker_frozen_for_longer_than_every_time_out(
    processes, kafka_env, kafka_settings, breakable_kafka, tmp_path, figure
):
    ingress = IngressUnderTest(processes, tmp_path, kafka_env, SHORT)
    pusher = Pusher(ingress.url)
    await asyncio.to_thread(ingress.start)
    async with Load(pusher, lanes=20, per_second=100) as load:
        await eventually(lambda: asyncio.to_thread(_published, ingress), what="records in the topic")
        for _ in range(sized(1, 3)):
            await load.more(100)
            breakable_kafka.pause()
            began = time.monotonic()
            # the longest is the 10 s of an admin request; clients wait for 1 s, brokers' sessions for 3 s
            await load.more(sized(1200, 6000), timeout_s=300)
            assert await asyncio.to_thread(ingress.kafka_state) in ("stalled", "down")
            breakable_kafka.resume()
            figure(f"frozen for {time.monotonic() - began:.1f} s")
            # the load goes on: nothing waiting at all would be luck
            await eventually(lambda: asyncio.to_thread(_caught_up, ingress), 120, "the backlog is published")
        await load.more(50)
    await eventually(lambda: asyncio.to_thread(ingress.published), 120, "the rest is published")
    assert set(pusher.outcomes) == {"success"}, "nobody outside noticed"
    found = await compare(kafka_settings, pusher)
    figure(found)
    found.assert_holds()
    assert_in_order(found.seen, by_number=True)


@pytest.mark.parametrize("how", ["killed", "frozen"])
async def test_an_idle_bridge_says_that_kafka_is_gone_and_that_it_is_back(
    processes, kafka_env, breakable_kafka, tmp_path, how
):
    ingress = IngressUnderTest(processes, tmp_path, kafka_env, SHORT)
    await asyncio.to_thread(ingress.start)

    async def connected(value):
        def seen():
            metric = ingress.metric("dingbridge_kafka_connected")
            return metric == value and (ingress.kafka_state() == "up") == bool(value)

        await eventually(lambda: asyncio.to_thread(seen), what=f"connected: {value}")

    await connected(1)
    breakable_kafka.kill() if how == "killed" else breakable_kafka.pause()
    await connected(0)
    await asyncio.to_thread(breakable_kafka.start if how == "killed" else breakable_kafka.resume)
    await connected(1)


def _caught_up(ingress: IngressUnderTest) -> bool:
    return ingress.readyz()[1]["journal"]["waiting"] < 200


def _published(ingress: IngressUnderTest) -> bool:
    return ingress.metric("dingbridge_published_total") > 0


async def test_broker_away_at_a_steady_rate_and_the_backlog_drains_in_order(
    processes, kafka_env, kafka_settings, breakable_kafka, tmp_path, figure
):
    ingress = IngressUnderTest(processes, tmp_path, kafka_env, SHORT)
    pusher = Pusher(ingress.url)
    away_s = sized(5, 600)
    await asyncio.to_thread(ingress.start)
    async with Load(pusher, lanes=40, per_second=PER_SECOND) as load:
        await load.more(PER_SECOND)
        breakable_kafka.kill()
        await load.more(away_s * PER_SECOND, timeout_s=20 * away_s)
        waited = (await asyncio.to_thread(ingress.readyz))[1]["journal"]["waiting"]
        await asyncio.to_thread(breakable_kafka.start)
        await load.more(PER_SECOND)
    await eventually(lambda: asyncio.to_thread(ingress.published), 300, "the backlog is published")
    found = await compare(kafka_settings, pusher)
    figure(
        f"away for {away_s} s at {PER_SECOND}/s, {waited} waited; answered within p50 "
        f"{pusher.percentile_ms(50):.1f} ms, p99 {pusher.percentile_ms(99):.1f} ms; {found}"
    )
    assert set(pusher.outcomes) == {"success"}, "nobody outside noticed"
    assert waited >= away_s * PER_SECOND
    found.assert_holds()
    assert_in_order(found.seen, by_number=True)


@pytest.mark.parametrize(
    ("method", "call"),
    [("Sender._maybe_wait_for_pid", 1), ("SendProduceReqHandler.do", 5)],
    ids=["at its start", "under load"],
)
async def test_a_kafka_client_that_hangs_for_good_is_replaced(
    processes, kafka_env, kafka_settings, tmp_path, figure, method, call
):
    """A request that never ends, as by a fault of the client: nothing else would ever end it."""
    hang = Sabotage(tmp_path / "sabotage", f"aiokafka.producer.sender:{method}", "hangs", call)
    ingress = IngressUnderTest(processes, tmp_path, kafka_env, SHORT, hang.env)
    pusher = Pusher(ingress.url)
    await asyncio.to_thread(ingress.start)
    async with Load(pusher, lanes=20, per_second=100) as load:
        await eventually(lambda: hang.done, what="the request that hangs")
        await load.more(100)
    await eventually(lambda: asyncio.to_thread(ingress.published), 120, "the backlog is published")
    assert set(pusher.outcomes) == {"success"}, "nobody outside noticed"
    found = await compare(kafka_settings, pusher)
    figure(found)
    found.assert_holds()
    assert_in_order(found.seen, by_number=True)


# -- Topics that vanish, refuse, or are asked for without bounds. Callbacks come by HTTP, as DingTalk's do


async def test_a_topic_deleted_under_load_is_made_again_and_what_follows_is_whole(
    processes, kafka_env, kafka_settings, tmp_path, figure
):
    ingress = IngressUnderTest(processes, tmp_path, kafka_env)
    pusher = Pusher(ingress.url)
    topic = kafka_settings.topic_prefix + EVENT_TYPE
    await asyncio.to_thread(ingress.start)
    async with Load(pusher, lanes=20, per_second=200) as load:
        await load.more(200)
        await eventually(lambda: asyncio.to_thread(_has_published, ingress, 100), what="records in the topic")
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


def _has_published(ingress: IngressUnderTest, goal: float) -> bool:
    return ingress.metric("dingbridge_published_total") >= goal
