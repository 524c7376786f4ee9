"""One Kafka and one PostgreSQL for the whole test run, or for each worker process of pytest-xdist.

Tests of two processes on one Kafka would be in the same consumer groups: a group has its consumer's name.
Each rebalance would hold up the other test, and each would see the other's members.
"""

import os
import shutil
import tempfile
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TypeVar

import pytest

from dev.servers import KafkaServer, PostgresServer, start_kafka, start_postgres
from dev.servers.kafka import EnvironmentKafka
from dev.servers.postgres import EnvironmentPostgres
from dingbridge.errors import BridgeError
from dingbridge.settings import KafkaSettings
from dingbridge.simulator.kafka.server import in_own_loop
from tests.support.kafka_reader import delete_topics

Server = TypeVar("Server")


class RunServers:
    """Holds what is running. A server that cannot be started ends the run: no test is skipped for it."""

    def __init__(self) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="dingbridge-tests-"))
        self.prefixes: list[str] = []
        """Topic prefixes given to tests; in somebody else's cluster their topics are deleted at the end."""
        self._kafka: KafkaServer | None = None
        self._postgres: PostgresServer | None = None
        self._own_kafka: KafkaServer | None = None
        self._own_postgres: PostgresServer | None = None

    @property
    def kafka(self) -> KafkaServer:
        if self._kafka is None:
            self._kafka = _started("kafka", lambda: start_kafka(self.folder))
        return self._kafka

    @property
    def postgres(self) -> PostgresServer:
        if self._postgres is None:
            self._postgres = _started("postgres", lambda: start_postgres(self.folder))
        return self._postgres

    @property
    def own_kafka(self) -> KafkaServer:
        """A broker that tests may break: the run's own, unless the environment names another."""
        if not isinstance(self.kafka, EnvironmentKafka):
            return self.kafka
        if self._own_kafka is None:
            self._own_kafka = start_kafka(self.folder, how="local")
        return self._own_kafka

    @property
    def own_postgres(self) -> PostgresServer:
        """The same of PostgreSQL."""
        if not isinstance(self.postgres, EnvironmentPostgres):
            return self.postgres
        if self._own_postgres is None:
            self._own_postgres = start_postgres(self.folder, how="local")
        return self._own_postgres

    def start(self, items: Sequence[pytest.Item]) -> list[str]:
        """Without worker processes: starts what the collected tests ask for, both at once; returns a line on
        each for the header."""
        starts: dict[str, Callable[[], object]] = {
            "kafka": lambda: self.kafka,
            "postgres": lambda: self.postgres,
        }
        wanted = [start for name, start in starts.items() if any(needs(item, name) for item in items)]
        with ThreadPoolExecutor() as starting:
            for started in [starting.submit(start) for start in wanted]:
                started.result()
        return self.running()

    def running(self) -> list[str]:
        """A line on each server that was started here."""
        servers = {"kafka": self._kafka, "postgres": self._postgres}
        return [f"{name}: {server.how}" for name, server in servers.items() if server is not None]

    def stop(self) -> None:
        if self.prefixes and type(self._kafka) is EnvironmentKafka:
            in_own_loop(delete_topics(KafkaSettings.load(), self.prefixes))
        for server in (self._kafka, self._postgres, self._own_kafka, self._own_postgres):
            if server is not None:
                server.stop()
        shutil.rmtree(self.folder, ignore_errors=True)


def _started(name: str, start: Callable[[], Server]) -> Server:
    try:
        return start()
    except BridgeError as error:
        pytest.exit(f"no {name}, and nothing is skipped for want of it.\n{error}", returncode=1)


PLAINTEXT = {"KAFKA_SECURITY_PROTOCOL": "PLAINTEXT"}
"""What a broker of our own asks for, whatever the environment says of somebody else's."""


def credentials_of_environment() -> dict[str, str]:
    """What the environment says on how to log in to its cluster."""
    return {
        k: v for k, v in os.environ.items() if k.startswith(("KAFKA_SECURITY", "KAFKA_SASL", "KAFKA_SSL"))
    }


def needs(item: pytest.Item, server: str) -> bool:
    """Return whether a test will use this server, by a fixture or by a parameter of ``database_url``."""
    names = getattr(item, "fixturenames", ())
    if {server, f"breakable_{server}", f"{server}_env", f"{server}_url"}.intersection(names):
        return True
    call = getattr(item, "callspec", None)
    return server in call.params.values() if call is not None else False
