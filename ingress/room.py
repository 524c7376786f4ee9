"""One bound over bytes that many hold together: whoever has held some for the longest makes room.

So whoever only holds heads or bodies back keeps nobody out: a callback's are whole within milliseconds.
"""

from collections.abc import Hashable
from typing import Generic, TypeVar

Holder = TypeVar("Holder", bound=Hashable)


class Room(Generic[Holder]):
    """Who holds how many bytes, at most ``limit`` of them together."""

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self.held_bytes = 0
        self._longest_first: dict[Holder, int] = {}

    def __contains__(self, holder: Holder) -> bool:
        return holder in self._longest_first

    def grew(self, holder: Holder, count: int) -> list[Holder]:
        """``holder`` holds ``count`` bytes more. Those returned hold nothing from now on, ``holder`` perhaps
        among them: what they have must go."""
        self._longest_first[holder] = self._longest_first.get(holder, 0) + count
        self.held_bytes += count
        gone = []
        while self.held_bytes > self.limit:
            gone.append(oldest := next(iter(self._longest_first)))
            self.left(oldest)
        return gone

    def left(self, holder: Holder) -> None:
        """It holds nothing any more, whether or not it did."""
        self.held_bytes -= self._longest_first.pop(holder, 0)
