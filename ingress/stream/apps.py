"""Stream mode of every app that has it: each its own connections, and a note of its gaps.

Apps come and go, and change their mode, with ``DINGTALK_APPS_FILE`` while the ingress runs.
"""

import asyncio
from collections.abc import Callable, Mapping

from aiohttp import web
from prometheus_client import Counter

from dingbridge.health_server import json_response
from dingbridge.settings import IngressSettings
from dingbridge.settings.apps import App
from dingbridge.tracing import Tracer
from ingress.door import Door
from ingress.journal.writer import Journal
from ingress.metrics import StreamMetrics
from ingress.per_app import PerApp
from ingress.stream.client import StreamClient
from ingress.stream.gaps import Gaps


class Streams:
    """Stream mode in one ingress process. ``apps`` are those of now, another object once they have changed;
    ``callbacks`` counts events by outcome (``HttpMetrics``)."""

    def __init__(
        self,
        settings: IngressSettings,
        apps: Callable[[], Mapping[str, App]],
        journal: Journal,
        metrics: StreamMetrics,
        callbacks: Counter,
        tracer: Tracer | None = None,
    ) -> None:
        self._settings, self._journal, self._door = settings, journal, Door(journal, tracer)
        self._metrics, self._callbacks = metrics, callbacks
        self._clients = PerApp(apps, _in_stream_mode, self._begin, self._gone)
        # of an app's name: when its credentials change, the old connections overlap with the new ones
        self._gaps: dict[str, Gaps] = {}
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Open the connections, and begin to follow the apps."""
        self._task = asyncio.get_running_loop().create_task(self._clients.watch())

    async def stop(self, within_s: float) -> None:
        """Read nothing more, answer what was taken, close, note until when there were connections. The
        journal must still take writes."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
        await self._clients.stop(within_s)
        await asyncio.gather(*(gaps.stop() for gaps in self._gaps.values()), return_exceptions=True)

    def route(self) -> web.RouteDef:
        """``GET /stream`` on the private listener: ``{"apps": {name: {"connections": 2, "last_frame_s": 3.1,
        "events": 12, "refused": null}}}``, see ``StreamClient.as_json``."""

        async def show(request: web.Request) -> web.Response:
            return json_response({"apps": {n: one.as_json() for n, one in self._clients.each.items()}})

        return web.get("/stream", show)

    def _begin(self, app: App) -> StreamClient:
        gaps = self._gaps.get(app.name)
        if gaps is None:
            gaps = Gaps(app.name, self._journal, self._metrics, self._settings.stream_gap_s)
            self._gaps[app.name] = gaps
        gaps.corp_id = app.corp_id
        return StreamClient(app, self._settings, self._door, gaps, self._metrics, self._callbacks)

    async def _gone(self, name: str) -> None:
        self._metrics.forget(name)
        if (gaps := self._gaps.pop(name, None)) is not None:
            await gaps.stop()


def _in_stream_mode(apps: Mapping[str, App]) -> dict[str, App]:
    return {name: app for name, app in apps.items() if app.mode == "stream"}
