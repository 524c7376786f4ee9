"""DingTalk for one test: the simulator at the end of a wire in memory, with answers that a test puts first.

Nothing listens on a port. ``DingTalk`` is the whole platform of ``dingbridge.simulator``; ``script`` adds
what a real day brings and no switch of the simulator does.
"""

import traceback
from asyncio import Event
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from random import Random
from typing import Any

import aiohttp
import orjson
from aiohttp import web

from dingbridge.dingtalk.api import DingTalkClient
from dingbridge.events.envelope import Received, Record, to_records
from dingbridge.settings import SAMPLE_CREDENTIALS
from dingbridge.simulator.company.events import PlatformEvent
from dingbridge.simulator.settings import SimulatorSettings
from tests.lives.mortal import Mortal
from tests.lives.process import BASE
from tests.lives.world import SocketlessSimulator
from tests.support.profiles import KIND

APP_KEY, APP_SECRET = SAMPLE_CREDENTIALS["DINGTALK_APP_KEY"], SAMPLE_CREDENTIALS["DINGTALK_APP_SECRET"]
OK = {"errcode": 0, "errmsg": "ok"}
BUSY = {"errcode": -1, "errmsg": "系统繁忙"}
QPS = {"errcode": 90018, "errmsg": "您的服务器调用钉钉开放平台当前接口的所有请求都被暂时禁用了"}

Answer = dict[str, Any] | web.Response | str
"""A body in JSON, a response, or ``hang`` (no answer before the end) or ``cut`` (the connection breaks)."""


class Immediate(Mortal):
    """A process whose effects take no time."""

    def latency_s(self) -> float:
        return 0.0


class DingTalk(SocketlessSimulator):
    """``async with DingTalk(users=12) as platform: async with platform.client() as client: …``.

    Options are those of ``SimulatorSettings`` without their prefix. ``seen`` holds every request with its
    body, in their order.
    """

    def __init__(self, **options: Any) -> None:
        wanted = {"users": 12, "departments": 4, "profile": KIND} | options
        super().__init__(SimulatorSettings(**{f"simulator_{name}": value for name, value in wanted.items()}))
        self.seen: list[tuple[web.Request, dict[str, Any]]] = []
        self._scripted: dict[str, deque[Answer]] = {}
        self._ended = Event()
        self._runner.app.middlewares.insert(0, self._first)

    def script(self, path: str, *answers: Answer) -> None:
        """The next calls of ``path`` get these answers, one each."""
        self._scripted.setdefault(path, deque()).extend(answers)

    def requests(self, path: str) -> list[dict[str, Any]]:
        """The bodies that ``path`` got."""
        return [body for request, body in self.seen if request.path == path]

    @asynccontextmanager
    async def client(self, **options: Any) -> AsyncIterator[DingTalkClient]:
        """A client of this platform; ``options`` are the client's."""
        connector = self.wire.connector(Immediate("client", Random(0)))
        credentials = {"app_key": APP_KEY, "app_secret": APP_SECRET}
        async with (
            aiohttp.ClientSession(connector=connector) as session,
            DingTalkClient(base=BASE, session=session, **credentials | options) as client,
        ):
            yield client

    async def stop(self) -> None:
        self._ended.set()
        await super().stop()

    @web.middleware
    async def _first(
        self, request: web.Request, handler: Callable[[web.Request], Awaitable[web.StreamResponse]]
    ) -> web.StreamResponse:
        self.seen.append((request, orjson.loads(await request.read() or b"{}")))
        scripted = self._scripted.get(request.path)
        if not scripted:
            return await handler(request)
        match scripted.popleft():
            case "hang":
                await self._ended.wait()
                return web.Response(status=504)
            case "cut":
                assert request.transport is not None
                request.transport.abort()
                return web.Response(status=504)
            case web.Response() as response:
                return response
            case answer:
                return web.json_response(answer)


def records_of(events: list[PlatformEvent], *, first_seq: int = 1) -> list[Record]:
    """The records that these events are in Kafka."""
    records: list[Record] = []
    for seq, one in enumerate(events, start=first_seq):
        received = Received(
            seq=seq, journal="j1", received_ms=one.time_ms, app="default", via="http", body=one.plaintext()
        )
        records += to_records(received)
    return records


class Sleeps:
    """Stands in for ``asyncio.sleep`` and remembers what it was asked for; ``now`` goes on by it."""

    def __init__(self) -> None:
        self.seconds: list[float] = []
        self.now = 0.0

    async def __call__(self, seconds: float) -> None:
        self.seconds.append(seconds)
        self.now += seconds

    def clock(self) -> float:
        return self.now


def everything_said(error: BaseException) -> str:
    """All that a log could show of an error: its text, its causes and contexts, its traceback."""
    assert error.__cause__ is None
    return "".join(traceback.format_exception(error)) + repr(error) + repr(vars(error))
