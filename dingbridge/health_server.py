"""The private listener: health, readiness, metrics, and requests of the operator.

On loopback by default. The process that owns the listener decides what "ready" means. Every request must use
a host name of ours; a request that changes something also needs the token of the data folder
(``admin_token.py``), and is logged.
"""

import asyncio
import hmac
import re
from collections.abc import Awaitable, Callable, Collection, Iterable
from contextlib import suppress
from ipaddress import ip_address
from typing import Any

import orjson
import structlog
from aiohttp import web
from aiohttp.typedefs import Handler, Middleware
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.exposition import CONTENT_TYPE_LATEST

from dingbridge.errors import BridgeError
from dingbridge.logging import LogLimiter

log = structlog.get_logger(__name__)

Ready = Callable[[], Awaitable[tuple[bool, dict[str, Any]]]]
_LOOKS = ("GET", "HEAD")
_HOST_RE = re.compile(r"(\[[0-9a-f:.]+]|[a-z0-9._-]+)(:[0-9]{1,5})?")


def json_response(body: dict[str, Any], status: int = 200) -> web.Response:
    return web.Response(body=orjson.dumps(body), status=status, content_type="application/json")


async def json_object(request: web.Request) -> dict[str, Any]:
    """The request's body; empty where there is none. Raises 400 for what is no JSON object in UTF-8 (RFC
    8259, 8.1): in another charset, its sender would choose the codec."""
    try:
        body = orjson.loads(await request.read() or b"{}")
    except (orjson.JSONDecodeError, web.RequestPayloadError):  # or not encoded as it says
        body = None
    if not isinstance(body, dict) or (request.charset or "utf-8").lower() != "utf-8":
        words = '{"error": "the body must be a JSON object in UTF-8"}'
        raise web.HTTPBadRequest(text=words, content_type="application/json")
    return body


def only_own_pages(below: str = "/", own_names: Collection[str] = ()) -> Middleware:
    """Keeps a page of somebody else's, open in the operator's browser, from reading or changing anything
    ``below`` here.

    A domain may have been pointed here for the purpose (DNS rebinding): so whoever asks must have asked by an
    address, by a name without a dot, or by one of ``own_names``. A browser names the page's origin in
    whatever changes something, and without asking first it cannot send the content type JSON to another
    origin. 403 and 415 otherwise.
    """

    @web.middleware
    async def guard(request: web.Request, handler: Handler) -> web.StreamResponse:
        if not request.path.startswith(below):
            return await handler(request)
        if not is_own_name(request.host, own_names):
            words = f"{request.host!r} is no name of this listener; use its address, as 127.0.0.1"
            return json_response({"error": words + (", or set ADMIN_NAMES" if own_names else "")}, 403)
        if request.method not in _LOOKS:
            origin = request.headers.get("Origin")
            if origin is not None and origin != f"{request.scheme}://{request.host}":
                return json_response({"error": "this page is of another origin and may change nothing"}, 403)
            if request.body_exists and request.content_type != "application/json":
                words = "send JSON, with Content-Type: application/json"
                return json_response({"error": words}, 415)
        return await handler(request)

    return guard


def only_with_token(token: str | None) -> Middleware:
    """Answers 401 to a change without ``Authorization: Bearer <token>``, and logs the others with their
    result. If there is no token, every change is refused. Refusals are logged a few at a time, so that
    nobody fills a disk with them."""
    limiter = LogLimiter()

    @web.middleware
    async def guard(request: web.Request, handler: Handler) -> web.StreamResponse:
        if request.method in _LOOKS or request.match_info.http_exception is not None:  # 404 or 405
            return await handler(request)
        sent = request.headers.get("Authorization", "").encode(errors="replace")
        if token is None or not hmac.compare_digest(sent, f"Bearer {token}".encode()):
            if (suppressed := limiter.allow("token")) is not None:
                log.warning("admin.refused", path=request.path, remote=request.remote, suppressed=suppressed)
            words = (
                "whatever changes something here needs the token in DATA_DIR/admin.token, as `Authorization: "
                "Bearer <token>`; a command sends that of its own DATA_DIR: set it as for this process"
            )
            answer = json_response({"error": words}, 401)
            answer.headers["WWW-Authenticate"] = "Bearer"
            return answer
        result: int | str = "failed"
        try:
            response = await handler(request)
            result = response.status
            return response
        finally:
            log.info("admin.changed", path=request.path, remote=request.remote, result=result)

    return guard


def is_own_name(host: str, own_names: Collection[str]) -> bool:
    """Return whether nobody else can have pointed the name in ``host`` at this machine (DNS rebinding).

    ``host`` is a Host header. Its name must be an address, a name without a dot, or one of ``own_names``, of
    which ``.svc`` stands for all names that end with it. The header is never read as a URL is: there
    ``evil%2ecom`` and ``x@127.0.0.1`` are names of another form.
    """
    if (found := _HOST_RE.fullmatch(host.lower())) is None:
        return False
    try:
        ip_address(found[1].strip("[]"))
    except ValueError:
        name, names = found[1], [own.lower() for own in own_names]
        suffixes = tuple(own for own in names if own.startswith("."))
        return name in names or name.endswith(suffixes) or not {".", "["} & {*name}
    return True


class AdminServer:
    """Serves ``/healthz`` (the event loop turns), ``/readyz`` (what ``ready`` says, 200 or 503, details as
    JSON), ``/metrics`` (Prometheus text) and any further ``routes``.

    ``token`` is what changes need (``admin_token``); without one, nothing may be changed. ``names`` are those
    with a dot by which the listener may be asked (``ADMIN_NAMES``).
    """

    def __init__(
        self,
        host: str,
        port: int,
        registry: CollectorRegistry,
        *,
        ready: Ready,
        routes: Iterable[web.AbstractRouteDef] = (),
        token: str | None = None,
        names: Iterable[str] = (),
    ) -> None:
        self.host, self.port = host, port
        self._registry, self._ready = registry, ready
        guards = [only_own_pages(own_names=(host, *names)), only_with_token(token)]
        app = web.Application(middlewares=guards)
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

    async def stop(self, within_s: float = 3.0) -> None:
        """Close. Requests get a second to end; whatever hangs is left behind after ``within_s``."""
        with suppress(TimeoutError):
            async with asyncio.timeout(within_s):
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
