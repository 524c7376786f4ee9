"""Dead letters by what they have in common: how many wait for which reason."""

from dataclasses import dataclass
from datetime import datetime


@dataclass(slots=True)
class DeadLetterGroup:
    """The dead letters of one EventType that one error (type and place of the exception) has made.

    ``oldest`` and ``newest`` are when the first and the last of them was given up, None where none says so;
    ``reason`` is what the handler said of the last one, and may be private.
    """

    error: str
    event_type: str
    count: int = 0
    oldest: datetime | None = None
    newest: datetime | None = None
    reason: str = ""

    def add(self, at: datetime | None, reason: str = "") -> None:
        """Count one more, given up ``at``."""
        self.count += 1
        if self.newest is None or (at is not None and at >= self.newest):
            self.reason = reason or self.reason
        if at is not None:
            self.oldest = min(at, self.oldest or at)
            self.newest = max(at, self.newest or at)
