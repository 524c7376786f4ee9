"""Events for one open tail as they come. A tail that is too slow loses the oldest, and gets their number."""

import asyncio
from collections import deque
from collections.abc import Callable

from dingbridge.console.index.records import IndexedEvent

MOST_WAITING = 1_000
"""Events that wait for one reader."""


class Subscription:
    """The events that match, from now on."""

    def __init__(self, matches: Callable[[IndexedEvent], bool]) -> None:
        self._matches = matches
        self._waiting: deque[IndexedEvent] = deque(maxlen=MOST_WAITING)
        self._some = asyncio.Event()
        self._lost = 0

    def offer(self, event: IndexedEvent) -> None:
        """``event`` has come."""
        if self._matches(event):
            self._lost += len(self._waiting) == self._waiting.maxlen
            self._waiting.append(event)
            self._some.set()

    async def some(self) -> None:
        """Waits until there is one."""
        await self._some.wait()

    def take(self) -> tuple[list[IndexedEvent], int]:
        """All that wait, and how many were lost before them."""
        taken, lost = list(self._waiting), self._lost
        self._waiting.clear()
        self._some.clear()
        self._lost = 0
        return taken, lost
