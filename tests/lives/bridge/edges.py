"""The edges of the ingress in a life: what stands for sockets, for the writer's thread and for Kafka."""

import asyncio
import queue
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import pytest
from aiokafka import AIOKafkaProducer
from aiokafka.admin import AIOKafkaAdminClient

from dingbridge.dingtalk.api import DingTalkClient
from dingbridge.dingtalk.gateway import open_connection
from dingbridge.health_server import AdminServer
from dingbridge.ingress.journal.writer import Journal
from dingbridge.ingress.server import PublicServer
from dingbridge.ingress.stream.connection import connect
from tests.lives.clock import all_everywhere
from tests.lives.mortal import Mortal, living

if TYPE_CHECKING:
    from tests.lives.bridge.machine import Machine

_PATIENCE: dict[str, Any] = {
    "ingress.journal.writer._RETENTION_EVERY_S": 20.0,
    "ingress.relay.publisher._IDLE_S": 2.0,
    "ingress.journal.drain._EVERY_S": 10.0,
    "ingress.app._STATUS_EVERY_S": 600.0,
    "ingress.recovery.apps._LOOK_EVERY_S": 5.0,
    "ingress.per_app.EVERY_S": 60.0,
    "ingress.credentials.EVERY_S": 60.0,
    "ingress.stream.gaps.REQUEST_EVERY_MS": 300_000,
}
"""Polls of nothing, and one wait that would make each life an hour longer."""


class Listener:
    """Stands for ``PublicServer``: callbacks come by calls."""

    def __init__(self, settings: Any, callbacks: Any, metrics: Any) -> None:
        self.callbacks = callbacks
        self.apps: Any = {}
        self.is_open = False

    def serve(self, apps: Any, default: str | None) -> None:
        self.apps = apps

    async def start(self, host: str, port: int, *, reuse_port: bool = False) -> int:
        self.is_open = True
        return port

    async def stop(self) -> None:
        self.is_open = False


class NoAdmin:
    """Stands for ``AdminServer``."""

    host, port = "none", 0

    def __init__(self, *_: Any, **__: Any) -> None: ...

    async def start(self) -> None: ...

    async def stop(self, within_s: float) -> None: ...


class OnMachine(Mortal):
    """A process whose disk takes ``commit_s()`` for a group of the writer."""

    commit_s: Callable[[], float]


class _Turns:
    """Stands for the writer's queue and its thread: a turn of it runs in the loop, a moment after something
    was put there."""

    def __init__(self, journal: Journal) -> None:
        self._journal, self._items = journal, list[Any]()
        process = living()
        assert isinstance(process, OnMachine)
        self._process = process
        self._begun = self._ended = self._is_due = False

    def put(self, item: Any) -> None:
        self._items.append(item)
        self._next(self._process.commit_s())

    def get(self, timeout: float | None = None) -> Any:
        if not self._items:
            raise queue.Empty
        return self._items.pop(0)

    get_nowait = get

    def start(self) -> None:
        self._begun = True

    def join(self, timeout_s: float) -> None:
        while self._items and self._runs:
            self._turn()

    @property
    def _runs(self) -> bool:
        return self._begun and not self._ended and self._process.alive

    def _next(self, in_s: float) -> None:
        if not self._is_due and self._runs:
            self._is_due = True
            asyncio.get_running_loop().call_later(in_s, self._turn)

    def _turn(self) -> None:
        self._is_due, journal = False, self._journal
        if not self._runs:
            return
        self._ended = not journal._write()
        if self._ended:
            journal._close()
        elif journal._file is None and journal._ended is None:
            self._next(0.5)


class LoopJournal(Journal):
    """The journal without a thread."""

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self._queue = self._thread = _Turns(self)  # type: ignore[assignment]


@contextmanager
def edges(machine: "Machine", patch: pytest.MonkeyPatch) -> Iterator[None]:
    """What the ingress meets in place of sockets, threads and Kafka."""
    for name, value in _PATIENCE.items():
        patch.setattr(f"dingbridge.{name}", value)
    with all_everywhere(
        (Journal, LoopJournal),
        (PublicServer, Listener),
        (AdminServer, NoAdmin),
        (AIOKafkaProducer, machine.cluster.producer),
        (AIOKafkaAdminClient, machine.cluster.admin),
        (DingTalkClient, machine.dingtalk.api),
        (open_connection, machine.dingtalk.opening),
        (connect, machine.dingtalk.connect),
    ):
        yield
