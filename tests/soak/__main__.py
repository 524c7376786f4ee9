"""A soak: steady load while Kafka, the ingress, its relay and its disk fail at random; then the comparison.

``make soak MINUTES=20 SEED=…``. Two streams of faults run beside each other, one on a cluster of three
brokers, one on the ingress, so that they overlap. Ends with what was answered against what is in Kafka, and
with code 1 if the promise did not hold. The seed repeats the choices, not the interleaving.
"""

import argparse
import asyncio
import random
import secrets
import shutil
import sys
import tempfile
import time
from collections import Counter
from contextlib import AsyncExitStack
from pathlib import Path

from dingbridge.settings import KafkaSettings
from tests.faults.conftest import NOT_EXERCISED
from tests.soak.faults import KAFKA, LANES, OURS, Fault, KafkaBehindNetwork, Scene
from tests.support.comparison import Comparison, assert_in_order, compare
from tests.support.disk import SickDisk
from tests.support.ingress import IngressUnderTest
from tests.support.load import Load
from tests.support.processes import Processes, eventually
from tests.support.pusher import Pusher

PER_SECOND = 200
DRAIN_WITHIN_S = 900


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.soak", description=__doc__)
    parser.add_argument("minutes", type=float)
    parser.add_argument("--seed", type=int, default=None)
    arguments = parser.parse_args()
    seed = secrets.randbelow(1 << 32) if arguments.seed is None else arguments.seed
    folder = Path(tempfile.mkdtemp(prefix="dingbridge-soak-"))
    print(f"soak of {arguments.minutes:g} minutes, seed {seed}", flush=True)
    processes = Processes(folder / "processes")
    try:
        held = _run(arguments.minutes * 60, seed, folder, processes)
    finally:
        processes.stop_all()
    if held:
        shutil.rmtree(folder, ignore_errors=True)
    else:
        print(f"what the processes wrote, and the journal: {folder}")
    return 0 if held else 1


def _run(seconds: float, seed: int, folder: Path, processes: Processes) -> bool:
    with KafkaBehindNetwork(folder) as kafka:
        print(kafka.how, flush=True)
        disk = SickDisk(folder / "disk")
        env = {
            "KAFKA_BOOTSTRAP_SERVERS": kafka.behind,
            "KAFKA_REQUEST_TIMEOUT_S": "3",
            "TOPIC_REPLICATION": "3",
            "TOPIC_PARTITIONS": "3",
            "UNKNOWN_TOPICS_MAX": "20",
        }
        ingress = IngressUnderTest(processes, folder, env, disk.env)
        ingress.start()
        scene = Scene(ingress, kafka, disk, Pusher(ingress.url), random.Random(seed))
        scene.networks = kafka.networks()
        return asyncio.run(_soak(scene, seconds))


async def _soak(scene: Scene, seconds: float) -> bool:
    done: Counter[str] = Counter()
    until = time.monotonic() + seconds
    async with AsyncExitStack() as stack:
        for network in scene.networks:
            await stack.enter_async_context(network)
        async with Load(scene.pusher, lanes=LANES, per_second=PER_SECOND):
            await asyncio.gather(_stream(scene, KAFKA, until, done), _stream(scene, OURS, until, done))
        await scene.started_again()
        scene.kafka.restore()
        await eventually(lambda: asyncio.to_thread(_all_published, scene), DRAIN_WITHIN_S, "all is published")
    settings = KafkaSettings.load(kafka_bootstrap_servers=scene.kafka.bootstrap)
    found = await compare(settings, scene.pusher)
    print("\n".join(f"  {count:4} × {words}" for words, count in sorted(done.items())))
    return _verdict(found, scene)


async def _stream(scene: Scene, faults: tuple[Fault, ...], until: float, done: Counter[str]) -> None:
    began = time.monotonic()
    while time.monotonic() < until:
        await scene.wait(0.5, 6)
        at = time.monotonic() - began
        words = await scene.dice.choice(faults)(scene)
        if faults is OURS:
            await scene.started_again()
        done[words] += 1
        print(f"  {at:6.1f} s  {words}", flush=True)


def _all_published(scene: Scene) -> bool:
    return scene.ingress.drained() and scene.ingress.metric("dingbridge_parked") == 0


def _verdict(found: Comparison, scene: Scene) -> bool:
    print(f"{found}\nanswered within p50 {found.pusher.percentile_ms(50):.1f} ms, p99 ", end="")
    print(f"{found.pusher.percentile_ms(99):.1f} ms, faults included")
    print(f"not exercised: {NOT_EXERCISED}")
    if scene.put_aside or scene.hurt:
        print(
            f"put aside: {scene.put_aside} journals; {len(scene.hurt)} callbacks in damaged pages, of which "
            f"{len(found.lost & scene.hurt)} were not in Kafka yet; the ingress counts {scene.unreadable}"
        )
    try:
        found.assert_holds(hurt=scene.hurt, put_aside=scene.put_aside)
        assert not found.lost or scene.unreadable, "what could not be read was not counted"
        # what waited in a journal that was put aside comes behind what the new one has taken meanwhile
        journals = {record.journal for record in found.seen}
        keys = assert_in_order(found.seen, by_number=not scene.put_aside)
    except AssertionError as broken:
        print(f"THE PROMISE DID NOT HOLD: {broken}")
        return False
    print(f"held: nothing lost, nothing answered falsely, {keys} keys in order in {len(journals)} journals")
    return True


if __name__ == "__main__":
    sys.exit(main())
