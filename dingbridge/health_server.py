"""The private listener: health, readiness, metrics, and requests of the operator.

On loopback by default. What "ready" means is decided by the process that owns the listener.
"""

from collections.abc import Awaitable, Callable, Iterable
from typing import Any

import orjson
from aiohttp import web
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.exposition import CONTENT_TYPE_LATEST

from dingbridge.errors import BridgeError

Ready = Callable[[], Awaitable[tuple[bool, dict[str, Any]]]]


def json_response(body: dict[str, Any], status: int = 200) -> web.Response:
    return web.Response(body=orjson.dumps(body), status=status, content_type="application/json")


class AdminServer:
    """Serves ``/healthz`` (the event loop turns), ``/readyz`` (what ``ready`` says, 200 or 503, details as
    JSON), ``/metrics`` (Prometheus text) and any further ``routes``."""

    def __init__(
        self,
        host: str,
        port: int,
        registry: CollectorRegistry | None,
        *,
        ready: Ready,
        metrics: Callable[[], Awaitable[str]] | None = None,
        routes: Iterable[web.AbstractRouteDef] = (),
    ) -> None:
        """``metrics`` gives the page of ``/metrics`` where it does not come from ``registry``."""
        self.host, self.port = host, port
        self._registry, self._ready, self._page = registry, ready, metrics
        app = web.Application()
        app.add_routes(
            [
                web.get("/healthz", self._healthz),
                web.get("/readyz", self._readyz),
                web.get("/metrics", self._metrics),
                *routes,
            ]
        )
        self._runner = web.AppRunner(app, access_log=None, shutdown_timeout=1)

    async def start(self) -> None:
        """Listen. Raises ``BridgeError`` if the address cannot be bound; port 0 picks a free one."""
        await self._runner.setup()
        site = web.TCPSite(self._runner, self.host, self.port)
        try:
            await site.start()
        except OSError as error:
            await self._runner.cleanup()
            raise BridgeError(
                f"the private listener cannot bind {self.host}:{self.port} ({error.strerror}); "
                "set ADMIN_HOST or ADMIN_PORT to a free one"
            ) from error
        self.port = self._runner.addresses[0][1]

    async def stop(self) -> None:
        await self._runner.cleanup()

    async def _healthz(self, request: web.Request) -> web.Response:
        return json_response({"status": "ok"})

    async def _readyz(self, request: web.Request) -> web.Response:
        ok, details = await self._ready()
        return json_response({"status": "ready" if ok else "not ready", **details}, 200 if ok else 503)

    async def _metrics(self, request: web.Request) -> web.Response:
        if self._page is not None:
            page = (await self._page()).encode()
        else:
            page = generate_latest(self._registry) if self._registry is not None else b""
        return web.Response(body=page, headers={"Content-Type": CONTENT_TYPE_LATEST})
