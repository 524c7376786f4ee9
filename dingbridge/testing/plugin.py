"""A pytest plugin: the fixture ``running``, and the flag ``--kafka``. See ``dingbridge.testing``."""

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from dev.servers import KafkaServer, start_kafka
from dev.servers.kafka import EnvironmentKafka
from dingbridge.settings import ConsumerSettings
from dingbridge.worker import Consumer, MemoryRuntime
from dingbridge.testing.kafka import KafkaRuntime

Runtime = MemoryRuntime | KafkaRuntime


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.getgroup("dingbridge").addoption(
        "--kafka",
        action="store_true",
        help="run the tests of consumers (fixture `running`) through a real Kafka: KAFKA_BOOTSTRAP_SERVERS, "
        "else one that is started here",
    )


def pytest_report_header(config: pytest.Config) -> str:
    return f"consumers run {'through a real Kafka' if config.getoption('--kafka') else 'in memory (--kafka)'}"


@pytest.fixture(scope="session")
def consumer_kafka(tmp_path_factory: pytest.TempPathFactory) -> Iterator[KafkaServer]:
    """The broker of ``--kafka``."""
    with start_kafka(tmp_path_factory.mktemp("kafka")) as server:
        yield server


@pytest.fixture
def running(request: pytest.FixtureRequest) -> Callable[..., Runtime]:
    """``async with running(Billing(), dingtalk=None, database_url=None) as runtime``: the consumer runs in
    memory, with ``--kafka`` through a real Kafka."""

    def run(consumer: Consumer, *, dingtalk: Any = None, database_url: str | None = None) -> Runtime:
        if not request.config.getoption("--kafka"):
            return MemoryRuntime(consumer, dingtalk=dingtalk, database_url=database_url or "sqlite://")
        server = request.getfixturevalue("consumer_kafka")
        given = {}
        if not isinstance(server, EnvironmentKafka):
            given = {"kafka_bootstrap_servers": server.bootstrap, "kafka_security_protocol": "PLAINTEXT"}
        return KafkaRuntime(
            consumer, ConsumerSettings.load(**given), dingtalk=dingtalk, database_url=database_url
        )

    return run
