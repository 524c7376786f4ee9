"""What a Kafka started (or found) for demo, tests and benchmarks can do, however it runs."""

import asyncio
import logging
import threading
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Coroutine
from types import TracebackType
from typing import Any, Self, TypeVar

from aiokafka.client import AIOKafkaClient
from aiokafka.errors import KafkaError

from dingbridge.errors import ServerStartError
from dingbridge.simulator.kafka.ports import answers

START_WITHIN_S = 90.0
"""How long a broker may take until it answers, in s; it takes 3 to 6 on an idle machine."""

T = TypeVar("T")


class KafkaServer(ABC):
    """A running Kafka. ``stop`` takes down what was started for it; a context manager calls it.

    ``bootstrap`` is ``host:port[,…]``; ``how`` is one printable phrase on how it runs; ``pids`` are the
    brokers' process ids on this machine. ``kill``, ``pause``, ``resume`` and ``start`` are the honest
    faults; ``node`` counts from 0, None means all.
    """

    bootstrap: str
    how: str
    sasl_bootstrap: str | None = None
    """Listener that demands SCRAM-SHA-512, if ``scram_users`` were given."""

    @property
    def pids(self) -> list[int]:
        return []

    @abstractmethod
    def stop(self) -> None:
        """Stops it, if we started it. Fine to call twice."""

    @abstractmethod
    def kill(self, node: int | None = None) -> None:
        """SIGKILL. What the broker had acknowledged must be there after ``start``."""

    @abstractmethod
    def pause(self, node: int | None = None) -> None:
        """Freezes it: connections stay open and nothing is answered."""

    @abstractmethod
    def resume(self, node: int | None = None) -> None:
        """Thaws it."""

    @abstractmethod
    def start(self, node: int | None = None) -> None:
        """Starts it again after ``kill`` or ``stop_broker``, on its data and port; waits for an answer."""

    def restore(self) -> None:
        """Whatever was done to it: all its brokers run again."""
        self.resume()
        self.start()

    @abstractmethod
    def stop_broker(self, node: int | None = None) -> None:
        """A clean stop (SIGTERM) after which ``start`` brings it back."""

    @abstractmethod
    def keep(self) -> str:
        """Lets it outlive this process; returns the command that stops it."""

    @abstractmethod
    def log_tail(self, lines: int = 20) -> str:
        """The last lines of the broker's own log."""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()


def wait_until_kafka_answers(
    bootstrap: str, *, brokers: int, within_s: float, alive: Callable[[], bool], log_tail: Callable[[], str]
) -> None:
    """Waits until a client gets metadata naming at least ``brokers`` brokers.

    Raises ``ServerStartError`` with the broker's last log lines when ``alive`` turns false or time is up.
    """
    deadline = time.monotonic() + within_s
    addresses = [(host, int(port)) for host, _, port in (a.rpartition(":") for a in bootstrap.split(","))]
    while True:
        if all(answers(host, port) for host, port in addresses) and brokers_seen(bootstrap) >= brokers:
            return
        if not alive():
            raise ServerStartError(
                f"Kafka ended while it was starting; its last words:\n{_indented(log_tail())}"
            )
        if time.monotonic() > deadline:
            raise ServerStartError(
                f"Kafka at {bootstrap} does not answer after {within_s:g} s; its last words:\n"
                f"{_indented(log_tail())}"
            )
        time.sleep(0.1)


def brokers_seen(bootstrap: str) -> int:
    """How many brokers a client sees there; 0 if nothing answers."""

    async def ask() -> int:
        client = AIOKafkaClient(bootstrap_servers=bootstrap, request_timeout_ms=5000)
        try:
            await client.bootstrap()
            return len(client.cluster.brokers())
        except (TimeoutError, KafkaError, OSError):
            return 0
        finally:
            await client.close()

    quiet = logging.getLogger("aiokafka")
    before = quiet.level
    quiet.setLevel(logging.CRITICAL)
    try:
        return in_own_loop(ask())
    finally:
        quiet.setLevel(before)


def in_own_loop(work: Coroutine[Any, Any, T]) -> T:
    """Runs a coroutine from plain code, whether or not this thread has a running event loop."""
    outcome: list[T] = []
    failure: list[BaseException] = []

    def run() -> None:
        try:
            outcome.append(asyncio.run(work))
        except BaseException as error:  # handed on to the caller's thread
            failure.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
    if failure:
        raise failure[0]
    return outcome[0]


def _indented(text: str) -> str:
    return "\n".join(f"  {line[:300]}" for line in text.splitlines()) or "  (nothing)"
