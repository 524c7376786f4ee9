"""When requests of one API may follow each other, in one process.

DingTalk limits each API of an app by itself (how-to-process-api-throttling-on-the-dingtalk-server): 20 calls
a second in the standard plan. A rate limit (90018 and its family) holds back all requests of that API, not
only the one that met it.
"""

import time
from collections import defaultdict
from collections.abc import Callable
from typing import Final

PER_S: Final = 20.0
"""Calls of one API in a second that the standard plan allows an app."""
MARGIN: Final = 0.9
"""How much of what is allowed is used: requests do not arrive as evenly as they are sent."""
PACED_S: Final = 60.0
"""How long a client without a pace of its own keeps to one after a rate limit, in s."""


class OwnPace:
    """One for all requests of an app in this process. ``per_s``: turns of one API in a second, always;
    without it there is a pace only for a while after a rate limit, that of the standard plan."""

    def __init__(self, *, per_s: float | None = None, clock: Callable[[], float] = time.monotonic) -> None:
        """``clock`` is s, from any beginning."""
        self._gap_s, self._clock = 1 / (per_s or PER_S * MARGIN), clock
        self._next: dict[str, float] = defaultdict(lambda: float("-inf"))
        self._paced_until: dict[str, float] = defaultdict(lambda: float("inf" if per_s else "-inf"))

    async def turn(self, api: str) -> float:
        """Take the next turn of ``api``; returns the s until it begins. First come, first served."""
        now = self._clock()
        begins = max(now, self._next[api])
        self._next[api] = begins + (self._gap_s if begins < self._paced_until[api] else 0)
        return begins - now

    async def hold(self, api: str, wait_s: float) -> None:
        """DingTalk refused a request of ``api`` for its rate: no further turn begins for ``wait_s``."""
        until = self._clock() + wait_s
        self._next[api] = max(self._next[api], until)
        self._paced_until[api] = max(self._paced_until[api], until + PACED_S)
