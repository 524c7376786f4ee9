"""Stream mode of every app that has it: each its own connections, and a note of its gaps.

Apps come and go, and change their mode, with ``DINGTALK_APPS_FILE`` while the ingress runs.
"""

import asyncio
from collections.abc import Mapping
from contextlib import suppress

from aiohttp import web

from dingbridge.health_server import json_response
from dingbridge.ingress.journal.writer import Journal
from dingbridge.ingress.metrics import StreamMetrics
from dingbridge.ingress.per_app import Apps, PerApp
from dingbridge.ingress.stream.client import StreamClient
from dingbridge.ingress.stream.gaps import Gaps
from dingbridge.settings import IngressSettings
from dingbridge.settings.apps import App
from dingbridge.tasks import end


class Streams(PerApp[StreamClient]):
    """Stream mode in one ingress process. As it stops, it reads nothing more, answers what was taken, closes,
    and notes until when there were connections: the journal must still take writes."""

    what = "in Stream mode"

    def __init__(
        self,
        settings: IngressSettings,
        apps: Apps,
        journal: Journal,
        metrics: StreamMetrics,
    ) -> None:
        super().__init__(apps)
        self._settings, self._journal, self._metrics = settings, journal, metrics
        # of an app's name: when its credentials change, the old connections overlap with the new ones
        self._gaps: dict[str, tuple[Gaps, asyncio.Task[None]]] = {}

    async def stop(self, within_s: float) -> None:
        await super().stop(within_s)
        with suppress(TimeoutError):  # a disk that hangs takes no last note
            async with asyncio.timeout(within_s):
                await end(*(task for _, task in self._gaps.values()))

    def route(self) -> web.RouteDef:
        """``GET /stream`` on the private listener: ``{"apps": {name: {"connections": 2, "last_frame_s": 3.1,
        "events": 12, "refused": null}}}``, see ``StreamClient.as_json``."""

        async def show(request: web.Request) -> web.Response:
            return json_response({"apps": {name: one.as_json() for name, one in self.each.items()}})

        return web.get("/stream", show)

    def wanted(self, apps: Mapping[str, App]) -> Mapping[str, App]:
        return {name: app for name, app in apps.items() if app.mode == "stream"}

    def begin(self, app: App) -> StreamClient:
        if app.name not in self._gaps:
            made = Gaps(app.name, self._journal, self._metrics, self._settings.stream_gap_s)
            self._gaps[app.name] = made, self._tasks.need(f"that notes gaps of {app.name}", made.run)
        gaps, _ = self._gaps[app.name]
        gaps.corp_id = app.corp_id
        return StreamClient(app, self._settings, self._journal, gaps, self._metrics, self._tasks)

    async def gone(self, name: str) -> None:
        self._metrics.forget(name)
        await end(self._gaps.pop(name)[1])
