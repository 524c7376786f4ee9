"""The public listener: verify, decrypt, keep, and only then answer the encrypted ``success``.

It serves the callback paths and nothing else. What DingTalk did not sign gets a 4xx that names only a class;
the reason is for log and metrics. What it did sign is never refused for its content. Thin on purpose:
the crypto is in ``dingbridge/dingtalk/crypto.py``, the keeping in ``ingress/journal/writer.py``.
"""

import asyncio
import time
import traceback
from collections.abc import Mapping
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any

import orjson
import structlog
from aiohttp.http import HttpProcessingError
from aiohttp.web import RequestPayloadError

from dingbridge.dingtalk.crypto import CallbackCrypto, Credentials, Opened, SignatureParameters
from dingbridge.dingtalk.errors import CallbackError, OwnerMismatch
from dingbridge.dingtalk.self_push import nonce_of
from dingbridge.errors import BridgeError
from dingbridge.events import URL_CHECKS, DoorView, dedupe_key, known, read
from ingress.bodies import GivenUp, Unfinished
from ingress.checks import SeenChecks
from ingress.connections import CONNECTIONS_MAX, Connections, connections_allowed
from ingress.errors import JournalUnavailable
from ingress.exchange import Answer, Request, refusal
from ingress.journal.store import NewCallback
from ingress.journal.writer import Journal
from ingress.limiter import LogLimiter
from ingress.metrics import OTHER, HttpMetrics
from ingress.owners import Owners
from ingress.proxies import client_address

log = structlog.get_logger(__name__)

FIELDS_MAX = 100
"""DingTalk's body is one field. JSON of millions of values would hold up the loop for seconds (measured)
before its signature could be looked at."""

_LINGER_S = 1.0
"""For so long at the most an idle connection is kept open at the end."""

RETRY_AFTER_S = 10
"""DingTalk's first retry comes after 10 s (obtain-the-event-list-of-failed-push-messages)."""


@dataclass(frozen=True, slots=True)
class Rules:
    """What the listener accepts. ``max_age_s`` 0 accepts any timestamp; ``app`` has the bare path."""

    path: str = "/callback"
    app: str = "default"
    max_bytes: int = 4 * 1024 * 1024
    max_age_s: float = 302_400
    suite_check_reply: str = "success"
    trusted_proxies: tuple[str, ...] = ()
    max_connections: int | None = None  # as many as this process may open files for


class Refused(Exception):
    """Ends a request: ``outcome`` is the class that the sender sees, ``reason`` what log and metrics see."""

    def __init__(
        self, status: HTTPStatus, outcome: str, reason: str, words: str = "", **details: Any
    ) -> None:
        self.status, self.outcome, self.reason = status, outcome, reason
        self.words, self.details = words, details
        super().__init__(reason)


