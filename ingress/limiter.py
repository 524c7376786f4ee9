"""Keeps a flood of bad requests from becoming a flood of log lines."""

import time
from collections.abc import Callable


class LogLimiter:
    """Allows ``burst`` lines for each key in each period of ``period_s``, and counts the rest."""

    def __init__(
        self, burst: int = 5, period_s: float = 10.0, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._burst, self._period, self._clock = burst, period_s, clock
        self._state: dict[str, tuple[float, int, int]] = {}

    def allow(self, key: str) -> int | None:
        """``None`` when this line is to be left out; else how many were left out before it.

        ``key`` comes from a fixed set (reasons of refusal), so the state is bounded.
        """
        now = self._clock()
        began, used, suppressed = self._state.get(key, (now, 0, 0))
        if now - began >= self._period:
            began, used = now, 0
        if used >= self._burst:
            self._state[key] = (began, used, suppressed + 1)
            return None
        self._state[key] = (began, used + 1, 0)
        return suppressed
