"""The faults of the soak: each is done, lasts for a random time, and is undone; its words say what it was."""

import asyncio
import json
import os
import random
from collections.abc import Awaitable, Callable
from contextlib import closing, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiohttp
import apsw

from dev.servers import KafkaServer, free_port
from dingbridge.ingress.journal.folder import current, put_aside
from dingbridge.simulator.kafka.brokers import JarsKafka
from tests.support.disk import SickDisk, Sickness
from tests.support.ingress import IngressUnderTest
from tests.support.load import event
from tests.support.proxy import RoundRobin
from tests.support.pusher import Pusher
from tests.support.waiting import eventually

LANES = 40
PAGE = 4096
EXTRA = 100_000_000
"""Numbers from here on are pushes beside the steady load."""


class KafkaBehindNetwork(JarsKafka):
    """Three brokers. Who asks at ``behind`` is sent through a network of each; at ``bootstrap`` they are
    reached as they are, and so they reach each other."""

    def __init__(self, folder: Path) -> None:
        self._ports = [free_port() for _ in range(3)]
        self.behind = ",".join(f"127.0.0.1:{port}" for port in self._ports)
        super().__init__(folder, brokers=3, because="", long_run=True)

    def networks(self) -> list[RoundRobin]:
        return [
            RoundRobin([node.sasl_port], port=port)
            for node, port in zip(self._nodes, self._ports, strict=True)
        ]

    def _properties(self, node: Any) -> dict[str, str]:
        found = super()._properties(node)
        found["listeners"] += f",BEHIND://127.0.0.1:{node.sasl_port}"
        found["advertised.listeners"] += f",BEHIND://127.0.0.1:{self._ports[node.number - 1]}"
        found["listener.security.protocol.map"] += ",BEHIND:PLAINTEXT"
        return found


@dataclass
class Scene:
    """What the faults are done to. ``dice`` decides all that is random. ``hurt`` are numbers whose callbacks
    a fault has made unreadable, ``unreadable`` how many the ingress says it could not read, ``put_aside`` how
    many journals."""

    ingress: IngressUnderTest
    kafka: KafkaServer
    disk: SickDisk
    pusher: Pusher
    dice: random.Random
    networks: list[RoundRobin] = field(default_factory=list)
    extras: int = EXTRA
    hurt: set[int] = field(default_factory=set)
    unreadable: int = 0
    put_aside: int = 0

    def extra(self) -> int:
        self.extras += 1
        return self.extras

    async def wait(self, least_s: float, most_s: float) -> None:
        await asyncio.sleep(self.dice.uniform(least_s, most_s))

    async def started_again(self) -> None:
        """As whatever runs the ingress does when it has ended. What was put aside is drained before the next
        fault: a second damage before that would end the ingress for good, and rightly so."""
        root = self.ingress.journal
        if self.ingress.process is None or not self.ingress.process.running:
            before = put_aside(root)
            try:
                await asyncio.to_thread(self.ingress.start)
            except AssertionError:  # it ends when it has put a damaged journal aside, at its start too
                if put_aside(root) == before:
                    raise
                await asyncio.to_thread(self.ingress.start)
        if folders := {path.parent for path in (*put_aside(root), *put_aside(root, drained=True))}:
            await eventually(lambda: not put_aside(root), 300, "what was put aside is drained")
            self.put_aside += len(folders)
            told = (await asyncio.to_thread(self.ingress.readyz))[1]["journal"]["put_aside"]
            self.unreadable += sum(one["unreadable"] for one in told)
            for left in put_aside(root, drained=True):  # whoever has looked at it moves it away
                left.parent.rename(root.parent / left.parent.name)

    async def push(self, number: int, payload: bytes) -> None:
        async with aiohttp.ClientSession() as http:
            await self.pusher.push(http, number, payload, retries=100)


Fault = Callable[[Scene], Awaitable[str]]
"""Returns what was done, in a few words."""


# -- Kafka, three brokers


async def broker_killed(scene: Scene) -> str:
    node = scene.dice.randrange(3)
    scene.kafka.kill(node)
    await scene.wait(1, 12)
    await asyncio.to_thread(scene.kafka.start, node)
    return f"broker {node + 1} killed and restarted"


async def broker_stopped(scene: Scene) -> str:
    node = scene.dice.randrange(3)
    await asyncio.to_thread(scene.kafka.stop_broker, node)
    await scene.wait(1, 8)
    await asyncio.to_thread(scene.kafka.start, node)
    return f"broker {node + 1} stopped and restarted"


async def broker_frozen(scene: Scene) -> str:
    node = scene.dice.randrange(3)
    scene.kafka.pause(node)
    await scene.wait(1, 15)
    scene.kafka.resume(node)
    return f"broker {node + 1} frozen and thawed"


async def all_frozen(scene: Scene) -> str:
    scene.kafka.pause()
    await scene.wait(2, 20)
    scene.kafka.resume()
    return "all brokers frozen and thawed"


async def all_killed(scene: Scene) -> str:
    scene.kafka.kill()
    await scene.wait(2, 20)
    await asyncio.to_thread(scene.kafka.start)
    return "all brokers killed and restarted"


