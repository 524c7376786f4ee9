"""The faults of the soak: each is done, lasts for a random time, and is undone; its words say what it was."""

import asyncio
import os
import random
import signal
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass

import aiohttp
import psutil

from dev.servers import KafkaServer
from tests.faults.sabotage import Disk
from tests.support.ingress import IngressUnderTest
from tests.support.load import event
from tests.support.pusher import Pusher

LANES = 40
EXTRA = 100_000_000
"""Numbers from here on are pushes beside the steady load."""


@dataclass
class Scene:
    """What the faults are done to. ``dice`` decides all that is random."""

    ingress: IngressUnderTest
    kafka: KafkaServer
    disk: Disk
    pusher: Pusher
    dice: random.Random
    extras: int = EXTRA

    def extra(self) -> int:
        self.extras += 1
        return self.extras

    async def wait(self, least_s: float, most_s: float) -> None:
        await asyncio.sleep(self.dice.uniform(least_s, most_s))

    def publishers(self) -> list[int]:
        """Process ids of the ingress's children."""
        process = self.ingress.process
        return [c.pid for c in psutil.Process(process.pid).children()] if process and process.running else []

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


# -- the ingress, its publisher, its disk


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


async def publisher_killed(scene: Scene) -> str:
    for pid in scene.publishers():
        os.kill(pid, signal.SIGKILL)
    return "publisher killed"


async def publisher_frozen(scene: Scene) -> str:
    pids = scene.publishers()
    for pid in pids:
        os.kill(pid, signal.SIGSTOP)
    await scene.wait(1, 12)
    for pid in pids:
        with suppress(ProcessLookupError):  # its journal was put aside meanwhile, and it was killed
            os.kill(pid, signal.SIGCONT)
    return "publisher frozen and thawed"


async def fsync_fails(scene: Scene) -> str:
    with scene.disk.broken("fails"):
        await scene.wait(0.1, 4)
    return "fsync failed"


async def fsync_hangs(scene: Scene) -> str:
    with scene.disk.broken("slow"):
        await scene.wait(0.1, 4)
    return "fsync took 3 s"


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
)
OURS: tuple[Fault, ...] = (
    ingress_killed,
    ingress_stopped,
    ingress_frozen,
    publisher_killed,
    publisher_frozen,
    fsync_fails,
    fsync_hangs,
    large_callback,
    unknown_types,
    pushed_again,
)
