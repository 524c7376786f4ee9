"""Kafka dies, freezes or stays away for long: callbacks are answered all the while, nothing is lost or
reordered, and the backlog drains by itself when it is back."""

import asyncio

import pytest

from tests.support.comparison import assert_in_order, compare
from tests.support.ingress import IngressUnderTest
from tests.support.kafka_reader import delete_topics, topics
from tests.support.load import EVENT_TYPE, Load
from tests.support.processes import eventually
from tests.support.pusher import Pusher
from tests.support.sizes import sized

SHORT = {"KAFKA_REQUEST_TIMEOUT_S": "1"}


PER_SECOND, SOME = sized((200, 150), (200, 150), quick=(30, 30))
"""Callbacks a second, and how many between two things that befall the broker."""


async def test_broker_killed_and_restarted_under_load(
    processes, kafka_env, kafka_settings, breakable_kafka, tmp_path, figure
):
    ingress = IngressUnderTest(processes, tmp_path, kafka_env)
    pusher = Pusher(ingress.url)
    await asyncio.to_thread(ingress.start)
    kills = sized(1, 10)
    async with Load(pusher, per_second=PER_SECOND) as load:  # at full speed it starves the broker's start
        for _ in range(kills):
            await load.more(SOME)
            breakable_kafka.kill()
            await asyncio.to_thread(breakable_kafka.start)
        await load.more(SOME)
    await eventually(lambda: asyncio.to_thread(ingress.published), 120, "the backlog is published")
    assert set(pusher.outcomes) == {"success"}, "nobody outside noticed"
    found = await compare(kafka_settings, pusher)
    figure(f"{kills} SIGKILLs of the broker; {found}")
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


HANGS = """
import asyncio
from pathlib import Path
from aiokafka.producer.sender import {owner} as owner

method, calls, marker = owner.{method}, [0], Path({marker!r})


async def hangs(*args, **kwargs):
    calls[0] += 1
    if calls[0] >= {call} and not marker.exists():
        marker.touch()
        await asyncio.Event().wait()
    return await method(*args, **kwargs)


owner.{method} = hangs
"""
"""A ``sitecustomize``: the call with that number never returns, once; the file ``marker`` remembers."""


@pytest.mark.parametrize(
    ("owner", "method", "call"),
    [("Sender", "_maybe_wait_for_pid", 1), ("SendProduceReqHandler", "do", 5)],
    ids=["at its start", "under load"],
)
async def test_a_kafka_client_that_hangs_for_good_is_replaced(
    processes, kafka_env, kafka_settings, tmp_path, figure, owner, method, call
):
    """A request that never ends, as by a fault of the client: nothing else would ever end it."""
    marker = tmp_path / "hangs"
    script = HANGS.format(owner=owner, method=method, call=call, marker=str(marker))
    await asyncio.to_thread((tmp_path / "sitecustomize.py").write_text, script)
    env = {"PYTHONPATH": str(tmp_path)}
    ingress = IngressUnderTest(processes, tmp_path, kafka_env, SHORT, env)
    pusher = Pusher(ingress.url)
    await asyncio.to_thread(ingress.start)
    async with Load(pusher, lanes=20, per_second=100) as load:
        await eventually(marker.exists, what="the request that hangs")
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
