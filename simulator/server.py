"""The simulator as a process: one HTTP server that is DingTalk, for the company of ``world.py``."""

import asyncio
import signal
from typing import Any, Self

import structlog
from aiohttp import web

from dingbridge.errors import BridgeError
from dingbridge.health_server import only_own_pages
from dingbridge.simulator.api import json_answer
from dingbridge.simulator.control.page import page_routes
from dingbridge.simulator.control.routes import Control
from dingbridge.simulator.pushes.gateway import CONNECT
from dingbridge.simulator.recording import Replay
from dingbridge.simulator.settings import SimulatorSettings
from dingbridge.simulator.world import World

log = structlog.get_logger(__name__)


class Simulator(World):
    """``async with Simulator(settings, replay=replay) as simulator: … simulator.base_url``.

    Port 0 takes a free one. Raises what ``World`` raises, and ``BridgeError`` if the address cannot be bound.
    """

    def __init__(self, settings: SimulatorSettings | None = None, *, replay: Replay | None = None) -> None:
        super().__init__(settings, replay=replay)
        app = web.Application(middlewares=[_unknown_path, only_own_pages(below="/_sim/")])
        app.add_routes([*self.api.routes(), *Control(self).routes(), *page_routes()])
        app.router.add_get(CONNECT, self.gateway.connect)
        # an end must be prompt: nobody's data depends on an answer that is still open
        self._runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.5)
        self.base_url = ""

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(self, *exc: object) -> None:
        await self.stop()

    async def start(self) -> None:
        host, port = self.settings.simulator_host, self.settings.simulator_port
        await self._runner.setup()
        try:
            await web.TCPSite(self._runner, host, port).start()
        except OSError as error:
            await self._runner.cleanup()
            raise BridgeError(
                f"the simulator cannot listen on {host}:{port} ({error.strerror}); choose another with "
                "--host and --port, or SIMULATOR_HOST and SIMULATOR_PORT"
            ) from error
        await self.live()
        shown = f"[{host}]" if ":" in host else host
        self.base_url = f"http://{shown}:{self._runner.addresses[0][1]}"

    async def stop(self) -> None:
        """As ``end``, and nothing answers any more."""
        await self.end()
        await self._runner.cleanup()


@web.middleware
async def _unknown_path(request: web.Request, handler: Any) -> web.StreamResponse:
    try:
        response: web.StreamResponse = await handler(request)
    except (web.HTTPNotFound, web.HTTPMethodNotAllowed):
        return json_answer({"errcode": 404, "errmsg": "请求的URI地址不存在"}, 404)
    return response


async def serve(settings: SimulatorSettings, replay: Replay | None = None) -> None:
    """Run until SIGTERM or SIGINT. Raises what ``Simulator`` raises."""
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    async with Simulator(settings, replay=replay) as simulator:
        log.info(
            "simulator.listening",
            url=simulator.base_url,
            corp_id=simulator.platform.corp_id,
            app_key=settings.dingtalk_app_key,
            owner_key=settings.owner_key,
            users=len(simulator.platform.company.users),
            departments=len(simulator.platform.company.departments),
            rate=settings.simulator_rate,
            mode=simulator.mode,
        )
        await stop.wait()
        log.info("simulator.stopping", pending=simulator.pusher.pending)