class CallbackServer:
    """Answers callbacks of one or several apps. ``apps`` maps the name in the path to its credentials."""

    def __init__(
        self, rules: Rules, apps: Mapping[str, CallbackCrypto], journal: Journal, metrics: HttpMetrics
    ) -> None:
        self._rules, self._journal, self._metrics = rules, journal, metrics
        self.owners = Owners()
        self.checks = SeenChecks()
        self._successes: dict[tuple[Credentials, str], tuple[int, Answer]] = {}
        self.serve(apps, rules.app)
        self._limiter = LogLimiter()
        self._unfinished = Unfinished()
        self._server: Connections | None = None
        self._listener: asyncio.Server | None = None

    def serve(self, apps: Mapping[str, CallbackCrypto], default: str | None) -> None:
        """Answer for ``apps`` from the next request on; ``default`` has the bare path too, if it is one."""
        path = self._rules.path
        paths = {f"{path}/{name}": (name, crypto) for name, crypto in apps.items()}
        if default is not None and default in apps:
            paths[path] = paths[f"{path}/default"] = (default, apps[default])
        self._paths = paths
        self._successes.clear()

    async def start(self, host: str, port: int, *, reuse_port: bool = False) -> int:
        """Listen; returns the port (0 picks a free one). ``reuse_port`` lets several processes share it.

        Raises ``BridgeError`` if it cannot be bound.
        """
        limit = self._rules.max_connections or connections_allowed()
        if limit < CONNECTIONS_MAX and not self._rules.max_connections:
            log.warning(
                "connections.few", connections=limit, words="raise the limit on open files (ulimit -n)"
            )
        self._server = Connections(self.handle, self, limit)
        try:
            self._listener = await asyncio.get_running_loop().create_server(
                self._server, host, port, backlog=1024, reuse_address=True, reuse_port=reuse_port
            )
        except OSError as error:
            raise BridgeError(
                f"the public listener cannot bind {host}:{port} ({error.strerror}); set INGRESS_HOST or "
                "INGRESS_PORT to a free one"
            ) from error
        return int(self._listener.sockets[0].getsockname()[1])

    async def stop(self, timeout_s: float) -> None:
        """Accept nothing new, answer what was accepted, close; at most ``timeout_s``."""
        if self._listener is not None:
            self._listener.close()
        if self._server is not None:
            self._server.draining = True
            # a kept-alive connection may just be bringing its next request: it is answered, and told to close
            deadline = time.monotonic() + min(_LINGER_S, timeout_s / 2)
            while self._server.connections and time.monotonic() < deadline:  # noqa: ASYNC110 - no event tells
                await asyncio.sleep(0.02)
            await self._server.shutdown(timeout_s)

    async def handle(self, request: Request) -> Answer:
        """One request. Every way out is an answer; nothing but a bug of ours could make it a 500."""
        began = time.perf_counter()
        try:
            answer = await self._answer(request)
        except Refused as refused:
            return self._refuse(request, refused)
        self._metrics.answer_seconds.observe(time.perf_counter() - began)
        return answer

    # -- what ``Connections`` tells us

    def broken(self, request: Request, error: str) -> None:
        # whatever it says of proxies was not understood either
        self._note(request, Refused(HTTPStatus.BAD_REQUEST, "malformed", "http", error=error), proxies=())

    def fault(self, error: BaseException) -> None:
        self._metrics.callbacks.labels("unavailable", "fault", "").inc()
        frames = traceback.extract_tb(error.__traceback__)
        place = f"{frames[-1].filename.rpartition('/')[2]}:{frames[-1].lineno}" if frames else "?"
        if (suppressed := self._limiter.allow("fault")) is not None:
            # never its text: that may hold what was sent
            log.error("callback.fault", error=type(error).__name__, place=place, suppressed=suppressed)

    def dropped(self, reason: str) -> None:
        self._metrics.connections_dropped.labels(reason).inc()
        if (suppressed := self._limiter.allow(reason)) is not None:
            log.warning("connection.dropped", reason=reason, suppressed=suppressed)

    def open(self, count: int) -> None:
        self._metrics.connections.set(count)

    # -- one request

    async def _answer(self, request: Request) -> Answer:
        app, crypto = self._paths.get(request.path) or (None, None)
        if app is None or crypto is None:
            raise Refused(HTTPStatus.NOT_FOUND, "not_found", "path")
        if request.method != "POST":
            raise Refused(HTTPStatus.METHOD_NOT_ALLOWED, "malformed", "method")
        encrypted, envelope = _encrypted(await self._read(request))
        parameters = _parameters(request.query, envelope)
        opened = self._open(app, crypto, parameters, encrypted)
        self._check_age(parameters)
        view = read(opened.plaintext)
        event_type = view.event_type if view.event_type is not None and known(view.event_type) else OTHER
        if view.event_type in URL_CHECKS:
            self._metrics.callbacks.labels("check", "", event_type).inc()
            log.info("callback.url_check", event_type=view.event_type, app=app, owner=opened.owner_key)
            if (nonce := nonce_of(opened.plaintext)) is not None:
                self.checks.saw(nonce, app)
            return self._check_reply(crypto, opened)
        try:
            new = await self._journal.append(_entry(app, opened.plaintext, view, parameters))
        except JournalUnavailable as error:
            raise Refused(HTTPStatus.SERVICE_UNAVAILABLE, "unavailable", error.reason, str(error)) from None
        self.owners.accepted(app, opened.owner_key)
        self._metrics.callbacks.labels("kept" if new else "duplicate", "", event_type).inc()
        return self._success(crypto, opened)

    async def _read(self, request: Request) -> bytes:
        limit = self._rules.max_bytes
        if (request.content_length or 0) > limit:
            raise Refused(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, "too_large", "body")
        try:
            if request.content.is_eof():
                body = request.content.read_nowait()  # the usual case: it came with the head
            else:
                request.go_on()
                body = await self._unfinished.read(request.content, limit)
        except GivenUp:
            words = "too many unfinished bodies at once; DingTalk's come whole, so look who sends these"
            raise Refused(HTTPStatus.SERVICE_UNAVAILABLE, "unavailable", "unfinished_bodies", words) from None
        except TimeoutError:
            raise Refused(HTTPStatus.REQUEST_TIMEOUT, "malformed", "slow_body") from None
        except (HttpProcessingError, RequestPayloadError, ConnectionError):
            raise Refused(HTTPStatus.BAD_REQUEST, "malformed", "payload") from None
        except RuntimeError:  # of aiohttp's stream, when the sender had hung up before we began to read
            if request.transport is not None:
                raise
            raise Refused(HTTPStatus.BAD_REQUEST, "malformed", "payload") from None
        if len(body) > limit:
            raise Refused(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, "too_large", "body")
        return body

    def _open(
        self, app: str, crypto: CallbackCrypto, parameters: SignatureParameters, encrypted: str
    ) -> Opened:
        try:
            return crypto.open(parameters, encrypted)
        except CallbackError as error:
            seen = {}
            if isinstance(error, OwnerMismatch):
                seen = {"owner_seen": error.owner_seen}
                self.owners.refused(app, error.owner_seen)
            raise Refused(HTTPStatus.FORBIDDEN, "forbidden", error.reason, str(error), **seen) from None

    def _check_age(self, parameters: SignatureParameters) -> None:
        stamp = parameters.timestamp_ms
        if stamp is None:
            raise Refused(HTTPStatus.BAD_REQUEST, "malformed", "timestamp", "the timestamp is no epoch ms")
        skew_s = time.time() - stamp / 1000
        self._metrics.clock_skew_seconds.set(skew_s)
        if self._rules.max_age_s and abs(skew_s) > self._rules.max_age_s:
            side = "behind" if skew_s > 0 else "ahead of"
            words = (
                f"clock skew: the signed timestamp is {abs(skew_s):.0f} s {side} our clock, more than "
                f"CALLBACK_MAX_AGE_S ({self._rules.max_age_s:g}); set this machine's clock, or somebody "
                "replays an old request"
            )
            raise Refused(HTTPStatus.FORBIDDEN, "forbidden", "age", words)

    def _check_reply(self, crypto: CallbackCrypto, opened: Opened) -> Answer:
        """``success``, or the check's own ``Random``, as an old official demo (isv-demo-java) answers."""
        if self._rules.suite_check_reply == "random":
            try:
                given = orjson.loads(opened.plaintext).get("Random")
            except orjson.JSONDecodeError:
                given = None
            if isinstance(given, str):
                return _sealed(crypto, given.encode(), opened, str(int(time.time() * 1000)))
        return self._success(crypto, opened)

    def _success(self, crypto: CallbackCrypto, opened: Opened) -> Answer:
        """The answer, made anew once a second: it says nothing that depends on the callback."""
        key = (opened.credentials, opened.owner_key)
        second = int(time.time())
        cached = self._successes.get(key)
        if cached is None or cached[0] != second:
            cached = (second, _sealed(crypto, b"success", opened, str(second * 1000)))
            self._successes[key] = cached
        return cached[1]

    def _note(self, request: Request, refused: Refused, proxies: tuple[str, ...]) -> None:
        self._metrics.callbacks.labels(refused.outcome, refused.reason, "").inc()
        if (suppressed := self._limiter.allow(refused.reason)) is not None:
            log.warning(
                "callback.refused",
                status=int(refused.status),
                outcome=refused.outcome,
                reason=refused.reason,
                words=refused.words or None,
                remote=client_address(request, proxies),
                suppressed=suppressed,
                **refused.details,
            )

    def _refuse(self, request: Request, refused: Refused) -> Answer:
        self._note(request, refused, self._rules.trusted_proxies)
        headers = {
            HTTPStatus.METHOD_NOT_ALLOWED: {"Allow": "POST"},
            HTTPStatus.SERVICE_UNAVAILABLE: {"Retry-After": str(RETRY_AFTER_S)},
        }
        return refusal(refused.outcome, refused.status, headers.get(refused.status, {}))


