"""Ingresses behind a real load balancer, haproxy with ``deploy/edge/haproxy.cfg``: what is answered is in
Kafka, whichever dies, comes or goes. DingTalk pushes again what was not answered; the balancer never does.
"""

import asyncio
import json

from tests.support.balancer import Balancer
from tests.support.comparison import assert_in_order, compare
from tests.support.ingress import IngressUnderTest
from tests.support.load import Load
from tests.support.pusher import Pusher
from tests.support.sizes import sized
from tests.support.waiting import eventually

PER_SECOND, SOME = sized((200, 100), (0, 100), quick=(50, 25))
"""Callbacks a second, and how many at each number of ingresses."""


def published_of_its_own(ingress) -> bool:
    return ingress.metric("dingbridge_published_total") > 0


async def test_one_becomes_three_and_one_again(processes, kafka_env, kafka_settings, tmp_path, figure):
    """As docs/guide/more-ingresses.md says: one is given up in order, of the other only the disk is left."""
    names = ("one", "two", "three")
    one, two, three = (IngressUnderTest(processes, tmp_path / name, kafka_env) for name in names)

    async def command(ingress, *arguments):
        return await asyncio.to_thread(processes.run, *arguments, env=ingress.env)

    async def nothing_waits():
        stats = json.loads((await command(two, "journal", "stats", "--json")).stdout)
        return (stats["waiting"], stats["parked"]) == (0, [])

    async def asked(name):
        await eventually(lambda: asyncio.to_thread(balancer.is_up, name), what=f"{name} is asked")

    async def asked_no_more(name):
        await eventually(
            lambda: asyncio.to_thread(lambda: not balancer.is_up(name)), what=f"{name} is asked no more"
        )

    await asyncio.to_thread(one.start)
    with Balancer(processes, [one, two, three]) as balancer:
        pusher = Pusher(balancer.url)
        await asyncio.gather(asked_no_more("two"), asked_no_more("three"))
        async with Load(pusher, lanes=12, per_second=PER_SECOND) as load:
            await load.more(SOME)
            for name, ingress in (("two", two), ("three", three)):
                await asyncio.to_thread(ingress.start)
                await asked(name)
                await load.more(SOME)

            await asyncio.to_thread(balancer.drain, "two")
            await eventually(nothing_waits, what="nothing waits or is parked there")
            two.process.terminate()
            assert await asyncio.to_thread(two.process.wait, 15) == 0
            assert (await command(two, "journal", "publish")).returncode == 0
            await load.more(SOME)
            assert set(pusher.outcomes) == {"success"}, "until here nobody noticed anything"

            await eventually(lambda: asyncio.to_thread(published_of_its_own, three), what="three publishes")
            three.process.kill()
            await asked_no_more("three")
            await load.more(SOME)
            drained = await command(one, "journal", "drain", str(three.journal))
            assert (drained.returncode, "unreadable: 0" in drained.stdout) == (0, True), drained.stderr
        await eventually(lambda: asyncio.to_thread(one.published), 120, "the backlog is published")
        found = await compare(kafka_settings, pusher)
    figure(f"1, 3, 1; p99 {pusher.percentile_ms(99):.0f} ms; {found}")
    found.assert_holds(put_aside=1)  # what was pushed again to one before it had the folder of three
    assert_in_order(found.seen)
    assert len({record.journal for record in found.seen}) == 3
