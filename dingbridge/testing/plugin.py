"""A pytest plugin: the fixture ``running``, and the flag ``--kafka``. See ``dingbridge.testing``."""

import os
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from dingbridge.settings import ConsumerSettings
from dingbridge.testing.kafka import KafkaRuntime
from dingbridge.testing.memory import MemoryRuntime
from dingbridge.worker.consumer import Consumer

Runtime = MemoryRuntime | KafkaRuntime

NO_BROKER = (
    "--kafka needs a broker: set KAFKA_BOOTSTRAP_SERVERS, or install testcontainers and start a Docker engine"
)


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.getgroup("dingbridge").addoption(
        "--kafka",
        action="store_true",
        help="run the tests of consumers (fixture `running`) through a real Kafka: KAFKA_BOOTSTRAP_SERVERS, "
        "else a container by testcontainers",
    )


def pytest_report_header(config: pytest.Config) -> str:
    return f"consumers run {'through a real Kafka' if config.getoption('--kafka') else 'in memory (--kafka)'}"


@pytest.fixture(scope="session")
def consumer_kafka() -> Iterator[dict[str, str]]:
    """Settings that lead to the broker of ``--kafka``, for example ``{"kafka_bootstrap_servers": "…:9092"}``;
    none of them where the environment names one. A project with servers of its own overrides this fixture."""
    if "KAFKA_BOOTSTRAP_SERVERS" in os.environ:
        yield {}
        return
    try:
        from testcontainers.community.kafka import KafkaContainer
    except ImportError:
        pytest.fail(NO_BROKER)
    container = KafkaContainer().with_kraft()
    try:
        container.start()
    except Exception as error:  # docker's errors have no root in common
        pytest.fail(f"{NO_BROKER} (testcontainers: {type(error).__name__})")
    with container:
        yield {
            "kafka_bootstrap_servers": container.get_bootstrap_server(),
            "kafka_security_protocol": "PLAINTEXT",
        }


@pytest.fixture
def running(request: pytest.FixtureRequest) -> Callable[..., Runtime]:
    """``async with running(Billing(), dingtalk=None, database_url=None) as runtime``: the consumer runs in
    memory, with ``--kafka`` through a real Kafka."""

    def run(consumer: Consumer, *, dingtalk: Any = None, database_url: str | None = None) -> Runtime:
        if not request.config.getoption("--kafka"):
            return MemoryRuntime(consumer, dingtalk=dingtalk, database_url=database_url or "sqlite://")
        given = request.getfixturevalue("consumer_kafka")
        return KafkaRuntime(
            consumer, ConsumerSettings.load(**given), dingtalk=dingtalk, database_url=database_url
        )

    return run
