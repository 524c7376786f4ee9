"""The tasks that work on records: as many at the same time as a consumer has keys at once."""

import asyncio
import time
from collections import deque
from collections.abc import Awaitable, Callable

from dingbridge.tasks import first_ended
from dingbridge.worker.queues.offset_tracker import QueuedRecord

TURN_S = 0.01
"""How long handlers that wait for nothing may run before the event loop has a turn, in s."""

CLOSE_TIMEOUT_S = 2
"""How long the runners may take to end at the stop, in s; what they run was cancelled before."""


class Runners:
    """``count`` tasks, each of which awaits ``work`` for one record after the other that is ``put``."""

    def __init__(self, count: int, work: Callable[[QueuedRecord], Awaitable[None]]) -> None:
        self._count, self._work = count, work
        self._ready: deque[QueuedRecord] = deque()
        self._idle: deque[asyncio.Future[None]] = deque()
        self._tasks: list[asyncio.Task[None]] = []
        self.closed = False

    def start(self) -> None:
        self._tasks = [
            asyncio.create_task(self._run(), name="that works on events") for _ in range(self._count)
        ]

    async def watch(self) -> None:
        """Raises ``TaskEnded`` when one of the tasks has ended by itself: its record would wait for ever."""
        await first_ended(self._tasks)

    async def close(self) -> None:
        """End the tasks. One whose handler does not heed that is left behind."""
        self.closed = True
        for task in self._tasks:
            task.cancel()
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=CLOSE_TIMEOUT_S)
        self._tasks = []

    def put(self, queued: QueuedRecord | None) -> None:
        """``queued``, if any, may be worked on now."""
        if queued is None:
            return
        self._ready.append(queued)
        while self._idle:
            idle = self._idle.popleft()
            if not idle.done():
                idle.set_result(None)
                return

    async def _run(self) -> None:
        ready, loop = self._ready, asyncio.get_running_loop()
        began = time.monotonic()
        while not self.closed:
            while not ready:
                idle = loop.create_future()
                self._idle.append(idle)
                await idle
                began = time.monotonic()
            if time.monotonic() - began > TURN_S:
                await asyncio.sleep(0)  # handlers that never wait would let nothing else have a turn
                began = time.monotonic()
                continue
            await self._work(ready.popleft())
