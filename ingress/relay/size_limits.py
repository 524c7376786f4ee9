"""Which sizes the topics do not take, as their refusals have shown.

Kafka compares the size of a whole batch with the topic's ``max.message.bytes`` (Kafka's documentation, "Topic
Configs"). So after one refusal nothing of that size is sent again for a while. To read the configuration
would take the right DESCRIBE_CONFIGS, which an ingress need not have.
"""

import math
import time
from dataclasses import dataclass
from typing import Final

TRIED_EVERY_S: Final = 60.0
"""How often one record of a refused size is sent all the same: somebody may have raised the limit."""


@dataclass(slots=True)
class _Limit:
    """``refused``: the smallest size that was refused, bytes. ``tried_at``: when such a size was sent last,
    monotonic s."""

    refused: int
    tried_at: float


class SizeLimits:
    """The sizes of batches, bytes, as Kafka counts them."""

    def __init__(self) -> None:
        self._limits: dict[str, _Limit] = {}

    def of_several(self, topic: str) -> float:
        """The largest batch of several records to send: half of what was refused, so that few tries find a
        size that is taken."""
        limit = self._limits.get(topic)
        return math.inf if limit is None else limit.refused / 2

    def allows(self, topic: str, size: int) -> bool:
        """Return whether to send a record whose batch has this ``size``."""
        limit = self._limits.get(topic)
        if limit is None or size < limit.refused:
            return True
        now = time.monotonic()
        if now - limit.tried_at < TRIED_EVERY_S:
            return False
        limit.tried_at = now
        return True

    def refused(self, topic: str, size: int) -> None:
        """Kafka has refused a batch for its ``size``."""
        limit = self._limits.get(topic)
        smallest = size if limit is None else min(size, limit.refused)
        self._limits[topic] = _Limit(smallest, time.monotonic())

    def taken(self, topic: str, size: int) -> None:
        """Kafka has taken a batch of this ``size``: a limit below it has been raised."""
        limit = self._limits.get(topic)
        if limit is not None and size >= limit.refused:
            del self._limits[topic]

    def forget(self) -> None:
        """Send any size again."""
        self._limits.clear()
