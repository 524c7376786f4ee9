"""The list of events that could not be delivered, with DingTalk's way of reading it: reading empties it."""

from collections import deque
from typing import Any, Final

PAGE: Final = 200
KEPT: Final = 200_000
"""Items kept at most; beyond, the oldest goes. DingTalk's own limit is not documented."""


class FailedList:
    """``get_call_back_failed_result``: at most 200 items a call, and each call removes for good what the
    call before it returned (event-subscription-and-data-push)."""

    def __init__(self, kept: int = KEPT) -> None:
        self._items: deque[dict[str, Any]] = deque(maxlen=kept)
        self._shown = 0

    def __len__(self) -> int:
        """Items waiting, those shown by the last call included."""
        return len(self._items)

    def add(self, item: dict[str, Any]) -> None:
        if len(self._items) == self._items.maxlen and self._shown:
            self._shown -= 1  # the oldest is about to go, and it was one of the shown
        self._items.append(item)

    def read(self) -> tuple[list[dict[str, Any]], bool]:
        """``(items, has_more)``."""
        for _ in range(self._shown):
            self._items.popleft()
        page = [item for item, _ in zip(self._items, range(PAGE), strict=False)]
        self._shown = len(page)
        return page, len(self._items) > self._shown
