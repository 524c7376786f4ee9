"""Dead letters by what they have in common: how many wait for which reason."""

from dataclasses import dataclass
from datetime import datetime

from dingbridge.replay.dead_letters import DeadLetter


@dataclass(slots=True)
class DeadLetterGroup:
    """The dead letters of one EventType that one error (type and place of the exception) has made.

    ``oldest`` and ``newest`` are when the first and the last of them was given up, None where none says so.
    """

    error: str
    event_type: str
    count: int = 0
    oldest: datetime | None = None
    newest: datetime | None = None

    def add(self, at: datetime | None) -> None:
        """Count one more, given up ``at``."""
        self.count += 1
        if at is not None:
            self.oldest = min(at, self.oldest or at)
            self.newest = max(at, self.newest or at)


class DeadLetterGroups:
    """Counts dead letters; nothing is kept of each of them."""

    def __init__(self) -> None:
        self._groups: dict[tuple[str, str], DeadLetterGroup] = {}

    def add(self, found: DeadLetter) -> None:
        """Count one more."""
        name = (found.error, found.event_type)
        if (group := self._groups.get(name)) is None:
            group = self._groups[name] = DeadLetterGroup(*name)
        group.add(found.at)

    def listed(self) -> list[DeadLetterGroup]:
        """The largest first."""
        return sorted(self._groups.values(), key=lambda group: (-group.count, group.error, group.event_type))
