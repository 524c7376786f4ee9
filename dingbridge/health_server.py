"""The private listener: health, readiness, metrics, and requests of the operator.

On loopback by default. What "ready" means is decided by the process that owns the listener. Whatever changes
something is guarded by ``only_own_pages``, here and in the simulator.
"""

from collections.abc import Awaitable, Callable, Collection, Iterable
from ipaddress import ip_address
from typing import Any

import orjson
from aiohttp import web
from aiohttp.typedefs import Handler, Middleware
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.exposition import CONTENT_TYPE_LATEST

from dingbridge.errors import BridgeError

Ready = Callable[[], Awaitable[tuple[bool, dict[str, Any]]]]


def json_response(body: dict[str, Any], status: int = 200) -> web.Response:
    return web.Response(body=orjson.dumps(body), status=status, content_type="application/json")


def only_own_pages(below: str = "/", own_name: str = "") -> Middleware:
    """Keeps a page of somebody else's, open in the operator's browser, from changing anything ``below`` here.

    A browser names the page's origin in whatever changes something, and without asking first it cannot send
    the content type JSON to another origin. A domain may have been pointed here for the purpose (DNS
    rebinding): so whoever changes something must have asked by an address, by a name without a dot, or by
    ``own_name``. 403 and 415 otherwise.
    """

    @web.middleware
    async def guard(request: web.Request, handler: Handler) -> web.StreamResponse:
        if request.path.startswith(below) and request.method not in ("GET", "HEAD"):
            name = request.url.host or ""
            if not is_own_name(name, (own_name,)):
                words = f"{name} is no name of this listener; use its address, as 127.0.0.1"
                return json_response({"error": words}, 403)
            origin = request.headers.get("Origin")
            if origin is not None and origin != f"{request.scheme}://{request.host}":
                return json_response({"error": "this page is of another origin and may change nothing"}, 403)
            if request.body_exists and request.content_type != "application/json":
                words = "send JSON, with Content-Type: application/json"
                return json_response({"error": words}, 415)
        return await handler(request)

    return guard


def is_own_name(name: str, own_names: Collection[str]) -> bool:
    """Whether nobody else can have pointed ``name`` at this machine (DNS rebinding): an address, a name
    without a dot, or one of ``own_names``."""
    if name in own_names or "." not in name:
        return True
    try:
        ip_address(name)
    except ValueError:
        return False
    return True


class AdminServer:
    """Serves ``/healthz`` (the event loop turns), ``/readyz`` (what ``ready`` says, 200 or 503, details as
    JSON), ``/metrics`` (Prometheus text) and any further ``routes``."""

    def __init__(
        self,
        host: str,
        port: int,
        registry: CollectorRegistry,
        *,
        ready: Ready,
        routes: Iterable[web.AbstractRouteDef] = (),
    ) -> None:
        self.host, self.port = host, port
        self._registry, self._ready = registry, ready
        app = web.Application(middlewares=[only_own_pages(own_name=host)])
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
        return web.Response(
            body=generate_latest(self._registry), headers={"Content-Type": CONTENT_TYPE_LATEST}
        )
