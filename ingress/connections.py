"""The connections of the public listener: how many, for how long, and what a broken request is told.

aiohttp parses. What it leaves open is closed here: it has no time limit for a request's head, none for a
peer that does not read its answers, no bound on the number of connections, and its own error pages name the
software and echo the request. What a well-formed request is worth is decided in ``ingress/http.py``.
"""

import asyncio
import resource
from collections.abc import Awaitable, Callable
from contextlib import suppress
from http import HTTPStatus
from itertools import islice
from typing import Any, Protocol

import orjson
from aiohttp import hdrs, web

HEAD_TIMEOUT_S = 5.0
"""A request's head must be complete within this after its first byte. (Of one that begins in the same
packet in which its predecessor ends, within ``KEEPALIVE_S``.)"""

KEEPALIVE_S = 75.0
"""A connection that brings nothing is closed after this: later than a proxy in front of us would."""

CONNECTIONS_MAX = 10_000
FILES_RESERVED = 200
"""Of the files that the process may open, so many are not for connections: journal, publisher, metrics."""

_CANDIDATES = 100


class Answer(web.Response):
    """A JSON answer that does not name the software that gives it."""

    def __init__(self, body: bytes, status: int = HTTPStatus.OK) -> None:
        super().__init__(body=body, status=status, content_type="application/json")

    async def _prepare_headers(self) -> None:
        await super()._prepare_headers()
        self.headers.popall(hdrs.SERVER, None)


def refusal(outcome: str, status: int) -> Answer:
    """An answer that names the class of what is wrong, and nothing else."""
    return Answer(orjson.dumps({"error": outcome}), status)


class Observer(Protocol):
    """Whoever counts and logs what happens to connections."""

    def broken(self, request: web.BaseRequest, error: str) -> None:
        """A request could not be parsed; ``error`` is the name of aiohttp's exception."""

    def fault(self, error: BaseException) -> None:
        """An exception that nothing of ours expected."""

    def dropped(self, reason: str) -> None:
        """We closed a connection: ``slow_head``, ``unread`` or ``crowded``."""

    def open(self, count: int) -> None:
        """So many connections are open now."""


class Connections(web.Server):
    """Makes a ``Connection`` of each that is accepted, and keeps their number within ``limit``.

    At the limit, the one that has been idle for the longest makes room, so that whoever only holds
    connections open keeps nobody out.
    """

    def __init__(
        self,
        handler: Callable[[web.BaseRequest], Awaitable[web.StreamResponse]],
        observer: Observer,
        limit: int,
    ) -> None:
        super().__init__(handler)
        self.observer, self._limit = observer, limit
        self._longest_idle_first: dict[Connection, None] = {}

    def __call__(self) -> "Connection":
        return Connection(
            self,
            loop=self._loop,
            access_log=None,
            auto_decompress=False,  # a compressed body is no JSON, and refused before anything is inflated
            keepalive_timeout=KEEPALIVE_S,
            lingering_time=1,
        )

    def joined(self, connection: "Connection") -> None:
        if len(self._longest_idle_first) >= self._limit:
            candidates = islice(
                self._longest_idle_first, _CANDIDATES
            )  # if all these are busy, so is the rest
            next((c for c in candidates if not c.busy), connection).drop("crowded")
        self._longest_idle_first[connection] = None
        self.observer.open(len(self._longest_idle_first))

    def active(self, connection: "Connection") -> None:
        """A request came: this connection is now the last that would have to make room."""
        if connection in self._longest_idle_first:
            del self._longest_idle_first[connection]
            self._longest_idle_first[connection] = None

    def left(self, connection: "Connection") -> None:
        if connection in self._longest_idle_first:
            del self._longest_idle_first[connection]
            self.observer.open(len(self._longest_idle_first))


class Connection(web.RequestHandler):
    """One connection, with a clock on each request's head."""

    __slots__ = ("_connections", "_head_timer")

    def __init__(self, connections: Connections, **options: Any) -> None:
        super().__init__(connections, **options)
        self._connections = connections
        self._head_timer: asyncio.TimerHandle | None = None

    @property
    def busy(self) -> bool:
        """Whether there is more to do than to wait for a request."""
        waiting = self._waiter is not None and not self._waiter.done()
        return not waiting and self._request_count > 0

    def drop(self, reason: str) -> None:
        """Close at once; whatever was not sent is not sent. ``left`` is told right away."""
        if self.transport is not None:
            self._connections.observer.dropped(reason)
            self._connections.left(self)
            self.transport.abort()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        self._connections.joined(self)

    def connection_lost(self, exc: BaseException | None) -> None:
        self._stop_clock()
        self._connections.left(self)
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        heads = self._request_count
        super().data_received(data)
        if self._request_count != heads:
            self._stop_clock()
            self._connections.active(self)
        elif data and self._head_timer is None and not self.busy:
            self._head_timer = self._loop.call_later(HEAD_TIMEOUT_S, self.drop, "slow_head")

    def _stop_clock(self) -> None:
        if self._head_timer is not None:
            self._head_timer.cancel()
            self._head_timer = None

    def pause_writing(self) -> None:
        """The peer sends requests and does not read the answers: hundreds of them wait here by now."""
        super().pause_writing()
        self.drop("unread")

    def handle_error(
        self,
        request: web.BaseRequest,
        status: int = HTTPStatus.INTERNAL_SERVER_ERROR,
        exc: BaseException | None = None,
        message: str | None = None,
    ) -> web.StreamResponse:
        """aiohttp calls this for what it could not parse, and for what a handler raised."""
        if status < HTTPStatus.INTERNAL_SERVER_ERROR:
            self._connections.observer.broken(request, type(exc).__name__)
            answer = refusal("malformed", status)
        else:
            self._connections.observer.fault(exc or TimeoutError())
            answer = refusal("unavailable", status)
        if request.writer.output_size > 0:
            raise ConnectionError("the answer had begun; it can only be cut off")
        answer.force_close()
        return answer

    def log_exception(self, *args: Any, **kwargs: Any) -> None:
        """aiohttp found a fault while it sent an answer; its own log would print the request."""
        error = kwargs.get("exc_info")
        self._connections.observer.fault(error if isinstance(error, BaseException) else RuntimeError())


def connections_allowed() -> int:
    """How many connections fit into the files that this process may open; the soft limit on these is raised
    to what ``CONNECTIONS_MAX`` needs, as far as the hard one allows."""
    wanted = CONNECTIONS_MAX + FILES_RESERVED
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        target = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
        with suppress(ValueError, OSError):
            resource.setrlimit(resource.RLIMIT_NOFILE, (target, hard))
            soft = target
    if soft == resource.RLIM_INFINITY:
        return CONNECTIONS_MAX
    return min(CONNECTIONS_MAX, max(soft - FILES_RESERVED, soft // 2))
