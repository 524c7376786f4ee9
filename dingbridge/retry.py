"""How long to wait before something is tried again. Pure, but for the dice that spread the attempts out."""

import random

JITTER = 0.2
"""The jitter, as a part of the delay, so that what failed together is not tried again together."""

UNAVAILABLE_FIRST_S = 1
UNAVAILABLE_MAX_S = 30
"""Delays between two tries of a dependency (Kafka, a database, an API), in s."""

ASKED_MAX_S = 900
"""The longest wait that another system may ask for, in s: it may work again sooner."""


def delay(
    failure: int,
    first_s: float | None = None,
    max_s: float | None = None,
    *,
    asked_s: float | None = None,
) -> float:
    """Seconds to wait after the ``failure``-th failure (from 1): ``first_s``, doubling up to ``max_s``.

    Without these two, the delays for a dependency. At least ``asked_s``, if it asked for a delay.
    """
    first_s = UNAVAILABLE_FIRST_S if first_s is None else first_s
    max_s = UNAVAILABLE_MAX_S if max_s is None else max_s
    exact = min(max_s, first_s * 2.0 ** min(failure - 1, 60))
    spread = exact * random.uniform(1 - JITTER, 1 + JITTER)  # noqa: S311 - no secret hangs on it
    return max(spread, min(asked_s or 0, ASKED_MAX_S))
