"""The promise, under SIGKILL: what was answered ``success`` is in Kafka, and nothing is answered falsely."""

import asyncio
import random
import time

from tests.support.comparison import assert_in_order, compare
from tests.support.ingress import IngressUnderTest
from tests.support.load import Load, event
from tests.support.processes import eventually
from tests.support.pusher import Pusher
from tests.support.sizes import new_seed, sized

KILLS = sized(8, 200, quick=3)


async def test_ingress_killed_at_random_moments_under_load(
    processes, kafka_env, kafka_settings, tmp_path, figure
):
    ingress = IngressUnderTest(processes, tmp_path, kafka_env)
    pusher = Pusher(ingress.url)
    seed = new_seed()
    dice = random.Random(seed)
    await asyncio.to_thread(ingress.start)
    async with Load(pusher) as load:
        for _ in range(KILLS):
            await load.more(dice.randrange(10, 250))
            await asyncio.to_thread(ingress.restart)
        await load.more(100)
    await eventually(lambda: asyncio.to_thread(ingress.published), 120, "the backlog is published")

    found = await compare(kafka_settings, pusher)
    figure(f"{KILLS} kills, seed {seed}; {found}")
    found.assert_holds()
    assert_in_order(found.seen, by_number=True)
    assert len(pusher.succeeded) > KILLS * 10
    assert set(pusher.outcomes) - {"success"}, "the kills were felt"


async def test_kafka_absent_from_the_start_then_there(
    processes, kafka_env, kafka_settings, breakable_kafka, tmp_path, figure
):
    breakable_kafka.pause()
    ingress = IngressUnderTest(processes, tmp_path, kafka_env)
    pusher = Pusher(ingress.url)
    await asyncio.to_thread(ingress.start)
    await pusher.push_all((n, event(n, n % 7)) for n in range(300))
    assert pusher.succeeded == set(range(300)), "kept and answered without Kafka"
    status, details = await asyncio.to_thread(ingress.readyz)
    assert (status, details["journal"]["waiting"]) == (200, 300)
    breakable_kafka.resume()
    await eventually(lambda: asyncio.to_thread(ingress.published), 120, "the backlog is published")
    found = await compare(kafka_settings, pusher)
    figure(found)
    found.assert_holds()
    assert_in_order(found.seen)


async def test_sigterm_under_load_answers_what_it_accepted(
    processes, kafka_env, kafka_settings, tmp_path, figure
):
    ingress = IngressUnderTest(processes, tmp_path, kafka_env)
    pusher = Pusher(ingress.url)
    await asyncio.to_thread(ingress.start)
    async with Load(pusher) as load:
        await load.more(200)
        began = time.monotonic()
        ingress.process.terminate()
        # SHUTDOWN_TIMEOUT_S is 8; DingTalk comes again after 10
        assert await asyncio.to_thread(ingress.process.wait, 10) == 0
        ended = time.monotonic()
        await asyncio.to_thread(ingress.start)
        figure(f"ended by itself after {ended - began:.1f} s, ready again {time.monotonic() - began:.1f} s")
        await load.more(100)
    await eventually(lambda: asyncio.to_thread(ingress.published), 120, "the backlog is published")
    found = await compare(kafka_settings, pusher)
    figure(found)
    found.assert_holds()
    assert_in_order(found.seen, by_number=True)
    # DingTalk's to retry: refused connections, and requests that meet a kept-alive one as it is closed
    refused = {"ClientConnectorError", "ClientOSError", "ServerDisconnectedError"}
    assert set(pusher.outcomes) <= {"success", *refused}
