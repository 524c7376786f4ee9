"""DingTalk as the bridge sees it: pushes over HTTP with retries, Stream, and the list of failed pushes.

Each event has a number, by which it is found in Kafka. What was answered stands in a ``Pusher``, as the
comparison of the fault tests reads it.
"""

import asyncio
import itertools
import json
import time
from dataclasses import dataclass, field
from random import Random
from typing import Any

import aiohttp

from dingbridge.dingtalk.api.callbacks import FailedPage
from dingbridge.dingtalk.crypto import CallbackCrypto
from dingbridge.dingtalk.errors import Unavailable
from dingbridge.dingtalk.gateway import Opening
from dingbridge.ingress.callback import Refused
from dingbridge.ingress.recovery.poller import LIST_CALL
from dingbridge.settings import SAMPLE_CREDENTIALS
from dingbridge.simulator.pushes.frames import event_frame, read_answer, system_frame
from dingbridge.simulator.pushes.push import DEADLINE_S, RETRY_DELAYS_S, build_push, check_reply
from tests.lives.mortal import Mortal, living
from tests.lives.world import CORP
from tests.support.pusher import CREDENTIALS, Pusher

OWNER = SAMPLE_CREDENTIALS["DINGTALK_OWNER_KEY"]
PEOPLE = ("u1", "u2", "u3")
TYPES = ("check_in", "user_add_org", "bpms_instance_change", "of_a_coming_release")
LISTED_AFTER_S = 60.0
PAGE = 2
STREAM_ANSWER_S = 10.0
STREAM_AGAIN_S = 60.0
STREAM_TIMES = 10


@dataclass
class Given:
    """An event of the failed list that DingTalk has given away, and forgotten."""

    number: int
    at: float
    happened_ms: int


@dataclass
class Gap:
    """From ``begin`` to ``end`` (s of the loop) no Stream connection was open."""

    begin: float
    end: float


@dataclass(eq=False)
class Socket:
    """The bridge's end of a WebSocket. ``is_open`` until one of the two closes it."""

    dingtalk: "DingTalk"
    process: Mortal
    frames: "asyncio.Queue[str | None]" = field(default_factory=asyncio.Queue)
    answers: "dict[str, asyncio.Future[str]]" = field(default_factory=dict)
    is_open: bool = True
    close_code: int | None = None

    async def receive(self) -> aiohttp.WSMessage:
        frame = await self.frames.get()
        kind = aiohttp.WSMsgType.CLOSED if frame is None else aiohttp.WSMsgType.TEXT
        return aiohttp.WSMessage(kind, frame, None)

    async def send_str(self, text: str) -> None:
        if not self.is_open:
            raise ConnectionResetError
        answer = read_answer(text)
        waiting = self.answers.get(answer.message_id) if answer is not None else None
        if self.process.alive and waiting is not None and not waiting.done():
            waiting.set_result(str(json.loads(text)["data"]))

    def exception(self) -> BaseException | None:
        return None

    async def close(self) -> None:
        self.shut()

    def shut(self) -> None:
        """Whoever closes it."""
        if self.is_open:
            self.is_open = False
            self.frames.put_nowait(None)
            self.dingtalk.closed(self)


