"""Ingresses and consumers are restarted one after the other, as for a new version, while callbacks come:
nothing is lost, nobody outside notices, and every event takes effect once.
"""

import asyncio

import aiohttp

from tests.faults.counting import NAME, PLACE, all_applied, applied
from tests.integration.worker_support import installed
from tests.support.balancer import Balancer
from tests.support.comparison import compare
from tests.support.ingress import IngressUnderTest
from tests.support.load import Load, event
from tests.support.pusher import Pusher
from tests.support.sizes import sized
from tests.support.waiting import eventually

TWICE = range(1_000_000, 1_000_020)


async def test_all_are_restarted_under_load(
    processes, kafka_env, kafka_settings, postgres_url, tmp_path, figure
):
    ingresses = {name: IngressUnderTest(processes, tmp_path / name, kafka_env) for name in ("one", "two")}
    await asyncio.gather(*(asyncio.to_thread(ingress.start) for ingress in ingresses.values()))
    env = {**kafka_env, **installed(tmp_path, NAME, PLACE), "DATABASE_URL": postgres_url}
    members = [processes.start("consume", NAME, env=env) for _ in range(2)]
    with Balancer(processes, list(ingresses.values())) as balancer:
        pusher = Pusher(balancer.url)
        async with Load(pusher, lanes=12, per_second=150) as load:
            await asyncio.gather(
                *(asyncio.to_thread(one.wait_for_log, "consumer.assigned") for one in members)
            )
            for _ in range(sized(1, 10)):
                for name, ingress in ingresses.items():
                    await load.more(100)
                    await asyncio.to_thread(balancer.drain, name)
                    ingress.process.terminate()
                    assert await asyncio.to_thread(ingress.process.wait, 30) == 0
                    await asyncio.to_thread(ingress.start)
                    await asyncio.to_thread(balancer.back, name)
                for number, member in enumerate(members):
                    await load.more(100)
                    member.terminate()
                    assert await asyncio.to_thread(member.wait, 60) == 0
                    members[number] = processes.start("consume", NAME, env=env)
                    await asyncio.to_thread(members[number].wait_for_log, "consumer.assigned")
            await load.more(100)
        assert set(pusher.outcomes) == {"success"}, "nobody outside noticed"
    for ingress in ingresses.values():
        # as when an answer was lost on its way, and DingTalk's next try reached the other one
        pusher.url = ingress.url
        async with aiohttp.ClientSession() as http:
            for number in TWICE:
                assert await pusher.push(http, number, event(number)) == "success"
    for ingress in ingresses.values():
        await eventually(lambda i=ingress: asyncio.to_thread(i.published), 120, "the backlog is published")
    found = await compare(kafka_settings, pusher)
    found.assert_holds()
    assert found.in_two_journals == set(TWICE)
    await eventually(lambda: all_applied(postgres_url, found.seen), 120, "all took effect")
    effects = await applied(postgres_url)
    figure(f"{found}; {effects.total()} effects of {len(effects)} events")
    assert effects.total() == len(effects), "an event took effect twice"
    assert effects.keys() == {record.id for record in found.seen}
