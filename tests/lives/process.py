"""One consumer as it runs, ``ConsumerService`` and ``Worker`` with it, and its supervisor: whatever kills it,
it is started again from what is durable. Kafka is ``MemoryBroker``, DingTalk at the end of a ``Wire``."""

import asyncio
from collections.abc import Callable, Iterator
from contextlib import AsyncExitStack, ExitStack, contextmanager
from pathlib import Path
from random import Random
from typing import Any

import aiohttp
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer
from aiokafka.admin import AIOKafkaAdminClient

from dingbridge.dingtalk.api import DingTalkClient
from dingbridge.kafka import topics
from dingbridge.settings import SAMPLE_CREDENTIALS, ConsumerSettings
from dingbridge.worker.api import clients
from dingbridge.worker.consumer import Consumer
from dingbridge.worker.service import ConsumerService
from dingbridge.worker.store.database import Database
from tests.lives.broker import MemoryBroker
from tests.lives.clock import everywhere
from tests.lives.mortal import Mortal, living
from tests.lives.wire import Wire

BASE = "http://dingtalk"
RESTART_S = 3.0
"""How long the supervisor waits before it starts a process again, in s."""


@contextmanager
def kafka_in_memory(broker: MemoryBroker) -> Iterator[None]:
    """Every Kafka client of the project is one of ``broker``."""

    async def ensure(settings: Any, names: Any, **_: Any) -> dict[str, int]:
        await broker.answered()
        return dict.fromkeys(names, 1)

    with ExitStack() as stack:
        for real, stand_in in (
            (AIOKafkaProducer, broker.producer),
            (AIOKafkaConsumer, broker.consumer),
            (AIOKafkaAdminClient, broker.admin),
            (topics.ensure_topics, ensure),
        ):
            stack.enter_context(everywhere(real, stand_in))
        yield


@contextmanager
def dingtalk_by_wire() -> Iterator[None]:
    """Each process has a client whose requests go over its own wire."""

    async def open_clients(settings: ConsumerSettings, stack: AsyncExitStack) -> Any:
        process = living()
        assert process is not None
        assert process.connector is not None
        client = DingTalkClient(
            app_key=SAMPLE_CREDENTIALS["DINGTALK_APP_KEY"],
            app_secret=SAMPLE_CREDENTIALS["DINGTALK_APP_SECRET"],
            base=BASE,
            session=aiohttp.ClientSession(connector=process.connector()),
        )
        return (lambda app, corp_id: client), None

    with everywhere(clients.open_clients, open_clients):
        yield


async def dies_with_its_process() -> None:
    """What a broker does before it answers: nothing, for a process that is dead by then."""
    process = living()
    if process is not None:
        await process.answered()


class Running:
    """The supervisor of one consumer. ``faults`` gets a line for each process that ended by itself."""

    def __init__(
        self, make: Callable[[], Consumer], folder: Path, wire: Wire, rng: Random, faults: list[str]
    ) -> None:
        self._make, self._folder, self._wire, self._rng, self._faults = make, folder, wire, rng, faults
        self.name = make().name
        self.process: Mortal | None = None
        self.service: ConsumerService | None = None
        self.starts = 0
        self._supervisor: asyncio.Task[None] | None = None
        self._buried: list[Any] = []

    @property
    def database(self) -> Database:
        """The one that its latest process works on."""
        assert self.service is not None
        assert self.service.database is not None
        return self.service.database

    def start(self) -> None:
        self._supervisor = asyncio.get_running_loop().create_task(self._supervise())

    async def stop(self) -> None:
        """For good, and in order."""
        if self._supervisor is not None:
            self._supervisor.cancel()
            await asyncio.gather(self._supervisor, return_exceptions=True)
        if self.process is not None:
            self.process.kill()
            self._buried.append((self.process, self.service))
        for process, service in self._buried:
            await process.release()
            if service is not None and service.database is not None:
                await service.database.close()

    def crash_in(self, effects: int) -> None:
        """Kill the process at its so-manieth effect from now on."""
        if self.process is not None and self.process.alive:
            self.process.crash_in = effects

    async def _supervise(self) -> None:
        while True:
            self.process = process = Mortal(f"start {self.starts}", self._rng)
            self.starts += 1
            running, died = process.spawn(self._run(process)), asyncio.create_task(process.died.wait())
            await asyncio.wait([running, died], return_when=asyncio.FIRST_COMPLETED)
            died.cancel()
            if process.alive:
                error = running.exception() if not running.cancelled() else None
                self._faults.append(f"a process ended by itself: {error!r}")
                process.kill()
            self._buried.append((process, self.service))  # kept: a finaliser is no act of a dead process
            await asyncio.sleep(RESTART_S)

    async def _run(self, process: Mortal) -> None:
        consumer, settings = self._make(), ConsumerSettings.load(data_dir=self._folder)

        process.connector = lambda: self._wire.connector(process)
        self.service = service = ConsumerService(consumer, settings)
        await service.run()
