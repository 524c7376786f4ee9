"""The tasks that work on records: as many at the same time as a consumer has keys at once."""

import asyncio
import time
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
        self._ready: asyncio.Queue[QueuedRecord] = asyncio.Queue()
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
        if queued is not None:
            self._ready.put_nowait(queued)

    async def _run(self) -> None:
        began = time.monotonic()
        while not self.closed:
            if self._ready.empty():
                queued = await self._ready.get()
                began = time.monotonic()
            elif time.monotonic() - began > TURN_S:
                await asyncio.sleep(0)  # handlers that never wait would let nothing else have a turn
                began = time.monotonic()
                continue
            else:
                queued = self._ready.get_nowait()
            await self._work(queued)
