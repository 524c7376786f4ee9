"""Load for the fault tests: numbered approval events, endless, each key's one after the other.

A lane has one key and pushes its next event only when the last one was answered or had failed, so the order
that a reader must find for that key is known: by number.
"""

import asyncio
import contextlib
import json
import time
from types import TracebackType
from typing import Self

import aiohttp

from tests.support.pusher import RETRY_AFTER_S, Pusher
from tests.support.sizes import sized
from tests.support.waiting import eventually

CORP = "dingcorpsample01"
EVENT_TYPE = "bpms_instance_change"
USUAL_PER_S = sized(200, 0)
"""At full speed a load takes the machine from what the test is about."""


def event(number: int, key: int | str | None = None, event_type: str = EVENT_TYPE, title: str = "") -> bytes:
    """The approval event with this number; of the instance ``key`` (of its own unless given)."""
    payload = {
        "EventType": event_type,
        "type": "finish",
        "result": "agree",
        "processInstanceId": f"pi-{number if key is None else key}",
        "corpId": CORP,
        "createTime": 1_731_000_000_000 + number,
        "finishTime": 1_731_000_000_500 + number,
        "title": title or "李雷提交的请假",
        "staffId": "u1",
        "number": number,
    }
    return json.dumps(payload, ensure_ascii=False).encode()


class Load:
    """Pushes from its beginning to its end as a context manager, by ``lanes`` at once.

    ``per_second`` is the rate of all lanes together, as fast as answered if 0; what it falls behind, it makes
    up for. Every second lane tries again what was not answered ``success`` for as long as ``retry_s``, as
    DingTalk would; the others go on to their next event.
    """

    def __init__(
        self,
        pusher: Pusher,
        *,
        lanes: int = 8,
        per_second: float = USUAL_PER_S,
        retry_s: float = 30,
        first: int = 0,
        event_type: str = EVENT_TYPE,
    ) -> None:
        self.pusher = pusher
        self._lanes, self._per_second, self._retry_s = lanes, per_second, retry_s
        self._first, self._event_type = first, event_type
        self._stop = asyncio.Event()
        self._work: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Self:
        self._work = asyncio.ensure_future(self._run())
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop.set()
        if self._work is not None:
            await self._work

    async def more(self, count: int, timeout_s: float = 120) -> None:
        """Waits until ``count`` more events than now were answered ``success``."""
        goal = len(self.pusher.succeeded) + count

        def reached() -> bool:
            if self._work is not None and self._work.done():
                self._work.result()
                raise AssertionError("the load has ended")
            return len(self.pusher.succeeded) >= goal

        await eventually(reached, timeout_s, f"{count} more answered success")

    async def _run(self) -> None:
        async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as http:
            await asyncio.gather(*(self._lane(http, lane) for lane in range(self._lanes)))

    async def _lane(self, http: aiohttp.ClientSession, lane: int) -> None:
        every_s = self._lanes / self._per_second if self._per_second else 0.0
        due = time.monotonic() + lane * every_s / self._lanes
        number = self._first + lane
        while not await self._until(due):
            payload = event(number, f"{self._first}-{lane}", self._event_type)
            give_up = time.monotonic() + (self._retry_s if lane % 2 else 0)
            while await self.pusher.push(http, number, payload) != "success":
                if await self._until(time.monotonic() + RETRY_AFTER_S) or time.monotonic() > give_up:
                    break
            number += self._lanes
            due += every_s

    async def _until(self, due: float) -> bool:
        """Waits until then; whether the load is to end."""
        seconds = due - time.monotonic()
        if seconds > 0:
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._stop.wait(), seconds)
        return self._stop.is_set()
