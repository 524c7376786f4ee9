"""What the company's plan allows: calls and pushes per month, calls per second. Counted always, enforced when
a limit is set.

The free plan has 5,000 calls and 3,000 pushes a month and 20 calls a second. Calls about people, departments,
roles and tokens are free (basic-interfaces-such-as-log-off-and-address-book), and pushes of contact events
(appendix-a-list-of-events-not-included-in-webhook). The month is Shanghai's. Beyond 10,000 calls in 20 s
the firewall shuts the address out for 5 minutes (call-frequency-limit).
"""

import time
from collections import Counter, deque
from collections.abc import Callable
from datetime import datetime, timedelta, timezone
from typing import Any, Final

from simulator.errors import PlatformError

_SHANGHAI: Final = timezone(timedelta(hours=8))  # no summer time since 1991
_FREE_PUSHES: Final = ("user_", "org_dept_", "org_change", "org_remove", "label_", "org_admin_")
_FREE_CALLS: Final = (
    *("gettoken", "service/get_corp_token", "auth/scopes", "v2/", "user/", "role/"),
    "POST /v1.0/gateway/",  # a kind of token; the pages do not name it
)

_BAN_WINDOW_S: Final = 20.0
_BAN_S: Final = 300.0
LIMITS: Final = ("calls", "pushes", "qps", "ban_after")
"""The names of the limits."""


class Limits:
    """``calls`` and ``pushes`` per month, ``qps`` calls per second, ``ban_after`` calls in 20 s; 0 for none.
    ``clock`` is epoch s."""

    def __init__(
        self, *, calls: int = 0, pushes: int = 0, qps: int = 0, clock: Callable[[], float] = time.time
    ) -> None:
        self.calls, self.pushes, self.qps, self.ban_after = calls, pushes, qps, 0
        self._clock = clock
        self._month = ""
        self._spent: Counter[str] = Counter()
        self._recent: deque[float] = deque()
        self._of_20_s: deque[float] = deque()
        self._banned_until = float("-inf")

    def banned(self) -> bool:
        """Count one request at the firewall; true while the address is shut out."""
        now = self._clock()
        if now < self._banned_until:
            return True
        if not self.ban_after:
            return False
        while self._of_20_s and self._of_20_s[0] <= now - _BAN_WINDOW_S:
            self._of_20_s.popleft()
        self._of_20_s.append(now)
        if len(self._of_20_s) <= self.ban_after:
            return False
        self._of_20_s.clear()
        self._banned_until = now + _BAN_S
        return True

    def call(self, api: str) -> None:
        """Count one call, by its name. Raises ``PlatformError`` above a limit; a refused one counts for
        none."""
        now = self._begin()
        free = api.startswith(_FREE_CALLS)
        if not free and self.calls and self._spent["calls"] >= self.calls:
            raise PlatformError(90020)
        while self._recent and self._recent[0] <= now - 1:
            self._recent.popleft()
        if self.qps:
            if len(self._recent) >= self.qps:
                raise PlatformError(90018)
            self._recent.append(now)
        self._spent["free_calls" if free else "calls"] += 1

    def push(self, event_type: str) -> bool:
        """Count one event that is to be pushed; false when the plan has none left, and it is not pushed."""
        self._begin()
        if event_type.startswith(_FREE_PUSHES):
            self._spent["free_pushes"] += 1
            return True
        if self.pushes and self._spent["pushes"] >= self.pushes:
            self._spent["withheld"] += 1
            return False
        self._spent["pushes"] += 1
        return True

    def _begin(self) -> float:
        now = self._clock()
        month = f"{datetime.fromtimestamp(now, _SHANGHAI):%Y-%m}"
        if month != self._month:
            self._month = month
            self._spent.clear()
        return now

    def as_json(self) -> dict[str, Any]:
        """The limits, and what of them is spent this month."""
        self._begin()
        names = ("calls", "free_calls", "pushes", "free_pushes", "withheld")
        return {
            "calls": self.calls,
            "pushes": self.pushes,
            "qps": self.qps,
            "ban_after": self.ban_after,
            "month": self._month,
            "spent": {name: self._spent[name] for name in names},
        }
