"""Kafka and PostgreSQL by testcontainers, which ``make test`` uses where an engine answers."""

import asyncio
from pathlib import Path

import asyncpg
import pytest

from dev.servers import start_kafka, start_postgres
from dev.servers.kafka_docker import DockerKafka
from dev.servers.postgres import DockerPostgres
from dingbridge.kafka.client import producer
from dingbridge.kafka.topic_policy import event_topic
from dingbridge.kafka.topics import ensure_topics
from dingbridge.settings import KafkaSettings
from dingbridge.simulator.kafka.server import brokers_seen
from tests.compose.stack import docker
from tests.support.kafka_reader import read_topic

pytestmark = pytest.mark.compose


async def test_kafka_in_a_container_keeps_what_it_acknowledged_and_is_removed(tmp_path: Path) -> None:
    with await asyncio.to_thread(lambda: start_kafka(tmp_path, how="docker")) as server:
        settings = KafkaSettings.load(kafka_bootstrap_servers=server.bootstrap)
        topic = event_topic(settings, "kept")
        await ensure_topics(settings, [topic])
        client = producer(settings)
        await client.start()
        await client.send_and_wait(topic, b"value", key=b"key")
        await client.stop()
        await asyncio.to_thread(server.kill)
        await asyncio.to_thread(server.start)
        assert [record.value for record in await read_topic(settings, topic)] == [b"value"]
    assert brokers_seen(server.bootstrap) == 0
    assert isinstance(server, DockerKafka)
    assert docker("ps", "--all", "--quiet", f"--filter=name={server.container_name}") == ""


async def test_postgres_in_a_container_answers_and_is_removed(tmp_path: Path) -> None:
    with await asyncio.to_thread(lambda: start_postgres(tmp_path, how="docker")) as server:
        connection = await asyncpg.connect(await asyncio.to_thread(server.create_database, "fresh"))
        assert await connection.fetchval("SELECT current_database()") == "fresh"
        await connection.close()
    assert isinstance(server, DockerPostgres)
    assert docker("ps", "--all", "--quiet", f"--filter=name={server.container_name}") == ""
