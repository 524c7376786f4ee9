"""Who looks at events as they come, and is too slow, loses the oldest, and is told how many."""

import asyncio
from collections import deque
from collections.abc import Callable
from types import TracebackType
from typing import Self

from console.index.records import IndexedEvent

MOST_WAITING = 1_000
"""Events that wait for one reader."""


class Subscription:
    """An async iterator of the events that match, from now on, without an end.

    ``with feed.subscribe(matches) as events: async for event in events: …``
    """

    def __init__(
        self,
        matches: Callable[[IndexedEvent], bool],
        close: Callable[["Subscription"], None],
        most: int = MOST_WAITING,
    ) -> None:
        self._matches, self._close = matches, close
        self._waiting: deque[IndexedEvent] = deque(maxlen=most)
        self._some = asyncio.Event()
        self._lost = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> IndexedEvent:
        while not self._waiting:
            self._some.clear()
            await self._some.wait()
        return self._waiting.popleft()

    def take(self) -> list[IndexedEvent]:
        """All that wait, without waiting."""
        taken = list(self._waiting)
        self._waiting.clear()
        return taken

    def take_lost(self) -> int:
        """How many were lost since this was asked last."""
        lost, self._lost = self._lost, 0
        return lost

    def close(self) -> None:
        """No more come."""
        self._close(self)

    def offer(self, event: IndexedEvent) -> None:
        """``event`` has come."""
        if self._matches(event):
            self._lost += len(self._waiting) == self._waiting.maxlen
            self._waiting.append(event)
            self._some.set()
