"""Kafka and PostgreSQL behind a bad network: 100 ± 50 ms each way, resets, connections that nobody answers,
peers that vanish without a FIN. Nothing is lost, every event takes effect once, and nobody is restarted.
"""

import asyncio
import random
from urllib.parse import urlsplit

import pytest

from dev.servers import KafkaServer, free_port, start_kafka
from dingbridge.settings import KafkaSettings
from tests.faults.counting import NAME, PLACE, all_applied, applied
from tests.integration.worker_support import installed
from tests.support.bad_network import BadNetwork
from tests.support.comparison import compare
from tests.support.ingress import IngressUnderTest
from tests.support.load import Load
from tests.support.pusher import Pusher
from tests.support.sizes import new_seed, sized
from tests.support.waiting import eventually

LANES, PER_SECOND, EVENTS, STRIKE_EVERY_S = 24, 12, sized(80, 6_000), 0.7
"""A transaction is five ways and back, a second: each lane's key has one at a time."""


def advertising(folder, proxy: int, port: int, inner: int) -> KafkaServer:
    """A broker whose clients on ``inner`` are sent to ``proxy``; on ``port`` it is reached as it is."""
    controller = free_port()
    names = {"PLAINTEXT": port, "PROXIED": inner, "CONTROLLER": controller}
    advertised = {"PLAINTEXT": port, "PROXIED": proxy}
    return start_kafka(
        folder,
        port=port,
        extra_properties={
            "listeners": ",".join(f"{name}://127.0.0.1:{port}" for name, port in names.items()),
            "advertised.listeners": ",".join(f"{n}://127.0.0.1:{p}" for n, p in advertised.items()),
            "listener.security.protocol.map": ",".join(
                f"{name}:{'PLAINTEXT' if name == 'PROXIED' else name}" for name in names
            ).replace("CONTROLLER:CONTROLLER", "CONTROLLER:PLAINTEXT"),
            "controller.quorum.bootstrap.servers": f"127.0.0.1:{controller}",
        },
    )


@pytest.fixture
def seed() -> int:
    return new_seed()


async def test_nothing_is_lost_and_nobody_is_restarted(processes, postgres_url, tmp_path, figure, seed):
    dice = random.Random(seed)
    async with BadNetwork(dice) as to_kafka, BadNetwork(dice) as to_postgres:
        to_kafka.target, plain = free_port(), free_port()
        kafka = await asyncio.to_thread(advertising, tmp_path, to_kafka.port, plain, to_kafka.target)
        with kafka:
            database = urlsplit(postgres_url)
            to_postgres.target = database.port or 5432
            behind = database.netloc.replace(f":{database.port}", f":{to_postgres.port}")
            env = {
                "KAFKA_BOOTSTRAP_SERVERS": f"127.0.0.1:{to_kafka.port}",
                "KAFKA_SECURITY_PROTOCOL": "PLAINTEXT",
                "KAFKA_REQUEST_TIMEOUT_S": "5",
            }
            ingress = IngressUnderTest(processes, tmp_path, env)
            await asyncio.to_thread(ingress.start)
            consumer = processes.start(
                "consume",
                NAME,
                env={
                    **env,
                    **installed(tmp_path, NAME, PLACE),
                    "DATABASE_URL": database._replace(netloc=behind).geturl(),
                },
            )
            await asyncio.to_thread(consumer.wait_for_log, "consumer.assigned")
            pusher = Pusher(ingress.url)
            async with Load(pusher, lanes=LANES, per_second=PER_SECOND) as load:
                for network in (to_kafka, to_postgres):
                    network.storm(STRIKE_EVERY_S)
                await load.more(EVENTS, timeout_s=2 * EVENTS)
                for network in (to_kafka, to_postgres):
                    network.calm()
                await load.more(50)
            await eventually(lambda: asyncio.to_thread(ingress.published), 300, "the backlog is published")
            found = await compare(KafkaSettings.load(kafka_bootstrap_servers=f"127.0.0.1:{plain}"), pusher)
            await eventually(lambda: all_applied(postgres_url, found.seen), 300, "all took effect")
            effects = await applied(postgres_url)
            figure(
                f"seed {seed}: before Kafka {dict(to_kafka.faults)}, before PostgreSQL "
                f"{dict(to_postgres.faults)}; {found}; {effects.total()} effects of {len(effects)} events"
            )
            assert set(pusher.outcomes) == {"success"}, "nobody outside noticed"
            found.assert_holds()
            assert effects.total() == len(effects), "an event took effect twice"
            assert effects.keys() == {record.id for record in found.seen}
            assert ingress.process.running
            assert consumer.running
            assert await asyncio.to_thread(ingress.metric, "dingbridge_publisher_restarts_total") == 0
        # Kafka is gone for good: each fetch of the consumer fails, and waits to try again
        for process in (ingress.process, consumer):
            process.terminate()
            assert await asyncio.to_thread(process.wait, 60) == 0
            assert "Traceback" not in process.log_text()
