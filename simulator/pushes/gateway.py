"""Stream mode's gateway: tickets, open connections, and one delivery of an event over one of them.

By protocol.md (open-dingtalk/developerpedia). Not here: the form of the frames (``frames``), when an event is
pushed again (``push``). Many connections may be open; each push takes one at random.
"""

import asyncio
import contextlib
import time
import uuid
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from random import Random
from typing import Any, Final

from aiohttp import WSMsgType, web

from dingbridge.simulator.call import Answer, Call
from dingbridge.simulator.errors import ActionError, NewerError
from dingbridge.simulator.pushes.frames import (
    StreamAnswer,
    event_frame,
    outcome_of,
    read_answer,
    system_frame,
)
from dingbridge.simulator.pushes.push import Attempt
from dingbridge.tasks import end

OPEN: Final = "/v1.0/gateway/connections/open"
CONNECT: Final = "/_stream"
TICKET_S: Final = 90.0
"""How long a ticket can be used, once."""
_SECONDS: Final = ("ping_s", "answer_s", "close_s")
_MOST_SECONDS: Final = 3600.0


@dataclass(slots=True, eq=False)
class Connection:
    """One open WebSocket. ``events``: its subscriptions have EVENT ``*``. ``leaving``: asked to disconnect,
    it gets no more pushes. ``silent``: alive, but nothing that is sent to it arrives."""

    socket: web.WebSocketResponse
    transport: asyncio.Transport | None
    events: bool
    ua: str
    leaving: bool = False
    silent: bool = False
    pushes: int = 0
    waiting: dict[str, asyncio.Future[StreamAnswer | None]] = field(default_factory=dict)

    def abort(self) -> None:
        """The TCP connection is gone, without a word."""
        if self.transport is not None:
            self.transport.abort()


