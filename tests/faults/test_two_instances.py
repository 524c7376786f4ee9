"""Two ingress instances, each with its own journal, behind one address: either may die."""

import asyncio
from collections import defaultdict

import aiohttp

from tests.support.comparison import assert_in_order, compare
from tests.support.ingress import IngressUnderTest
from tests.support.load import Load, event
from tests.support.processes import eventually
from tests.support.proxy import RoundRobin
from tests.support.pusher import Pusher
from tests.support.sizes import sized


async def test_either_of_two_instances_dies_and_nothing_is_lost(
    processes, kafka_env, kafka_settings, tmp_path, figure
):
    instances = [IngressUnderTest(processes, tmp_path / name, kafka_env) for name in ("one", "two")]
    await asyncio.gather(*(asyncio.to_thread(instance.start) for instance in instances))
    async with RoundRobin([instance.port for instance in instances]) as balancer:
        pusher = Pusher(f"http://127.0.0.1:{balancer.port}/callback")
        async with Load(pusher, lanes=12) as load:
            for _ in range(sized(1, 10)):
                for instance in instances:
                    await load.more(100)
                    instance.process.kill()
                    await load.more(100)  # the other one serves alone
                    await asyncio.to_thread(instance.start)
            await load.more(100)
    twice = range(1_000_000, 1_000_020)
    for instance in instances:
        # as when an answer was lost on its way and DingTalk's retry reached the other one
        pusher.url = instance.url
        async with aiohttp.ClientSession() as http:
            for number in twice:
                assert await pusher.push(http, number, event(number)) == "success"
    for instance in instances:
        await eventually(
            lambda each=instance: asyncio.to_thread(each.published), 120, "both backlogs are published"
        )
    found = await compare(kafka_settings, pusher)
    by_journal = defaultdict(int)
    for record in found.seen:
        by_journal[record.journal] += 1
    figure(f"{sorted(by_journal.values())} records by journal; {found}")
    found.assert_holds()  # also that one event has one (source, id), whichever journal kept it
    assert_in_order(found.seen)
    assert len(by_journal) == 2
    assert set(twice) <= found.in_two_journals
