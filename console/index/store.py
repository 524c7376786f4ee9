"""The index: a SQLite file of the console's own, ``console-index.db``, that can be thrown away."""

from dataclasses import dataclass
from datetime import datetime
from pathlib import Path


@dataclass(frozen=True, slots=True)
class IndexedEvent:
    """Where an event's record stands, and what it is found by."""

    source: str
    id: str
    type: str
    corp_id: str
    subject: str | None
    time: datetime
    received_time: datetime
    via: str
    app: str
    topic: str
    partition: int
    offset: int
    key: str


@dataclass(frozen=True, slots=True)
class Seen:
    """How many records of one EventType are in the index, and when the last one was received."""

    count: int
    last: datetime


class Index:
    """The index in one file."""

    def __init__(self, path: Path, *, days: int) -> None:
        self._path, self._days = path, days

    def open(self) -> None:
        """Raises ``BridgeError``."""

    def close(self) -> None:
        pass

    def seen(self) -> dict[str, Seen]:
        """By EventType."""
        return {}
