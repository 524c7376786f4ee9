"""Ingresses behind a real load balancer, haproxy with ``deploy/edge/haproxy.cfg``: what is answered is in
Kafka, whichever dies, fills its disk, is restarted, comes or goes. DingTalk pushes again what was not
answered; the balancer never does.
"""

import asyncio
import json
from collections.abc import AsyncIterator
from dataclasses import dataclass

import pytest

from tests.support.balancer import Balancer
from tests.support.comparison import Comparison, assert_in_order, compare
from tests.support.disk import SickDisk
from tests.support.ingress import IngressUnderTest
from tests.support.load import Load
from tests.support.pusher import Pusher
from tests.support.sizes import sized
from tests.support.waiting import eventually

ROUNDS = sized(1, 10)
LANES = 12
PER_SECOND, SOME = sized((200, 100), (0, 100), quick=(50, 25))
"""Callbacks a second, and how many at each number of ingresses."""


@dataclass
class Edge:
    """The balancer, its ingresses by the names that it gives them, and who pushes."""

    balancer: Balancer
    ingresses: dict[str, IngressUnderTest]
    disk: SickDisk
    pusher: Pusher

    async def up(self, name: str) -> None:
        await eventually(lambda: asyncio.to_thread(self.balancer.is_up, name), what=f"{name} is asked again")

    async def down(self, name: str) -> None:
        await eventually(
            lambda: asyncio.to_thread(lambda: not self.balancer.is_up(name)), what=f"{name} is asked no more"
        )

    async def compare(self, settings) -> Comparison:
        for ingress in self.ingresses.values():
            await eventually(
                lambda i=ingress: asyncio.to_thread(i.published), 120, "the backlog is published"
            )
        return await compare(settings, self.pusher)


@pytest.fixture
async def edge(processes, kafka_env, tmp_path) -> AsyncIterator[Edge]:
    disk = SickDisk(tmp_path / "disk")
    ingresses = {
        "one": IngressUnderTest(processes, tmp_path / "one", kafka_env),
        "two": IngressUnderTest(processes, tmp_path / "two", kafka_env, disk.env),
    }
    await asyncio.gather(*(asyncio.to_thread(ingress.start) for ingress in ingresses.values()))
    with Balancer(processes, list(ingresses.values())) as balancer:
        yield Edge(balancer, ingresses, disk, Pusher(balancer.url))


async def test_one_is_killed_under_load(edge, kafka_settings, figure):
    async with Load(edge.pusher, lanes=LANES) as load:
        for _ in range(ROUNDS):
            for name, ingress in edge.ingresses.items():
                await load.more(150)
                ingress.process.kill()
                await edge.down(name)
                await load.more(150)  # the other one serves alone
                await asyncio.to_thread(ingress.start)
                await edge.up(name)
        await load.more(100)
    found = await edge.compare(kafka_settings)
    figure(f"{2 * ROUNDS} killed; p99 {edge.pusher.percentile_ms(99):.0f} ms; {found}")
    found.assert_holds()
    assert_in_order(found.seen)
    assert len({record.journal for record in found.seen}) == 2


async def test_one_with_a_full_disk_is_asked_no_more_until_it_has_room(edge, kafka_settings, figure):
    async with Load(edge.pusher, lanes=LANES) as load:
        for _ in range(ROUNDS):
            await load.more(100)
            edge.disk.falls("full")
            await edge.down("two")
            await load.more(10)  # what was on its way has its answer
            refused = edge.pusher.outcomes["503"]
            await load.more(200)
            assert edge.pusher.outcomes["503"] == refused, "the other one takes all"
            edge.disk.recovers()
            await edge.up("two")
        await load.more(200)
    found = await edge.compare(kafka_settings)
    figure(f"full {ROUNDS} times; p99 {edge.pusher.percentile_ms(99):.0f} ms; {found}")
    found.assert_holds()
    assert_in_order(found.seen)
    assert set(edge.pusher.outcomes) <= {"success", "503"}


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

    await asyncio.to_thread(one.start)
    with Balancer(processes, [one, two, three]) as balancer:
        edge = Edge(balancer, {"one": one}, SickDisk(tmp_path / "disk"), Pusher(balancer.url))
        await asyncio.gather(edge.down("two"), edge.down("three"))
        async with Load(edge.pusher, lanes=LANES, per_second=PER_SECOND) as load:
            await load.more(SOME)
            for name, ingress in (("two", two), ("three", three)):
                await asyncio.to_thread(ingress.start)
                await edge.up(name)
                await load.more(SOME)

            await asyncio.to_thread(balancer.drain, "two")
            await eventually(nothing_waits, what="nothing waits or is parked there")
            two.process.terminate()
            assert await asyncio.to_thread(two.process.wait, 15) == 0
            assert (await command(two, "journal", "publish")).returncode == 0
            await load.more(SOME)
            assert set(edge.pusher.outcomes) == {"success"}, "until here nobody noticed anything"

            await eventually(lambda: asyncio.to_thread(published_of_its_own, three), what="three publishes")
            three.process.kill()
            await edge.down("three")
            await load.more(SOME)
            drained = await command(one, "journal", "drain", str(three.journal))
            assert (drained.returncode, "unreadable: 0" in drained.stdout) == (0, True), drained.stderr
        found = await edge.compare(kafka_settings)
    figure(f"1, 3, 1; p99 {edge.pusher.percentile_ms(99):.0f} ms; {found}")
    found.assert_holds(put_aside=1)  # what was pushed again to one before it had the folder of three
    assert len({record.journal for record in found.seen}) == 3
