"""The connections of the public listener: how many, for how long, one request after the other on each.

aiohttp's parser reads HTTP, and its stream holds a body. Its server is not used: its objects and its task for
each request cost as much as all of our own work. What must not stay open is closed here: a head that does not
end, a peer that does not read its answers, connections that bring nothing, or are too many. What a request is
worth is decided in ``ingress/callback.py``.
"""

import asyncio
import resource
import socket
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from http import HTTPStatus
from itertools import islice
from typing import Protocol

from aiohttp import EMPTY_PAYLOAD, StreamReader
from aiohttp.base_protocol import BaseProtocol
from aiohttp.http import HttpProcessingError, HttpRequestParser, RawRequestMessage
from aiohttp.web import RequestPayloadError

from ingress.exchange import Answer, Request, refusal
from ingress.room import Room

HEAD_TIMEOUT_S = 5.0
"""A request's head must be complete within this after its first byte. (Of one that begins in the same
packet in which its predecessor ends, within ``KEEPALIVE_S``.)"""

KEEPALIVE_S = 75.0
"""A connection that brings nothing is closed after this: later than a proxy in front of us would."""

CONNECTIONS_MAX = 10_000
FILES_RESERVED = 200
"""Of the files that the process may open, so many are not for connections: journal, publisher, metrics."""

HEADS_MAX_BYTES = 64 * 1024 * 1024
"""All heads that are not whole yet may hold this together; each, by aiohttp's limits, about 1 MB."""
_SMALL_BYTES = 4096
"""What came with the end of a request and is no more than this is most likely its own head."""

_CANDIDATES = 100
_SWEEP_EVERY_S = 1.0
_BUFFER_BYTES = 64 * 1024
"""Of a body that has not been read yet, about twice this may lie in memory before its sender has to wait."""

_LINGER_S = 1.0
"""For so long the rest of a refused body is read and dropped: a close at once could take the answer along."""


class Observer(Protocol):
    """Whoever counts and logs what happens to connections."""

    def broken(self, request: Request, error: str) -> None:
        """A request could not be parsed; ``error`` is the name of aiohttp's exception."""

    def fault(self, error: BaseException) -> None:
        """An exception that nothing of ours expected."""

    def dropped(self, reason: str) -> None:
        """We closed a connection: ``slow_head``, ``unread`` or ``crowded``."""

    def open(self, count: int) -> None:
        """So many connections are open now."""


Handler = Callable[[Request], Awaitable[Answer]]


class Connections:
    """Makes a ``Connection`` of each that is accepted, and keeps their number within ``limit``.

    At the limit, the one that has been idle for the longest makes room, so that whoever only holds
    connections open keeps nobody out. ``heads`` is what is held of heads that are not whole yet.
    """

    def __init__(self, handler: Handler, observer: Observer, limit: int) -> None:
        """Made on the running event loop."""
        self.handler, self.observer, self._limit = handler, observer, limit
        self.loop = asyncio.get_running_loop()
        self.draining = False
        self.heads = Room[Connection](HEADS_MAX_BYTES)
        self._longest_idle_first: dict[Connection, float] = {}  # since when, on the loop's clock
        self._sweep = self.loop.call_later(_SWEEP_EVERY_S, self._close_idle)

    def __call__(self) -> "Connection":
        return Connection(self)

    @property
    def connections(self) -> "list[Connection]":
        return list(self._longest_idle_first)

    def joined(self, connection: "Connection") -> None:
        if len(self._longest_idle_first) >= self._limit:
            # if all of the candidates are busy, so is the rest
            candidates = islice(self._longest_idle_first, _CANDIDATES)
            next((c for c in candidates if not c.busy), connection).drop("crowded")
        self._longest_idle_first[connection] = self.loop.time()
        self.observer.open(len(self._longest_idle_first))

    def active(self, connection: "Connection") -> None:
        """A request came or was answered: this connection is now the last that would have to make room."""
        if self._longest_idle_first.pop(connection, None) is not None:
            self._longest_idle_first[connection] = self.loop.time()

    def left(self, connection: "Connection") -> None:
        if self._longest_idle_first.pop(connection, None) is not None:
            self.observer.open(len(self._longest_idle_first))

    def _close_idle(self) -> None:
        limit = self.loop.time() - KEEPALIVE_S
        for connection, since in list(islice(self._longest_idle_first.items(), _CANDIDATES)):
            if since > limit:
                break
            if connection.busy:
                self.active(connection)
            else:
                connection.close()
        self._sweep = self.loop.call_later(_SWEEP_EVERY_S, self._close_idle)

    async def shutdown(self, timeout_s: float) -> None:
        """Close every connection: an idle one at once, any other when its request is answered, or after
        ``timeout_s`` all the same."""
        self.draining = True
        self._sweep.cancel()
        tasks = [task for connection in self.connections if (task := connection.close()) is not None]
        if tasks:
            await asyncio.wait(tasks, timeout=timeout_s)
        for connection in self.connections:
            connection.abort()


