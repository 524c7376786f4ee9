"""One Kafka and one PostgreSQL for the whole test run.

Without pytest-xdist they start when it is known which tests will run. With it, the controller starts them
while the worker processes collect. A file for each server, in one folder, tells the workers where it is.
"""

import json
import os
import shutil
import tempfile
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from dev.servers import KafkaServer, PostgresServer, start_kafka, start_postgres
from dev.servers.kafka import EnvironmentKafka
from dev.servers.postgres import EnvironmentPostgres
from dingbridge.errors import BridgeError
from dingbridge.settings import KafkaSettings
from dingbridge.simulator.kafka.server import in_own_loop
from tests.support.kafka_reader import delete_topics

STARTED_WITHIN_S = 300.0
"""How long a worker process waits for the controller's servers: they may be downloaded first."""


class ControllersKafka(EnvironmentKafka):
    """The broker that the controller of pytest-xdist has started, as its worker processes use it."""

    def __init__(self, bootstrap: str, how: str) -> None:
        self.bootstrap, self.how = bootstrap, how


class ControllersPostgres(EnvironmentPostgres):
    """The same of PostgreSQL."""

    def __init__(self, url: str, how: str) -> None:
        self.url, self.how = url, how


class RunServers:
    """Holds what is running. A server that cannot be started ends the run: no test is skipped for it."""

    def __init__(self, controllers: Path | None) -> None:
        """``controllers``: in a worker process, the folder where the controller writes its addresses."""
        self.folder = Path(tempfile.mkdtemp(prefix="dingbridge-tests-"))
        self.prefixes: list[str] = []
        """Topic prefixes given to tests; in somebody else's cluster their topics are deleted at the end."""
        self.controls = False
        """In the controller: worker processes use its servers."""
        self._controllers = controllers
        self._kafka: KafkaServer | None = None
        self._postgres: PostgresServer | None = None
        self._own_kafka: KafkaServer | None = None
        self._own_postgres: PostgresServer | None = None
        self._starting = ThreadPoolExecutor(2)

    @property
    def kafka(self) -> KafkaServer:
        if self._kafka is None:
            if self._controllers is None:
                self._kafka = start_kafka(self.folder)
            else:
                said = _told(self._controllers / "kafka.json")
                self._kafka = ControllersKafka(said["address"], said["how"])
        return self._kafka

    @property
    def postgres(self) -> PostgresServer:
        if self._postgres is None:
            if self._controllers is None:
                self._postgres = start_postgres(self.folder)
            else:
                said = _told(self._controllers / "postgres.json")
                self._postgres = ControllersPostgres(said["address"], said["how"])
        return self._postgres

    @property
    def own_kafka(self) -> KafkaServer:
        """A broker that tests may break: the run's own, where no other process uses that."""
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

    def start_for_workers(self) -> None:
        """In the controller: starts both beside the collection, and writes where they are."""
        self._starting.submit(
            _tell, self.folder / "kafka.json", lambda: (self.kafka.bootstrap, self.kafka.how)
        )
        self._starting.submit(
            _tell, self.folder / "postgres.json", lambda: (self.postgres.url, self.postgres.how)
        )

    def start(self, items: Sequence[pytest.Item]) -> list[str]:
        """Without worker processes: starts what the collected tests ask for, both at once; returns a line on
        each for the header."""
        wanted: dict[str, Callable[[], str]] = {}
        if any(needs(item, "kafka") for item in items):
            wanted["kafka"] = lambda: self.kafka.how
        if any(needs(item, "postgres") for item in items):
            wanted["postgres"] = lambda: self.postgres.how
        futures = {name: self._starting.submit(start) for name, start in wanted.items()}
        lines = []
        for name, future in futures.items():
            try:
                lines.append(f"{name}: {future.result()}")
            except BridgeError as error:
                pytest.exit(f"no {name}, and nothing is skipped for want of it.\n{error}", returncode=1)
        return lines

    def running(self) -> list[str]:
        """A line on each server that was started here."""
        servers = {"kafka": self._kafka, "postgres": self._postgres}
        return [f"{name}: {server.how}" for name, server in servers.items() if server is not None]

    def stop(self) -> None:
        self._starting.shutdown()
        if self.prefixes and type(self._kafka) is EnvironmentKafka:
            in_own_loop(delete_topics(KafkaSettings.load(), self.prefixes))
        for server in (self._kafka, self._postgres, self._own_kafka, self._own_postgres):
            if server is not None:
                server.stop()
        shutil.rmtree(self.folder, ignore_errors=True)


def _tell(file: Path, start: Callable[[], tuple[str, str]]) -> None:
    """Starts a server and writes where it is, or why it is not there."""
    try:
        address, how = start()
        said = {"address": address, "how": how}
    except Exception as error:  # a worker process that wants it ends the run with these words
        said = {"error": f"{error}"}
    scratch = file.with_suffix(".new")
    scratch.write_text(json.dumps(said))
    scratch.rename(file)


def _told(file: Path) -> dict[str, str]:
    """What the controller says of a server; ends the run where that did not start."""
    deadline = time.monotonic() + STARTED_WITHIN_S
    while not file.exists():
        if time.monotonic() > deadline:
            pytest.exit(f"{file.stem}: not started within {STARTED_WITHIN_S:g} s", returncode=1)
        time.sleep(0.05)
    said: dict[str, str] = json.loads(file.read_text())
    if "error" in said:
        pytest.exit(f"no {file.stem}, and nothing is skipped for want of it.\n{said['error']}", returncode=1)
    return said


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
