"""Which of this process's looks may serve an event that has not been handled yet: fifty events about one
entity within a moment need one look, not fifty.

A look serves every event that had come to this process before the look's fetch began: what the event tells of
had happened by then. That is decided by numbers drawn from one sequence
(``dingbridge/worker/fetch_sequence.py``), not by clocks, which differ among hosts. And what the look saw must
stand in the database: its transaction may have been rolled back, so the generation and the time that it wrote
with are compared with those that are there.
"""

from collections import OrderedDict
from dataclasses import dataclass
from datetime import datetime

from dingbridge.snapshots.version_guard import Snapshot

_Key = tuple[str, str, str]


@dataclass(frozen=True, slots=True)
class _Wrote:
    sequence: int
    generation: int
    fetched_at: datetime | None
    exists: bool


class FetchCache:
    """The latest looks of one process, at most ``size`` of them; forgetting one costs a fetch."""

    def __init__(self, size: int = 10_000) -> None:
        self._size = size
        self._wrote: OrderedDict[_Key, _Wrote] = OrderedDict()
        self._hidden: OrderedDict[_Key, int] = OrderedDict()

    def wrote(self, look: Snapshot, sequence: int, *, exists: bool, fetched: bool = True) -> None:
        """``look``, whose fetch began after ``sequence`` was drawn, has claimed and is about to commit."""
        fetched_at = look.began_at if fetched else look.last_fetch_at
        self._keep(self._wrote, _key(look), _Wrote(sequence, look.generation + 1, fetched_at, exists))

    def hidden(self, look: Snapshot, sequence: int) -> None:
        """The entity is not shown to us, so that there is nothing to write."""
        self._keep(self._hidden, _key(look), sequence)

    def serves(self, look: Snapshot, came: int | None) -> tuple[int, bool] | None:
        """The number of a look that serves an event that came at the number ``came``, and whether the
        entity existed; None when there is none. ``look`` is one that has just begun."""
        found = self._wrote.get(_key(look))
        if found is None or came is None or found.sequence <= came:
            return None
        if (look.generation, look.last_fetch_at) != (found.generation, found.fetched_at):
            return None
        return found.sequence, found.exists

    def serves_hidden(self, look: Snapshot, came: int | None) -> bool:
        """Whether the entity was found not to be shown to us, after the event had come."""
        return came is not None and self._hidden.get(_key(look), 0) > came

    def _keep(
        self, kept: OrderedDict[_Key, _Wrote] | OrderedDict[_Key, int], key: _Key, value: object
    ) -> None:
        kept[key] = value  # type: ignore[assignment]
        kept.move_to_end(key)
        while len(kept) > self._size:
            kept.popitem(last=False)


def _key(look: Snapshot) -> _Key:
    return look.corp_id, look.kind, look.entity_id
