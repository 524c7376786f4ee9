"""One WebSocket of Stream mode: reads frames, has events kept, and answers each on this same connection.

A frame is answered ``SUCCESS`` only after the journal has it on the disk. When a connection is opened, and
what replaces it, is decided in ``client``.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Final, Literal

import aiohttp
import structlog

from dingbridge.dingtalk.gateway import Opening
from dingbridge.errors import BridgeError
from dingbridge.logging import place_of
from ingress.stream.frames import (
    Frame,
    Kind,
    Status,
    event_answer,
    not_subscribed_answer,
    ping_answer,
    read,
)

log = structlog.get_logger(__name__)

CONNECT_S: Final = 10.0
HEARTBEAT_S: Final = 20.0
"""A WebSocket ping after so long without any bytes; without a pong in half of it, the connection is lost."""
_CLOSE_S: Final = 2.0
MAX_FRAME: Final = 4 * 1024 * 1024
"""Bytes. DingTalk names no limit."""
IN_WORK_MAX: Final = 256
"""Events of one connection that are being kept at once; the next frame is read when one of them is done."""

End = Literal["disconnect", "lost"]
Keep = Callable[[Frame], Awaitable[Status]]


async def connect(session: aiohttp.ClientSession, opening: Opening) -> aiohttp.ClientWebSocketResponse:
    """Open the WebSocket. Raises ``BridgeError``, without the address, which holds the ticket."""
    try:
        async with asyncio.timeout(CONNECT_S):
            return await session.ws_connect(
                opening.endpoint,
                params={"ticket": opening.ticket},
                heartbeat=HEARTBEAT_S,
                timeout=aiohttp.ClientWSTimeout(ws_close=_CLOSE_S),
                max_msg_size=MAX_FRAME,
            )
    except aiohttp.WSServerHandshakeError as error:
        words = f"HTTP {error.status}"
    except TimeoutError:
        words = f"no answer within {CONNECT_S:g} s"
    except (aiohttp.ClientError, OSError, ValueError) as error:
        words = type(error).__name__
    raise BridgeError(
        f"Stream: the WebSocket that DingTalk named cannot be opened ({words}). It is tried again with a new "
        "ticket; let this machine reach wss-open-connection.dingtalk.com:443, without a proxy in between."
    )


class Connection:
    """An open WebSocket of ``app``. ``keep`` gets each event and says what to answer; it never raises.
    ``on_frame`` is called for each frame of any kind. Make it in a running event loop; it reads at once."""

    def __init__(
        self, app: str, socket: aiohttp.ClientWebSocketResponse, keep: Keep, on_frame: Callable[[], None]
    ) -> None:
        self._socket, self._keep, self._on_frame = socket, keep, on_frame
        self._log = log.bind(app=app)
        loop = asyncio.get_running_loop()
        self.ended: asyncio.Future[End] = loop.create_future()
        """Why another connection is needed, once one is."""
        self.opened_at = self.last_frame_at = time.monotonic()
        self._room = asyncio.Semaphore(IN_WORK_MAX)
        self._in_work: set[asyncio.Task[None]] = set()
        self._closing = False
        self.reading = loop.create_task(self._read())
        """Done when no frame can come any more."""

    @property
    def unnoticed_s(self) -> float:
        """For how long (s) the other side may have been gone before the end was noticed."""
        return 1.5 * HEARTBEAT_S if isinstance(self._socket.exception(), TimeoutError) else 0.0

    async def close(self) -> None:
        """Keep no further event, answer those that were taken, close; within some seconds. May be called
        again, and cancelled: what was not answered is pushed again."""
        self._closing = True
        try:
            if self._in_work:
                await asyncio.wait(self._in_work, timeout=_CLOSE_S)
            with suppress(TimeoutError):  # the other side does not read
                async with asyncio.timeout(2 * _CLOSE_S):
                    await self._socket.close()
        finally:
            left = [self.reading, *self._in_work]
            for task in left:
                task.cancel()
        await asyncio.gather(*left, return_exceptions=True)

    async def _read(self) -> None:
        try:
            while True:
                message = await self._socket.receive()
                if message.type not in (aiohttp.WSMsgType.TEXT, aiohttp.WSMsgType.BINARY):
                    break
                await self._take(read(message.data))
            self._log.info("stream.closed", code=self._socket.close_code)
        except Exception as error:  # a fault of ours: the connection is of no use, another one may be
            self._log.error("stream.fault", error=type(error).__name__, place=place_of(error))
        finally:
            self._end("lost")

    async def _take(self, frame: Frame) -> None:
        self.last_frame_at = time.monotonic()
        self._on_frame()
        match frame:
            case Frame(Kind.EVENT):
                await self._room.acquire()
                task = asyncio.get_running_loop().create_task(self._event(frame))
                self._in_work.add(task)
                task.add_done_callback(self._event_done)
            case Frame(Kind.DISCONNECT):
                self._end("disconnect")
            case Frame(Kind.PING, str(message_id)):
                await self._send(ping_answer(frame, message_id))
            case Frame(Kind.NOT_SUBSCRIBED, str(message_id)):
                await self._send(not_subscribed_answer(message_id))

    async def _event(self, frame: Frame) -> None:
        status: Status = "LATER" if self._closing else await self._keep(frame)
        if frame.message_id is not None:
            await self._send(event_answer(frame.message_id, status))

    def _event_done(self, task: asyncio.Task[None]) -> None:
        self._in_work.discard(task)
        self._room.release()
        if not task.cancelled() and (error := task.exception()) is not None:
            self._log.error("stream.fault", error=type(error).__name__, place=place_of(error))

    async def _send(self, answer: str) -> None:
        with suppress(ConnectionError, aiohttp.ClientError):  # it is pushed again, and known then
            await self._socket.send_str(answer)

    def _end(self, why: End) -> None:
        if not self.ended.done():
            self.ended.set_result(why)
