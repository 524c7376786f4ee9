"""At most so many a second, evenly spaced."""

import asyncio
import time
from collections.abc import Awaitable, Callable


class Throttle:
    """Spaces out whatever awaits ``turn``: at most ``per_s`` a second, ``gap_s`` apart; first come, first
    served."""

    def __init__(
        self,
        per_s: float,
        *,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.gap_s, self._sleep, self._clock = 1 / per_s, sleep, clock
        self._next = 0.0

    async def turn(self, count: int = 1) -> None:
        """Wait for a turn, which takes the place of ``count``; 0 only waits until the next may begin."""
        now = self._clock()
        place = max(now, self._next)
        self._next = place + count * self.gap_s
        if place > now:
            await self._sleep(place - now)

    @property
    def next_at(self) -> float:
        """When the next turn may begin, by the clock."""
        return max(self._clock(), self._next)

    def hold(self, wait_s: float) -> None:
        """Let no further turn begin for ``wait_s``."""
        self._next = max(self._next, self._clock() + wait_s)
