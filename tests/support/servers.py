"""One Kafka and one PostgreSQL for the whole test run, started when the first test needs them.

Where pytest-xdist runs the tests in several processes, each of these has its own.
"""

import os
import shutil
import tempfile
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from dev.servers import KafkaServer, PostgresServer, start_kafka, start_postgres
from dev.servers.kafka import EnvironmentKafka
from dingbridge.errors import BridgeError
from dingbridge.settings import KafkaSettings
from dingbridge.simulator.kafka.server import in_own_loop
from tests.support.kafka_reader import delete_topics


class RunServers:
    """Holds what is running. A server that cannot be started ends the run: no test is skipped for it."""

    def __init__(self) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="dingbridge-tests-"))
        self.prefixes: list[str] = []
        """Topic prefixes given to tests; in somebody else's cluster their topics are deleted at the end."""
        self.of_workers: list[str] = []
        """What the worker processes of pytest-xdist said about their servers."""
        self._kafka: KafkaServer | None = None
        self._postgres: PostgresServer | None = None

    @property
    def kafka(self) -> KafkaServer:
        if self._kafka is None:
            self._kafka = start_kafka(self.folder)
        return self._kafka

    @property
    def postgres(self) -> PostgresServer:
        if self._postgres is None:
            self._postgres = start_postgres(self.folder)
        return self._postgres

    def start(self, items: Sequence[pytest.Item]) -> list[str]:
        """Starts what the collected tests ask for, both at once; returns a line on each for the header."""
        wanted = {}
        if any(needs(item, "kafka") for item in items):
            wanted["kafka"] = lambda: self.kafka.how
        if any(needs(item, "postgres") for item in items):
            wanted["postgres"] = lambda: self.postgres.how
        with ThreadPoolExecutor() as pool:
            futures = {name: pool.submit(start) for name, start in wanted.items()}
        lines = []
        for name, future in futures.items():
            try:
                lines.append(f"{name}: {future.result()}")
            except BridgeError as error:
                pytest.exit(f"no {name}, and nothing is skipped for want of it.\n{error}", returncode=1)
        return lines

    def running(self) -> list[str]:
        """A line on each server that was started."""
        servers = {"kafka": self._kafka, "postgres": self._postgres}
        return [f"{name}: {server.how}" for name, server in servers.items() if server is not None]

    def stop(self) -> None:
        if isinstance(self._kafka, EnvironmentKafka) and self.prefixes:
            in_own_loop(delete_topics(KafkaSettings.load(), self.prefixes))
        for server in (self._kafka, self._postgres):
            if server is not None:
                server.stop()
        shutil.rmtree(self.folder, ignore_errors=True)


PLAINTEXT = {"KAFKA_SECURITY_PROTOCOL": "PLAINTEXT"}
"""What a broker of our own asks for, whatever the environment says of somebody else's."""


def credentials_of_environment() -> dict[str, str]:
    """What the environment says on how to log in to its cluster."""
    return {
        k: v for k, v in os.environ.items() if k.startswith(("KAFKA_SECURITY", "KAFKA_SASL", "KAFKA_SSL"))
    }


def needs(item: pytest.Item, server: str) -> bool:
    """Whether a test will use this server, by a fixture or by a parameter of ``database_url``."""
    if server in getattr(item, "fixturenames", ()):
        return True
    call = getattr(item, "callspec", None)
    return server in call.params.values() if call is not None else False
