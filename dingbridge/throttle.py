"""At most so many a second, evenly spaced."""

import asyncio
import time
from collections.abc import Awaitable, Callable


class Throttle:
    """Spaces out whatever awaits ``turn``: at most ``per_s`` a second, first come, first served."""

    def __init__(
        self,
        per_s: float,
        *,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._gap_s, self._sleep, self._clock = 1 / per_s, sleep, clock
        self._next = 0.0

    async def turn(self, count: int = 1) -> None:
        """Wait for a turn, which takes the place of ``count``."""
        now = self._clock()
        place = max(now, self._next)
        self._next = place + count * self._gap_s
        if place > now:
            await self._sleep(place - now)
