"""One WebSocket of Stream mode: reads frames, keeps their events, and answers each on the same connection.

An event is answered ``SUCCESS`` only after the journal has it on the disk. ``client.py`` decides when a
connection is opened, and what replaces it.
"""

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
from functools import partial
from typing import Final, Literal

import aiohttp
import structlog
from yarl import URL

from dingbridge.dingtalk.gateway import Opening
from dingbridge.errors import BridgeError
from dingbridge.ingress.stream.frames import Frame, Status, event_answer, read
from dingbridge.outgoing.proxy import failure, proxy_of
from dingbridge.tasks import WatchedTasks, end

log = structlog.get_logger(__name__)

CONNECT_S: Final = 10.0
HEARTBEAT_S: Final = 20.0
"""After this time without any bytes a WebSocket ping is sent; without a pong within half of it, the
connection is lost."""
_CLOSE_S: Final = 2.0
MAX_FRAME: Final = 4 * 1024 * 1024
"""Bytes. DingTalk names no limit."""

End = Literal["disconnect", "silent", "lost"]


async def connect(session: aiohttp.ClientSession, opening: Opening) -> aiohttp.ClientWebSocketResponse:
    """Open the WebSocket. Raises ``BridgeError``, without the address, which holds the ticket."""
    host, proxy = "the host that it names", None
    try:
        address = URL(opening.endpoint)
        host, proxy = address.host or host, proxy_of(address)
        async with asyncio.timeout(CONNECT_S):
            return await session.ws_connect(
                address,
                proxy=proxy,
                params={"ticket": opening.ticket},
                heartbeat=HEARTBEAT_S,
                timeout=aiohttp.ClientWSTimeout(ws_close=_CLOSE_S),
                max_msg_size=MAX_FRAME,
            )
    except (aiohttp.ClientError, OSError, ValueError) as error:  # also no answer in time
        words = f"HTTP {status}" if (status := getattr(error, "status", None)) else type(error).__name__
        by_proxy = failure(error, proxy)
    remedy = by_proxy or f"let this machine reach {host}:443"
    raise BridgeError(
        f"Stream: the WebSocket that DingTalk named cannot be opened ({words}). It is tried again with a new "
        f"ticket; {remedy}."
    )


class Connection:
    """An open WebSocket of ``app``, read by one of ``tasks``. ``keep`` puts an event into the journal and
    returns the answer; ``on_frame`` is called for each frame of any kind. After ``silent_s`` without one,
    another connection is needed, and nothing more is read; 0: never."""

    def __init__(
        self,
        app: str,
        socket: aiohttp.ClientWebSocketResponse,
        keep: Callable[[Frame], Awaitable[Status]],
        on_frame: Callable[[], None],
        tasks: WatchedTasks,
        silent_s: float = 0.0,
    ) -> None:
        self._app, self._socket, self._keep, self._on_frame = app, socket, keep, on_frame
        self._tasks, self._silent_s = tasks, silent_s
        self.ended: asyncio.Future[End] = asyncio.get_running_loop().create_future()
        """Done when another connection is needed, with the reason."""
        self._in_work: set[asyncio.Task[None]] = set()
        self._closing = False
        self.reading = tasks.need(f"that reads a Stream connection of {app}", self._read, may_end=True)
        """Done when no frame is read any more."""

    @property
    def unnoticed_s(self) -> float:
        """For how long (s) the other side may have been gone before the end was noticed."""
        return 1.5 * HEARTBEAT_S if isinstance(self._socket.exception(), TimeoutError) else 0.0

    async def close(self) -> None:
        """Keep no further event, answer those that are being kept, close; within some seconds. May be called
        again, and cancelled: DingTalk pushes again what was not answered."""
        self._closing = True
        try:
            if self._in_work:
                await asyncio.wait(self._in_work, timeout=_CLOSE_S)
            with suppress(TimeoutError):  # the other side does not read
                async with asyncio.timeout(2 * _CLOSE_S):
                    await self._socket.close()
        finally:
            await end(self.reading, *self._in_work)

    async def _read(self) -> None:
        try:
            while True:
                async with asyncio.timeout(self._silent_s or None):
                    message = await self._socket.receive()
                if message.type not in (aiohttp.WSMsgType.TEXT, aiohttp.WSMsgType.BINARY):
                    break
                await self._take(read(message.data))
            log.info("stream.closed", app=self._app, code=self._socket.close_code)
        except TimeoutError:
            log.warning("stream.silent", app=self._app, for_s=self._silent_s)
            self._end("silent")
        finally:
            self._end("lost")

    async def _take(self, frame: Frame) -> None:
        self._on_frame()
        if frame.kind == "event":
            name = f"that keeps an event of {self._app}"
            task = self._tasks.need(name, partial(self._event, frame), may_end=True)
            self._in_work.add(task)
            task.add_done_callback(self._in_work.discard)
        elif frame.kind == "disconnect":
            self._end("disconnect")
        await self._send(frame.reply)

    async def _event(self, frame: Frame) -> None:
        status: Status = "LATER" if self._closing else await self._keep(frame)
        await self._send(event_answer(frame, status))

    async def _send(self, answer: str | None) -> None:
        if answer is not None:
            with suppress(ConnectionError, aiohttp.ClientError):  # DingTalk pushes the event again
                await self._socket.send_str(answer)

    def _end(self, why: End) -> None:
        if not self.ended.done():
            self.ended.set_result(why)
