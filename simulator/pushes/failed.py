"""The events that could not be delivered, in DingTalk's two lists: one that reading empties, for any app, and
one that is confirmed, for ISV apps."""

from collections import deque
from collections.abc import Iterable
from typing import Any, Final

PAGE: Final = 200
KEPT: Final = 200_000
"""Items kept at most; beyond, the oldest goes. DingTalk's own limit is not documented."""
RECORDS_KEPT_MS: Final = 7 * 86_400_000
"""How long the ISV list keeps a record (dingtalk.oapi.callback.failrecord.list)."""


class FailedList:
    """``get_call_back_failed_result``: at most 200 items a call, and each call removes for good what the
    call before it returned (event-subscription-and-data-push)."""

    def __init__(self, kept: int = KEPT) -> None:
        self._items: deque[Any] = deque(maxlen=kept)
        self._shown = 0

    def __len__(self) -> int:
        """Items waiting, those shown by the last call included."""
        return len(self._items)

    def items(self) -> list[Any]:
        """What is waiting, the oldest first; looking changes nothing."""
        return list(self._items)

    def add(self, item: Any) -> None:
        if len(self._items) == self._items.maxlen and self._shown:
            self._shown -= 1  # the oldest is about to go, and it was one of the shown
        self._items.append(item)

    def read(self) -> tuple[list[Any], bool]:
        """``(items, has_more)``."""
        for _ in range(self._shown):
            self._items.popleft()
        page = [item for item, _ in zip(self._items, range(PAGE), strict=False)]
        self._shown = len(page)
        return page, len(self._items) > self._shown


class FailedRecords:
    """``callback/failrecord``: each failed push whole, with an id, until it is a week old."""

    def __init__(self, kept: int = KEPT) -> None:
        self._records: deque[dict[str, Any]] = deque(maxlen=kept)
        self._confirmed: set[int] = set()
        self._last_id = 0

    def __len__(self) -> int:
        return len(self._records)

    def add(self, event_type: str, plaintext: bytes, time_ms: int, corp_id: str) -> None:
        if len(self._records) == self._records.maxlen:
            self._confirmed.discard(self._records[0]["id"])
        self._last_id += 1
        self._records.append(
            {
                "id": self._last_id,
                "call_back_tag": event_type,
                "call_back_data": plaintext.decode(),
                "event_time": time_ms,
                "corpid": corp_id,
            }
        )

    def page(
        self,
        *,
        tags: frozenset[str],
        confirmed: bool,
        begin_ms: int,
        end_ms: int,
        after: int,
        size: int,
        now_ms: int,
    ) -> tuple[list[dict[str, Any]], bool]:
        """``(records, has_more)`` with an id above ``after``; no tags means all."""
        found = [
            record
            for record in self._records
            if record["id"] > after
            and (not tags or record["call_back_tag"] in tags)
            and (record["id"] in self._confirmed) == confirmed
            and begin_ms <= record["event_time"] <= end_ms
            and record["event_time"] > now_ms - RECORDS_KEPT_MS
        ]
        return found[:size], len(found) > size

    def confirm(self, ids: Iterable[int]) -> None:
        """They are listed as confirmed from now on; an id that there is not is none's fault."""
        there = {record["id"] for record in self._records}
        self._confirmed |= there & set(ids)