async def majority_killed(scene: Scene) -> str:
    one, two = scene.dice.sample(range(3), 2)
    scene.kafka.kill(one)
    await scene.wait(0, 5)
    scene.kafka.kill(two)
    await scene.wait(2, 10)
    await asyncio.to_thread(scene.kafka.start, two)
    await scene.wait(0, 5)
    await asyncio.to_thread(scene.kafka.start, one)
    return "two brokers killed, restarted one by one"


async def network_bad(scene: Scene) -> str:
    """Before all brokers. What was silent is reset in the end: it has lost bytes."""
    how = scene.dice.choice(("late", "silent", "reset"))
    for network in scene.networks:
        network.silent, network.late_s = how == "silent", 0.1 if how == "late" else 0.0
    for _ in range(scene.dice.randrange(1, 12)):
        await scene.wait(0.3, 1.5)
        if how == "reset":
            scene.dice.choice(scene.networks).reset()
    for network in scene.networks:
        network.silent, network.late_s = False, 0.0
        if how == "silent":
            network.reset()
    return f"the network before the brokers {how}"


# -- the ingress, and its disk


async def ingress_killed(scene: Scene) -> str:
    await asyncio.to_thread(scene.ingress.restart)
    return "ingress killed and restarted"


async def ingress_stopped(scene: Scene) -> str:
    if scene.ingress.process is not None:
        await asyncio.to_thread(scene.ingress.process.stop)
    await asyncio.to_thread(scene.ingress.start)
    return "ingress stopped and restarted"


async def ingress_frozen(scene: Scene) -> str:
    if scene.ingress.process is not None:
        scene.ingress.process.pause()
        await scene.wait(0.2, 3)
        scene.ingress.process.resume()
    return "ingress frozen and thawed"


def sick(sickness: Sickness, words: str) -> Fault:
    async def fault(scene: Scene) -> str:
        scene.disk.falls(sickness)
        await scene.wait(0.1, 4)
        scene.disk.recovers()
        return words

    return fault


async def journal_damaged(scene: Scene) -> str:
    """A page of the journal's file is zeroed, or filled with anything, while callbacks come and go; a while
    later the ingress is killed, if it has not noticed by itself."""
    process = scene.ingress.process
    if process is None or not process.running:
        return "journal left as it was"
    process.pause()
    what, hurt = await asyncio.to_thread(_damage, scene)
    scene.hurt |= hurt
    process.resume()
    await scene.wait(0, 4)
    noticed = not process.running
    if not noticed:
        await asyncio.to_thread(process.kill)
    return f"journal's page {what}, {'noticed by itself' if noticed else 'found at the next start'}"


def _damage(scene: Scene) -> tuple[str, set[int]]:
    """How, and the numbers whose callbacks do not read any more."""
    path = current(scene.ingress.journal)
    before = _readable(path)
    at = scene.dice.randrange(max(1, path.stat().st_size // PAGE)) * PAGE
    zeroed = scene.dice.random() < 0.5
    with path.open("r+b") as file:
        file.seek(at)
        file.write(bytes(PAGE) if zeroed else scene.dice.randbytes(PAGE))
    after = _readable(path, before)
    changed = {seq for seq, body in before.items() if after.get(seq) != body}
    numbers = {json.loads(before[seq])["number"] for seq in changed if before[seq].startswith(b"{")}
    return "zeroed" if zeroed else "overwritten", numbers


def _readable(path: os.PathLike[str], wanted: dict[int, bytes] | None = None) -> dict[int, bytes]:
    """The callbacks that are in the journal, by number; those of ``wanted``, each looked for by itself."""
    found: dict[int, bytes] = {}
    try:
        with closing(apsw.Connection(str(path), flags=apsw.SQLITE_OPEN_READONLY)) as db:
            if wanted is None:
                return dict(db.execute("SELECT seq, body FROM callbacks"))
            for seq in wanted:
                with suppress(apsw.Error):
                    found.update(db.execute("SELECT seq, body FROM callbacks WHERE seq = ?", (seq,)))
    except apsw.Error:
        pass  # not even the schema can be read
    return found


# -- what DingTalk might send


async def large_callback(scene: Scene) -> str:
    number = scene.extra()
    await scene.push(number, event(number, "large", title="长" * scene.dice.randrange(10_000, 400_000)))
    return "a callback of up to 1.2 MB"


async def unknown_types(scene: Scene) -> str:
    for _ in range(20):
        number = scene.extra()
        await scene.push(number, event(number, event_type=f"brand_new_{number % 1000}"))
    return "20 unknown EventTypes"


async def pushed_again(scene: Scene) -> str:
    known = sorted(number for number in scene.pusher.succeeded if number < EXTRA)
    for number in scene.dice.sample(known, min(20, len(known))):
        await scene.push(number, event(number, f"0-{number % LANES}"))
    return "20 pushes again"


KAFKA: tuple[Fault, ...] = (
    broker_killed,
    broker_stopped,
    broker_frozen,
    all_frozen,
    all_killed,
    majority_killed,
    network_bad,
)
OURS: tuple[Fault, ...] = (
    ingress_killed,
    ingress_stopped,
    ingress_frozen,
    sick("fsync", "fsync failed"),
    sick("slow", "fsync took 3 s"),
    sick("full", "disk full"),
    sick("read-only", "disk read-only"),
    journal_damaged,
    large_callback,
    unknown_types,
    pushed_again,
)
