"""How long to wait before the next attempt. Pure, but for the dice that spread the attempts out."""

import random

JITTER = 0.2
"""A delay is spread by this part of itself: what failed together is not tried again together."""

WORLD_FIRST_S = 1
WORLD_MAX_S = 30
"""Between two looks at a world that is down, in s."""

ASKED_MAX_S = 900
"""The longest wait that a world that is down may ask for, in s: it may be up again sooner than it thought."""


def delay(attempt: int, first_s: float, max_s: float) -> float:
    """Seconds to wait after the ``attempt``-th failure (from 1): ``first_s``, doubling up to ``max_s``."""
    exact = min(max_s, first_s * 2.0 ** min(attempt - 1, 60))
    return exact * random.uniform(1 - JITTER, 1 + JITTER)  # noqa: S311 - no secret hangs on it


def world_delay(failure: int, asked_s: float | None) -> float:
    """Seconds until a world that is down is tried again, at least the ``asked_s`` that it asked for."""
    return max(delay(failure, WORLD_FIRST_S, WORLD_MAX_S), min(asked_s or 0, ASKED_MAX_S))
