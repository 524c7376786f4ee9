"""The public listener: which paths there are, how large and how slow a request may be, start and stop.

It is aiohttp's low-level ``web.Server``, as documented, since there is nothing to route: the paths are one
dict. How a callback is verified, kept and answered: ``ingress/callback.py``. TLS, slow heads, the number of
connections and peers that do not read are the edge proxy's business: ``deploy/edge``.
"""

import asyncio
import time
from collections.abc import Mapping
from http import HTTPStatus
from logging import ERROR, WARNING

import orjson
import structlog
from aiohttp import web

from dingbridge.dingtalk.crypto import CallbackCrypto
from dingbridge.errors import BridgeError
from dingbridge.ingress.callback import CallbackReceiver, Refused
from dingbridge.ingress.metrics import HttpMetrics
from dingbridge.logging import LogLimiter, place_of
from dingbridge.settings import IngressSettings
from dingbridge.settings.trusted_proxies import client_address

log = structlog.get_logger(__name__)

BODY_TIMEOUT_S = 5.0
"""A body must be there within this; DingTalk's own deadline for the whole answer is 1.5 s."""

KEEPALIVE_S = 75.0
"""An idle connection is closed after this. A proxy's own limit is shorter, so the proxy closes first, and
never sends a callback into a connection that we are just closing."""

_LINGER_S = 1.0
"""How long the rest of a refused body is read and dropped: if we closed at once, a sender that still writes
could lose our answer."""

_HEADERS = {"Content-Type": "application/json", "Server": "callback"}
"""Of every answer. Without a ``Server`` of ours aiohttp would name itself, Python and both versions."""

_MORE_HEADERS = {
    HTTPStatus.METHOD_NOT_ALLOWED: {"Allow": "POST"},
    # DingTalk's first retry comes after 10 s (obtain-the-event-list-of-failed-push-messages)
    HTTPStatus.SERVICE_UNAVAILABLE: {"Retry-After": "10"},
}