def _encrypted(body: bytes) -> tuple[str, Mapping[str, Any]]:
    """The field ``encrypt`` of the outer JSON, and that JSON."""
    if body.count(b",") > FIELDS_MAX:  # depth has a limit of its own, so this bounds the values
        raise Refused(HTTPStatus.BAD_REQUEST, "malformed", "body", "the body has more fields than a callback")
    try:
        envelope = orjson.loads(body)
    except orjson.JSONDecodeError:
        raise Refused(HTTPStatus.BAD_REQUEST, "malformed", "body", "the body is no JSON") from None
    encrypted = envelope.get("encrypt") if isinstance(envelope, dict) else None
    if not isinstance(encrypted, str) or not encrypted:
        raise Refused(HTTPStatus.BAD_REQUEST, "malformed", "body", "the body has no text field named encrypt")
    return encrypted, envelope


def _parameters(query: Mapping[str, str], envelope: Mapping[str, Any]) -> SignatureParameters:
    try:
        return SignatureParameters.from_query(query)
    except CallbackError as error:
        words = str(error)
        if envelope.keys() & {"signature", "msg_signature"}:
            words = "the signature stands in the body; DingTalk sends it in the query: " + words
        raise Refused(HTTPStatus.BAD_REQUEST, "malformed", "parameters", words) from None


def _entry(app: str, plaintext: bytes, view: DoorView, parameters: SignatureParameters) -> NewCallback:
    signature_key = None
    if not view.has_identity:
        # 8 zero bytes where other keys have the event's time; "s" keeps it apart from a content hash
        signature_key = bytes(8) + b"s" + parameters.signature.encode()
    return NewCallback(
        received_ms=int(time.time() * 1000),
        app=app,
        via="http",
        body=plaintext,
        key=dedupe_key(view, app, plaintext),
        signature_key=signature_key,
    )


def _sealed(crypto: CallbackCrypto, message: bytes, opened: Opened, timestamp: str) -> Answer:
    nonce = f"{time.time_ns() % 10**8:08d}"
    return Answer(orjson.dumps(crypto.seal(message, opened, timestamp=timestamp, nonce=nonce)))