class Gateway:
    """The connections of one app. ``on_opened`` is called when one that gets events has opened.

    ``ping_s``: seconds between two pings; ``answer_s``: how long an answer is waited for (3 s, appendix-b);
    ``close_s``: from a ``disconnect`` until the server closes. DingTalk's interval of pings is UNVERIFIED.
    Use between ``start`` and ``stop``.
    """

    def __init__(
        self,
        app_key: str,
        app_secret: str,
        *,
        seed: int = 1,
        on_opened: Callable[[], None] = lambda: None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._app = (app_key, app_secret)
        self._app_id = str(uuid.uuid5(uuid.NAMESPACE_OID, app_key))
        self._random = Random(seed)  # noqa: S311 - to be repeatable
        self._on_opened = on_opened
        self._clock = clock
        self._tickets: dict[str, tuple[float, bool, str]] = {}
        self._pinging: asyncio.Task[None] | None = None
        self._leaving = set[asyncio.Task[None]]()
        self.connections: list[Connection] = []
        self.ping_s, self.answer_s, self.close_s = 20.0, 3.0, 10.0
        self.counts = {"opened": 0, "refused": 0, "pings": 0, "pongs": 0, "unexpected": 0, "repeated": 0}
        self.outcomes: Counter[str] = Counter()

    def start(self) -> None:
        self._pinging = asyncio.create_task(self._ping())

    async def stop(self) -> None:
        """Every connection is cut."""
        await end(self._pinging, *self._leaving)
        for connection in self.connections:
            connection.abort()

    # What a client does

    def open(self, call: Call) -> Answer:
        """``connections/open``: endpoint and ticket. Raises ``NewerError`` for wrong credentials, in the
        words that users report (zfanswer/dify-on-dingtalk#28)."""
        if (call.body.get("clientId"), call.body.get("clientSecret")) != self._app:
            self.counts["refused"] += 1
            raise NewerError("authFailed", "鉴权失败", 401)
        wanted = call.body.get("subscriptions")
        if not isinstance(wanted, list) or not wanted:
            raise NewerError("invalidParameter", "subscriptions不能为空")  # code and words are ours
        now = self._clock()
        self._tickets = {ticket: entry for ticket, entry in self._tickets.items() if entry[0] > now}
        ticket = str(uuid.uuid4())
        events = {"type": "EVENT", "topic": "*"} in wanted
        self._tickets[ticket] = (now + TICKET_S, events, str(call.body.get("ua", "")))
        return {"endpoint": call.origin.replace("http", "ws", 1) + CONNECT, "ticket": ticket}

    async def connect(self, request: web.Request) -> web.StreamResponse:
        """The WebSocket, from its ticket to its end. What DingTalk answers to a bad ticket is UNVERIFIED."""
        until, events, ua = self._tickets.pop(request.query.get("ticket", ""), (0.0, False, ""))
        if until <= self._clock():
            self.counts["refused"] += 1
            return web.Response(status=401)
        socket = web.WebSocketResponse()
        await socket.prepare(request)
        connection = Connection(socket, request.transport, events, ua)
        self.connections.append(connection)
        self.counts["opened"] += 1
        if events:
            self._on_opened()
        try:
            async for message in socket:
                if message.type is WSMsgType.TEXT:
                    self._answered(connection, message.data)
        finally:
            self.connections.remove(connection)
            for waiting in connection.waiting.values():
                if not waiting.done():
                    waiting.set_result(None)
        return socket

    def _answered(self, connection: Connection, text: str) -> None:
        answer = read_answer(text)
        waiting = connection.waiting.get(answer.message_id) if answer is not None else None
        if waiting is None or waiting.done():
            self.counts["unexpected"] += 1  # too late, on another connection, or no answer at all
        else:
            waiting.set_result(answer)

    # What is sent

    async def attempt(self, plaintext: bytes) -> Attempt | None:
        """Deliver an event once, now, under a new ``messageId``; ``None`` when no connection is open.

        Outcomes are those of ``outcome_of``, ``timeout``, ``connection`` (lost before the answer), and
        ``leaving``: each open connection has been asked to disconnect.
        """
        there = [connection for connection in self.connections if connection.events]
        if not there:
            return None
        at_ms, began = time.time_ns() // 1_000_000, time.perf_counter()
        able = [connection for connection in there if not connection.leaving]
        answer, outcome = None, "leaving"
        if able:
            connection, message_id = self._random.choice(able), uuid.uuid4().hex
            connection.pushes += 1
            try:
                answer = await self._ask(
                    connection, event_frame(plaintext, message_id, self._app_id), message_id
                )
                outcome = "connection" if answer is None else outcome_of(answer)
            except TimeoutError:
                outcome = "timeout"
        self.outcomes[outcome] += 1
        latency = round((time.perf_counter() - began) * 1000, 2)
        return Attempt(at_ms, None if answer is None else answer.code, outcome, latency)

    async def _ask(self, connection: Connection, frame: str, message_id: str) -> StreamAnswer | None:
        """The answer; ``None`` when the connection ends before. Raises ``TimeoutError``."""
        waiting = asyncio.get_running_loop().create_future()
        connection.waiting[message_id] = waiting
        try:
            async with asyncio.timeout(self.answer_s):
                await self._send(connection, frame)
                answer: StreamAnswer | None = await waiting
                return answer
        finally:
            del connection.waiting[message_id]

    async def _send(self, connection: Connection, frame: str) -> None:
        if connection.silent:
            return
        with contextlib.suppress(ConnectionError):  # whoever reads the connection sees its end
            await connection.socket.send_str(frame)

    async def _ping(self) -> None:
        while True:
            await asyncio.sleep(self.ping_s)
            await asyncio.gather(*(self._ping_once(c) for c in self.connections if not c.silent))

    async def _ping_once(self, connection: Connection) -> None:
        message_id, data = uuid.uuid4().hex, {"opaque": str(uuid.uuid4())}
        self.counts["pings"] += 1
        try:
            answer = await self._ask(connection, system_frame("ping", message_id, data), message_id)
        except TimeoutError:
            return
        if answer is not None and answer.code == 200 and data["opaque"] in str(answer.data):
            self.counts["pongs"] += 1

    # What goes wrong

    async def set(self, **wanted: Any) -> None:
        """``disconnect`` or ``cut`` that many connections, chosen at random; ``silence`` those that are open
        now, or receive from all again; ``ping_s``, ``answer_s``, ``close_s``. Raises ``ActionError``, and
        nothing has changed."""
        for name, value in wanted.items():
            if name == "silence":
                if not isinstance(value, bool):
                    raise ActionError('"silence" must be true or false')
            elif name in ("disconnect", "cut"):
                if isinstance(value, bool) or not isinstance(value, int) or value < 1:
                    raise ActionError(f'"{name}" must be a whole number of connections, 1 or more')
            elif name not in _SECONDS:
                known = ", ".join(("disconnect", "cut", "silence", *_SECONDS))
                raise ActionError(f"connections have no {name}; they have {known}")
            elif isinstance(value, bool) or not isinstance(value, int | float):
                raise ActionError(f'"{name}" must be a number of seconds')
            elif not 0 < value <= _MOST_SECONDS:
                raise ActionError(f'"{name}" must be above 0, and at most {_MOST_SECONDS:g}')
        for name in _SECONDS:
            setattr(self, name, float(wanted.get(name, getattr(self, name))))
        if "ping_s" in wanted and self._pinging is not None:
            self._pinging.cancel()
            self.start()
        if "silence" in wanted:
            for connection in self.connections:
                connection.silent = wanted["silence"]
        for connection in self._some(wanted.get("cut", 0)):
            connection.abort()
        for connection in self._some(wanted.get("disconnect", 0)):
            self._disconnect(connection)

    def _some(self, count: int) -> list[Connection]:
        staying = [connection for connection in self.connections if not connection.leaving]
        return self._random.sample(staying, min(count, len(staying)))

    def _disconnect(self, connection: Connection) -> None:
        connection.leaving = True
        task = asyncio.create_task(self._say_disconnect(connection))
        self._leaving.add(task)
        task.add_done_callback(self._leaving.discard)
        if connection.transport is not None:
            asyncio.get_running_loop().call_later(self.close_s, connection.transport.close)

    async def _say_disconnect(self, connection: Connection) -> None:
        """Until it is answered, or the connection is gone: the server repeats it (dingtalk-stream-sdk-go,
        client.go, 2026-07). When it does is UNVERIFIED: here each ``answer_s``."""
        message_id = uuid.uuid4().hex
        frame = system_frame("disconnect", message_id, {"reason": "connection is expired"})
        while connection in self.connections:
            try:
                await self._ask(connection, frame, message_id)
                return
            except TimeoutError:
                self.counts["repeated"] += 1

    def as_json(self) -> dict[str, Any]:
        return {
            "connections": [
                {
                    "ua": c.ua,
                    "events": c.events,
                    "leaving": c.leaving,
                    "silent": c.silent,
                    "pushes": c.pushes,
                    "unanswered": len(c.waiting),
                }
                for c in self.connections
            ],
            **self.counts,
            "outcomes": dict(self.outcomes),
            **{name: getattr(self, name) for name in _SECONDS},
        }