class PublicServer:
    """Answers requests to ``CALLBACK_PATH`` and the paths below it, for the apps that ``serve`` names."""

    def __init__(self, settings: IngressSettings, callbacks: CallbackReceiver, metrics: HttpMetrics) -> None:
        self._callbacks, self._metrics = callbacks, metrics
        self._path, self._max_bytes = settings.callback_path, settings.callback_max_bytes
        self._trusted_proxies = settings.trusted_proxies
        self._stop_within_s = settings.shutdown_timeout_s / 2
        self._apps: dict[str, tuple[str, CallbackCrypto]] = {}
        self._limiter = LogLimiter()
        self._runner: web.ServerRunner | None = None

    def serve(self, apps: Mapping[str, CallbackCrypto], default: str | None) -> None:
        """Answer for ``apps`` from the next request on. The app named ``default``, if it is one of
        them, also has the bare ``CALLBACK_PATH`` and ``…/default``."""
        paths = {f"{self._path}/{name}": (name, crypto) for name, crypto in apps.items()}
        if default is not None and default in apps:
            paths[self._path] = paths[f"{self._path}/default"] = (default, apps[default])
        self._apps = paths

    async def start(self, host: str, port: int, *, reuse_port: bool = False) -> int:
        """Listen; returns the port (0 picks a free one). ``reuse_port`` lets several processes share it.

        Raises ``BridgeError`` if it cannot be bound.
        """
        server = web.Server(
            self._handle,
            access_log=None,
            auto_decompress=False,  # DingTalk compresses nothing, and so no small body can become a large one
            keepalive_timeout=KEEPALIVE_S,
            lingering_time=_LINGER_S,
        )
        self._runner = runner = web.ServerRunner(server, shutdown_timeout=self._stop_within_s)
        await runner.setup()
        site = web.TCPSite(
            runner, host, port, backlog=1024, reuse_address=True, reuse_port=reuse_port or None
        )
        try:
            await site.start()
        except OSError as error:
            await runner.cleanup()
            raise BridgeError(
                f"the public listener cannot bind {host}:{port} ({error.strerror}); set INGRESS_HOST or "
                "INGRESS_PORT to a free one, or INGRESS_REUSE_PORT=true on all that share it"
            ) from error
        return int(runner.addresses[0][1])

    async def stop(self) -> None:
        """Accept nothing new, answer what was accepted, close; within half of ``SHUTDOWN_TIMEOUT_S``."""
        if self._runner is not None:
            await self._runner.cleanup()

    async def _handle(self, request: web.BaseRequest) -> web.Response:
        """Always answers; an error's body names only a class, and only a fault of ours is a 500."""
        began = time.perf_counter()
        try:
            body = await self._answer(request)
        except Refused as refused:
            return self._refuse(request, refused)
        except Exception as error:  # the error's text may hold what was sent: it is left out
            what = {"error": type(error).__name__, "place": place_of(error)}
            status = HTTPStatus.INTERNAL_SERVER_ERROR
            return self._refuse(request, Refused(status, "unavailable", "fault", **what))
        self._metrics.answer_seconds.observe(time.perf_counter() - began)
        return web.Response(body=body, headers=_HEADERS)

    async def _answer(self, request: web.BaseRequest) -> bytes:
        app = self._apps.get(request.path)
        if app is None:
            raise Refused(HTTPStatus.NOT_FOUND, "not_found", "path")
        if request.method != "POST":
            raise Refused(HTTPStatus.METHOD_NOT_ALLOWED, "malformed", "method")
        return await self._callbacks.receive(*app, request.query, await self._body(request))

    async def _body(self, request: web.BaseRequest) -> bytes:
        content, body = request.content, bytearray()
        try:
            if content.is_eof():  # the usual case: all of it came with the head
                body += content.read_nowait()
            elif (request.content_length or 0) <= self._max_bytes:
                _send_continue(request)
                async with asyncio.timeout(BODY_TIMEOUT_S):
                    async for piece in content.iter_any():
                        body += piece
                        if len(body) > self._max_bytes:
                            break
        except TimeoutError:
            raise Refused(HTTPStatus.REQUEST_TIMEOUT, "malformed", "slow_body") from None
        except (web.RequestPayloadError, OSError):  # not framed as it says, or the connection was lost
            raise Refused(HTTPStatus.BAD_REQUEST, "malformed", "payload") from None
        except RuntimeError:  # aiohttp raises it if the sender had hung up before we began to read
            if request.transport is not None:
                raise
            raise Refused(HTTPStatus.BAD_REQUEST, "malformed", "payload") from None
        if max(len(body), request.content_length or 0) > self._max_bytes:
            raise Refused(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, "too_large", "body")
        return bytes(body)

    def _refuse(self, request: web.BaseRequest, refused: Refused) -> web.Response:
        self._metrics.callbacks.labels(refused.outcome, refused.reason, "", "http").inc()
        if (suppressed := self._limiter.allow(refused.reason)) is not None:
            is_fault = refused.status is HTTPStatus.INTERNAL_SERVER_ERROR
            log.log(
                ERROR if is_fault else WARNING,
                "callback.fault" if is_fault else "callback.refused",
                status=int(refused.status),
                outcome=refused.outcome,
                reason=refused.reason,
                words=refused.words or None,
                remote=client_address(
                    request.remote, request.headers.getall("X-Forwarded-For", []), self._trusted_proxies
                ),
                suppressed=suppressed,
                **refused.details,
            )
        return web.Response(
            body=orjson.dumps({"error": refused.outcome}),  # the class of what is wrong, and nothing else
            status=refused.status,
            headers={**_HEADERS, **_MORE_HEADERS.get(refused.status, {})},
        )


def _send_continue(request: web.BaseRequest) -> None:
    """Answer ``Expect: 100-continue``: such a sender waits for this before it sends the body."""
    if "Expect" in request.headers and request.transport is not None:
        request.transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")
