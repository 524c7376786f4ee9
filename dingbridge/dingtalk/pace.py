"""How fast requests may follow each other once DingTalk has said that they come too fast.

Until then there is no pace: how much a company's plan allows is not told by any call. A rate limit (90018
and its family) holds back every request of the app, not only the one that met it, and for a while they follow
each other no faster than the free plan allows.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import Final

from dingbridge.throttle import Throttle

PER_S: Final = 18.0
"""A little below the 20 requests a second that the free plan allows an app
(appendix-a-list-of-events-not-included-in-webhook): they do not arrive as evenly as they are sent."""
PACED_S: Final = 60.0
"""How long the pace holds after the last rate limit, in s."""


class Pace:
    """One for all requests of an app. ``sleep`` and ``clock`` (s) are for tests."""

    def __init__(
        self,
        *,
        per_s: float = PER_S,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._throttle = Throttle(per_s, sleep=sleep, clock=clock)
        self._clock = clock
        self._paced_until = float("-inf")

    async def turn(self) -> None:
        """Wait until the next request may be sent. First come, first served."""
        await self._throttle.turn(1 if self._throttle.next_at < self._paced_until else 0)

    def limited(self, wait_s: float) -> None:
        """DingTalk refused a request for its rate: nothing is sent for ``wait_s``, then at the pace."""
        self._throttle.hold(wait_s)
        self._paced_until = self._clock() + wait_s + PACED_S