class DingTalk:
    """``machine`` has the listener. ``stream_is_away``: no connection is given. ``loses_answers``: the share
    of HTTP answers that get lost on their way."""

    def __init__(self, seed: int, machine: Any) -> None:
        self.dice, self._machine = Random(f"dingtalk {seed}"), machine
        self.pusher = Pusher(url="")
        self._numbers = itertools.count(1)
        self.bodies: dict[int, bytes] = {}
        self.answered_at: dict[int, float] = {}
        self.pushing: set[asyncio.Task[None]] = set()
        self.listed: list[int] = []
        self.given: list[Given] = []
        self.list_answers_lost = 0
        self.stream_is_away = False
        self.sockets: list[Socket] = []
        self.gaps: list[Gap] = []
        self._closed_at: float | None = None
        self.loses_answers = 0.0

    @property
    def now(self) -> float:
        return asyncio.get_running_loop().time()

    def _event(self, kind: str, more: int) -> int:
        number = next(self._numbers)
        about: Any = {"StaffId": self.dice.choice(PEOPLE)}
        if kind == "user_add_org":
            about = {"UserId": list(PEOPLE[:2])}
        elif kind == "bpms_instance_change":
            about = {"processInstanceId": self.dice.choice(PEOPLE), "type": "start"}
        body = {
            "EventType": kind,
            "CorpId": CORP,
            "EventTime": int(time.time() * 1000),
            "eventId": f"e{number}",
            **about,
            "number": number,
            "more": "x" * more,
        }
        self.bodies[number] = json.dumps(body).encode()
        return number

    def about(self, number: int) -> list[str]:
        """Return whom the event names. Kafka gets a record for each."""
        return list(json.loads(self.bodies[number]).get("UserId", ["one"]))

    def _note(self, number: int, outcome: str) -> None:
        self.pusher.note(number, outcome, 0.0)
        if outcome == "success":
            self.answered_at.setdefault(number, self.now)

    def push(self, kind: str, more: int = 0) -> None:
        """Something has happened: push it over HTTP, as often as DingTalk does."""
        self._spawn(self._push(self._event(kind, more)))

    def stream(self, kind: str, more: int = 0) -> None:
        """The same to the app in Stream mode."""
        self._spawn(self._stream(self._event(kind, more)))

    def _spawn(self, work: Any) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self.pushing.add(task)
        task.add_done_callback(self.pushing.discard)

    # HTTP

    async def _push(self, number: int) -> None:
        query, body = build_push(CREDENTIALS, self.bodies[number], OWNER)
        for pause_s in (*RETRY_DELAYS_S, LISTED_AFTER_S):
            outcome = await self._try(query, body)
            if outcome == "success" and self.dice.random() < self.loses_answers:
                outcome = "the answer was lost"
            self._note(number, outcome)
            if outcome == "success":
                return
            await asyncio.sleep(pause_s)
        self.listed.append(number)

    async def _try(self, query: dict[str, str], body: bytes) -> str:
        if (found := self._machine.listener()) is None:
            return "refused"
        process, listener = found
        crypto: CallbackCrypto = listener.apps["default"]
        working = process.spawn(listener.callbacks.receive("default", crypto, query, body))
        await asyncio.wait([working], timeout=DEADLINE_S)
        if not process.alive or not working.done() or working.cancelled():
            return "no answer"
        error = working.exception()
        if isinstance(error, Refused):
            return str(int(error.status))
        if error is not None:
            return f"a fault: {error!r}"
        said = check_reply(CREDENTIALS, OWNER, 200, working.result())
        return "success" if said == "success" else "false success"

    # Stream

    async def opening(self, *_: Any) -> Opening:
        """Stands for ``open_connection``."""
        process = living()
        assert process is not None
        await process.answered()
        if self.stream_is_away:
            raise Unavailable("the gateway is away", api="gateway/connections/open")
        return Opening("wss://stream", "ticket")

    async def connect(self, *_: Any) -> Socket:
        """Stands for ``connect``."""
        process = living()
        assert process is not None
        await process.answered()
        socket = Socket(self, process)
        process.on_death.append(socket.shut)
        self.sockets.append(socket)
        if self._closed_at is not None:
            self.gaps.append(Gap(self._closed_at, self.now))
            self._closed_at = None
        return socket

    def closed(self, socket: Socket) -> None:
        self.sockets.remove(socket)
        if not self.sockets:
            self._closed_at = self.now

    def disconnect(self) -> None:
        """Ask for another connection in place of the first, and close it some seconds later."""
        if self.sockets:
            old = self.sockets[0]
            old.frames.put_nowait(system_frame("disconnect", "bye", {"reason": "life"}))
            asyncio.get_running_loop().call_later(10, old.shut)

    async def _stream(self, number: int) -> None:
        for _ in range(STREAM_TIMES):
            status = await self._frame(number)
            self._note(number, status)
            if status == "success":
                return
            await asyncio.sleep(STREAM_AGAIN_S)

    async def _frame(self, number: int) -> str:
        if not self.sockets:
            return "no connection"
        socket, message_id = self.dice.choice(self.sockets), f"m{number}-{self.dice.randrange(10**6)}"
        answer = socket.answers[message_id] = asyncio.get_running_loop().create_future()
        socket.frames.put_nowait(event_frame(self.bodies[number], message_id, "app"))
        await asyncio.wait([answer], timeout=STREAM_ANSWER_S)
        if not answer.done():
            return "no answer"
        return "success" if "SUCCESS" in answer.result() else "LATER"

    # The failed list

    def api(self, *, app_key: str, **_: Any) -> "Api":
        """Stands for ``DingTalkClient``."""
        return Api(self, app_key)

    async def failed_page(self) -> FailedPage:
        """Give a page, and forget it."""
        process = living()
        assert process is not None
        await process.answered()
        page, self.listed = self.listed[:PAGE], self.listed[PAGE:]
        bodies = [json.loads(self.bodies[number]) for number in page]
        self.given += [Given(body["number"], self.now, body["EventTime"]) for body in bodies]
        await process.answered()
        if page and self.list_answers_lost > 0:
            self.list_answers_lost -= 1
            raise Unavailable("no answer in time", api=LIST_CALL)
        items = [
            {"call_back_tag": body["EventType"], "event_time": body["EventTime"], body["EventType"]: body}
            for body in bodies
        ]
        return FailedPage(items, bool(self.listed))


@dataclass
class Api:
    """What recovery asks of the Open API."""

    dingtalk: DingTalk
    app_key: str

    def at(self, priority: Any) -> "Api":
        return self

    async def failed_callbacks(self) -> FailedPage:
        mine = self.app_key == SAMPLE_CREDENTIALS["DINGTALK_APP_KEY"]
        return await self.dingtalk.failed_page() if mine else FailedPage([], False)

    async def close(self) -> None: ...
