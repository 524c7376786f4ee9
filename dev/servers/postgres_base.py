"""What a PostgreSQL started (or found) for demo, tests and benchmarks can do, however it runs."""

import time
from abc import ABC, abstractmethod
from collections.abc import Callable
from types import TracebackType
from typing import Self
from urllib.parse import urlsplit, urlunsplit

import asyncpg

from dingbridge.errors import ServerStartError
from dingbridge.simulator.kafka.server import in_own_loop

START_WITHIN_S = 60.0


class PostgresServer(ABC):
    """A running PostgreSQL. ``url`` is plain ``postgresql://user:password@host:port/database``, and holds a
    password; ``how`` is one printable phrase without it. ``stop`` takes down what was started for it."""

    url: str
    how: str

    @abstractmethod
    def stop(self) -> None:
        """Stops it and drops its data, if we started it. Fine to call twice."""

    @abstractmethod
    def stop_server(self) -> None:
        """An outage: connections break, none are accepted; the data stays."""

    @abstractmethod
    def start_server(self) -> None:
        """Ends the outage, on the same port; waits for an answer."""

    def create_database(self, name: str) -> str:
        """Creates an empty database and returns its URL."""
        self.execute(f'CREATE DATABASE "{name}"')
        return urlunsplit(urlsplit(self.url)._replace(path=f"/{name}"))

    def drop_database(self, name: str) -> None:
        """Drops it, whoever is still connected."""
        self.execute(f'DROP DATABASE IF EXISTS "{name}" WITH (FORCE)')

    def execute(self, statement: str) -> None:
        """Runs one statement outside a transaction, on the server's own database."""

        async def run() -> None:
            connection = await asyncpg.connect(self.url, timeout=10)
            try:
                await connection.execute(statement)
            finally:
                await connection.close(timeout=10)

        in_own_loop(run())

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()


def wait_until_postgres_answers(
    url: str, *, within_s: float, alive: Callable[[], bool], log_tail: Callable[[], str]
) -> None:
    """Waits until a client can log in. Raises ``ServerStartError`` with the server's last log lines."""

    async def log_in() -> None:
        connection = await asyncpg.connect(url, timeout=5)
        await connection.close(timeout=5)

    deadline = time.monotonic() + within_s
    while True:
        try:
            return in_own_loop(log_in())
        except (TimeoutError, OSError, asyncpg.PostgresError, asyncpg.InterfaceError) as error:
            reason = type(error).__name__
        if not alive():
            raise ServerStartError(f"PostgreSQL ended while it was starting; its last words:\n{log_tail()}")
        if time.monotonic() > deadline:
            where = urlsplit(url)
            raise ServerStartError(
                f"PostgreSQL at {where.hostname}:{where.port or 5432} does not answer after {within_s:g} s "
                f"({reason})\n{log_tail()}".rstrip()
            )
        time.sleep(0.1)
