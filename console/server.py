"""The console's listener: pages, static files, errors as pages; start and stop."""

import asyncio
import signal
from pathlib import Path
from typing import Final

import structlog
from aiohttp import web
from aiohttp.typedefs import Handler, Middleware

from dingbridge.console.access.listening import unix_socket
from dingbridge.console.access.middleware import USER, headers_of_stream, security_headers
from dingbridge.console.app import Console
from dingbridge.console.login import Login
from dingbridge.console.page import problem_text
from dingbridge.console.pages import all_routes
from dingbridge.console.settings import ConsoleSettings
from dingbridge.errors import BridgeError, SettingsError
from dingbridge.health_server import json_response
from dingbridge.logging import LogLimiter, place_of
from dingbridge.tasks import WatchedTasks

log = structlog.get_logger(__name__)

HTMX: Final = "htmx-4.0.1.min.js"
_STATIC: Final = Path(__file__).with_name("static")
_WORDS: Final = frozenset({400, 403, 404, 409, 421, 429, 500, 503})
_SAID: Final = ("letter", "row", "changed", "forgotten", "form", "nothing", "kinds")
"""Errors that people meet in their work, whose words are in their language; other refusals are in English."""
"""Statuses that have words of their own in ``words/error.toml``."""


def application(console: Console) -> web.Application:
    """The pages behind the login, and ``/healthz`` and the static files before it."""
    app = web.Application(
        middlewares=[security_headers, _errors_as_pages(console), console.access.middleware()],
        client_max_size=1 << 20,
    )
    app.on_response_prepare.append(headers_of_stream)
    app.add_routes([web.get("/healthz", _healthz), web.static("/static", _STATIC)])
    app.add_routes(Login(console).routes())
    app.add_routes(all_routes(console))
    return app


async def run(console: Console) -> None:
    """Serve until SIGTERM or SIGINT. Raises ``BridgeError`` when it cannot begin, or a task that it needs has
    ended."""
    settings, stop = console.settings, asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    others = settings.console_proxy_user_header or settings.console_oidc_issuer
    if not others and not console.users.names():
        raise SettingsError(
            [
                f"DATA_DIR: nobody is in {console.users.path} yet; add somebody first, with "
                "`dingbridge console set-password NAME --role operator`, or, of DingTalk's, with "
                "`dingbridge console set-role UNIONID --role operator`"
            ]
        )
    runner = web.AppRunner(
        application(console), access_log=None, shutdown_timeout=settings.shutdown_timeout_s / 2
    )
    try:
        await console.start()
        await runner.setup()
        address = await _listen(runner, settings)
        log.info("console.ready", address=address)
        async with WatchedTasks() as tasks:
            tasks.need("of the console", console.run)
            await stop.wait()
        log.info("console.stopping", within_s=settings.shutdown_timeout_s)
    finally:
        await runner.cleanup()
        await console.stop()


async def _listen(runner: web.AppRunner, settings: ConsoleSettings) -> str:
    """Returns the address. Raises ``BridgeError``."""
    if settings.console_socket is not None:
        await web.SockSite(runner, unix_socket(settings.console_socket)).start()
        return f"unix:{settings.console_socket}"
    try:
        await web.TCPSite(runner, settings.console_host, settings.console_port).start()
    except OSError as error:
        raise BridgeError(
            f"the console cannot bind {settings.console_host}:{settings.console_port} "
            f"({error.strerror}); set CONSOLE_HOST or CONSOLE_PORT to a free one"
        ) from error
    return f"http://{settings.console_host}:{runner.addresses[0][1]}"


async def _healthz(request: web.Request) -> web.Response:
    return json_response({"status": "ok"})


def _errors_as_pages(console: Console) -> Middleware:
    limiter = LogLimiter()

    @web.middleware
    async def errors_as_pages(request: web.Request, handler: Handler) -> web.StreamResponse:
        try:
            return await handler(request)
        except web.HTTPException as error:
            if error.status < 400:
                raise
            response = await _page(request, error.status, error.text or "")
            response.headers.extend({k: v for k, v in error.headers.items() if k in ("Allow", "HX-Redirect")})
            return response
        except BridgeError as error:
            if (suppressed := limiter.allow(type(error).__name__)) is not None:
                log.warning("console.no_answer", error=str(error), suppressed=suppressed)
            return await _page(request, 503, problem_text(request.get(USER), error))
        except Exception as error:
            if (suppressed := limiter.allow(type(error).__name__)) is not None:
                # never its text: that may hold what was sent
                log.error(
                    "console.fault", error=type(error).__name__, place=place_of(error), suppressed=suppressed
                )
            return await _page(request, 500, f"{type(error).__name__} {place_of(error)}")

    async def _page(request: web.Request, status: int, words: str) -> web.Response:
        key = f"error.{status if status in _WORDS else 400 if status < 500 else 500}"
        said = (f"error.said_{name}" for name in _SAID)
        said_key = next((known for known in said if console.render.words[known]["en"] == words), None)
        return await console.page(
            request, "error.html", status=status, key=key, code=status, words=words, said=said_key
        )

    return errors_as_pages