class Connection(BaseProtocol):
    """One connection: its requests are answered in turn, with a clock on each one's head."""

    __slots__ = (
        "_connections",
        "_content",
        "_deaf",
        "_ending",
        "_head_timer",
        "_http",
        "_requests",
        "_task",
        "_waiter",
        "_working",
    )

    def __init__(self, connections: Connections) -> None:
        self._http = HttpRequestParser(
            self,
            connections.loop,
            _BUFFER_BYTES,
            payload_exception=RequestPayloadError,
            auto_decompress=False,  # a compressed body is no JSON, and refused before anything is inflated
            max_msg_queue_size=1,  # it stops at the end of each request, and goes on when that is answered
        )
        super().__init__(connections.loop, self._http)
        self._connections = connections
        self._requests: deque[tuple[RawRequestMessage | HttpProcessingError, StreamReader]] = deque()
        self._content: StreamReader | None = None  # of the last request, perhaps on its way
        self._deaf = False  # after what could not be parsed, and behind a request for another protocol
        self._working = False
        self._ending = False
        self._waiter: asyncio.Future[None] | None = None
        self._task: asyncio.Task[None] | None = None
        self._head_timer: asyncio.TimerHandle | None = None

    @property
    def busy(self) -> bool:
        """Whether there is more to do than to wait for a request."""
        return self._working or bool(self._requests)

    def drop(self, reason: str) -> None:
        """Close at once; whatever was not sent is not sent. ``left`` is told right away."""
        if self.transport is not None:
            self._connections.observer.dropped(reason)
            self._connections.left(self)
            self.abort()

    def abort(self) -> None:
        if self.transport is not None:
            self.transport.abort()

    def close(self) -> "asyncio.Task[None] | None":
        """Take no further request, and close when those that are here are answered, which the task does."""
        self._ending = True
        self._wake()
        return self._task

    # -- what the transport tells us

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        if (sock := transport.get_extra_info("socket")) is not None:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        self._connections.joined(self)
        self._task = self._loop.create_task(self._serve())

    def connection_lost(self, exc: BaseException | None) -> None:
        self._stop_clock()
        self._connections.left(self)
        super().connection_lost(exc)
        if self._content is not None and not self._content.is_eof():
            # not ``exc``: the system has many words for it, and only some of them are a ``ConnectionError``
            self._content.set_exception(ConnectionResetError("the connection was lost"))
        self._requests.clear()
        self.close()

    def data_received(self, data: bytes) -> None:
        if self._deaf:
            return
        body = self._content  # whose rest may come first
        had = body.total_bytes if body is not None else 0
        within = body is not None and not body.is_eof()
        messages: Sequence[tuple[RawRequestMessage | HttpProcessingError, StreamReader]]
        try:
            messages, self._deaf, _ = self._http.feed_data(data)
        except HttpProcessingError as error:
            self._deaf = True
            messages = [(error, EMPTY_PAYLOAD)]
            if self._content is not None and not self._content.is_eof():
                self._content.set_exception(RequestPayloadError(type(error).__name__))
                messages = []  # whoever reads that body says so
        if messages:
            if self.busy and not self._buffer_paused:
                self._pause_reading_for_buffer()  # it does not wait for answers; the parser holds the rest
            self._stop_clock()
            self._requests.extend(messages)
            self._content = messages[-1][1]
            self._connections.active(self)
            self._wake()
            if (behind := len(data) - self._content.total_bytes) > _SMALL_BYTES:
                self._hold(behind)
        elif data:
            if self._head_timer is None and not self.busy:
                self._head_timer = self._loop.call_later(HEAD_TIMEOUT_S, self.drop, "slow_head")
            of_body = body.total_bytes - had if body is not None else 0
            # in the packet that ends a body: the framing of its last chunks, or little of the next head
            if len(data) - of_body > (_SMALL_BYTES if within else 0):
                self._hold(len(data) - of_body)

    def pause_writing(self) -> None:
        """The peer sends requests and does not read the answers: hundreds of them wait here by now."""
        super().pause_writing()
        self.drop("unread")

    def resume_reading(self, resume_parser: bool = True) -> None:
        if self._reading_paused:  # aiohttp asks for it at the end of every body
            super().resume_reading(resume_parser)

    def _hold(self, count: int) -> None:
        """So many bytes more belong to a head that is not whole, unless a body is still to come before it."""
        if self._content is not None and not self._content.is_eof():
            return
        for connection in self._connections.heads.grew(self, count):
            connection.drop("crowded")

    def _stop_clock(self) -> None:
        self._connections.heads.left(self)
        if self._head_timer is not None:
            self._head_timer.cancel()
            self._head_timer = None

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    # -- the task

    async def _serve(self) -> None:
        try:
            while True:
                while not self._requests:
                    if self._ending:
                        return
                    self._waiter = self._loop.create_future()
                    await self._waiter
                self._working = True
                message, content = self._requests.popleft()
                if self._buffer_paused and not content.is_eof():
                    self._resume_reading_for_buffer()  # the parser holds nothing: more of it is to come
                if not await self._answer(message, content):
                    return
                self._http.message_consumed()
                if not self._requests:
                    self.data_received(b"")  # what the parser holds back
                    if self._buffer_paused and not self._requests:
                        self._resume_reading_for_buffer()
                self._working = False
        finally:
            if self.transport is not None:
                self.transport.close()

    async def _answer(self, message: RawRequestMessage | HttpProcessingError, content: StreamReader) -> bool:
        """Answer one request; whether the connection can carry another."""
        observer = self._connections.observer
        if isinstance(message, HttpProcessingError):
            request = Request(None, content, self.transport)
            observer.broken(request, type(message).__name__)
            answer = refusal("malformed", HTTPStatus.BAD_REQUEST)
        else:
            request = Request(message, content, self.transport)
            try:
                answer = await self._connections.handler(request)
            except Exception as error:
                observer.fault(error)
                answer = refusal("unavailable", HTTPStatus.INTERNAL_SERVER_ERROR)
        if self.transport is None or self.transport.is_closing():
            return False
        close = (
            request.last
            or self._connections.draining
            or (self._deaf and not self._requests)
            or not content.is_eof()  # what is left of the body is not parsed
            or answer.status == HTTPStatus.INTERNAL_SERVER_ERROR
        )
        self.transport.write(answer.wire(close=close, head_only=request.method == "HEAD"))
        if not content.is_eof():
            with suppress(TimeoutError, RequestPayloadError, ConnectionError, RuntimeError):
                async with asyncio.timeout(_LINGER_S):
                    while not content.is_eof():
                        await content.readany()
        return not close


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
