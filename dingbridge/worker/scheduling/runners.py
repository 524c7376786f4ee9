"""The tasks that work on records: as many at the same time as a consumer has keys at once."""

import asyncio
import time
from collections import deque
from collections.abc import Awaitable, Callable
from typing import Any

from dingbridge.tasks import raise_ended
from dingbridge.worker.attempts.watchdog import Turn, Watchdog
from dingbridge.worker.queues.offset_tracker import QueuedRecord

TURN_S = 0.01
"""How long handlers that wait for nothing may run before the event loop has a turn, in s."""

CLOSE_TIMEOUT_S = 2
"""How long the runners may take to end at the stop, in s; what they run was cancelled before."""


class Runners:
    """``count`` tasks, each of which awaits ``work`` for one record after the other. A record that is ``put``
    is worked on at once if a task is free; a ``careful`` record before all others, and alone."""

    def __init__(
        self,
        count: int,
        work: Callable[[Turn, QueuedRecord], Awaitable[None]],
        on_stuck: Callable[[Turn], None],
        watchdog: Watchdog,
    ) -> None:
        self._count, self._work, self._on_stuck, self._watchdog = count, work, on_stuck, watchdog
        self._ready: deque[QueuedRecord] = deque()
        self._careful: deque[QueuedRecord] = deque()
        self._idle: deque[asyncio.Future[None]] = deque()
        self._busy = 0
        self._alone = False
        self._turns: set[Turn] = set()
        self._changed = asyncio.Event()  # another task has taken the place of one
        self.closed = False

    def start(self) -> None:
        for _ in range(self._count):
            self._begin()

    def _begin(self) -> None:
        turn = Turn(self._watchdog, self._replace)
        turn.task = asyncio.create_task(self._run(turn), name="that works on events")
        self._turns.add(turn)
        self._watchdog.turns.add(turn)

    def _replace(self, stuck: Turn) -> None:
        """Start another task in the place of ``stuck``, which does not end."""
        self._turns.discard(stuck)
        if stuck.task is not None:
            stuck.task.add_done_callback(lambda task: task.cancelled() or task.exception())
        self._busy -= 1
        self._alone = False
        if not self.closed:
            self._begin()
            self._changed.set()
        self._on_stuck(stuck)
        self._wake_all()

    async def watch(self) -> None:
        """Raises ``TaskEnded`` when one of the tasks has ended by itself: its record would wait for ever."""
        changed = asyncio.create_task(self._changed.wait())
        try:
            while True:
                ended, _ = await asyncio.wait({*self._tasks(), changed}, return_when=asyncio.FIRST_COMPLETED)
                for task in ended & self._tasks():
                    raise_ended(task)
                self._changed.clear()
                changed = asyncio.create_task(self._changed.wait())
        finally:
            changed.cancel()

    def _tasks(self) -> set[asyncio.Task[Any]]:
        return {turn.task for turn in self._turns if turn.task is not None}

    async def close(self) -> None:
        """End the tasks. A task is left behind if its handler ignores being cancelled."""
        self.closed = True
        tasks = self._tasks()
        for turn in self._turns:
            self._watchdog.turns.discard(turn)
            turn.cut()
        if tasks:
            await asyncio.wait(tasks, timeout=CLOSE_TIMEOUT_S)
        self._turns.clear()

    def put(self, queued: QueuedRecord | None) -> None:
        """``queued``, if any, may be worked on now."""
        if queued is not None:
            (self._careful if queued.careful else self._ready).append(queued)
            if self._idle:
                self._wake()

    def _wake(self) -> None:
        while self._idle:
            waiting = self._idle.popleft()
            if not waiting.done():
                waiting.set_result(None)
                return

    def _wake_all(self) -> None:
        for _ in tuple(self._idle):
            self._wake()

    def _next(self) -> QueuedRecord | None:
        if self._alone:
            return None
        if self._careful:
            return self._careful.popleft() if not self._busy else None
        return self._ready.popleft() if self._ready else None

    async def _run(self, turn: Turn) -> None:
        began = time.monotonic()
        while not (self.closed or turn.stuck):
            if time.monotonic() - began > TURN_S:
                await asyncio.sleep(0)  # handlers that never wait would let nothing else have a turn
                began = time.monotonic()
            queued = self._next()
            if queued is None:
                waiting = asyncio.get_running_loop().create_future()
                self._idle.append(waiting)
                await waiting
                began = time.monotonic()
                continue
            self._busy += 1
            self._alone = queued.careful
            await self._work(turn, queued)
            if turn.stuck:
                return
            self._busy -= 1
            if self._alone:
                self._alone = False
                self._wake_all()
            elif self._careful and not self._busy:
                self._wake()
