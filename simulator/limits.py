"""What the company's plan allows: calls and pushes per month, calls per second. Counted always, enforced when
a limit is set.

The free plan has 5,000 calls and 3,000 pushes a month and 20 calls a second. Calls about people, departments,
roles and tokens are free (basic-interfaces-such-as-log-off-and-address-book); what is not on that page is
counted, the management of callbacks, GET /auth/scopes and Stream's connections/open too. So are pushes,
but for contact events (appendix-a-list-of-events-not-included-in-webhook; org_remove is not on it). The month
is Shanghai's. When its calls are gone, calls go on for five days
(dingtalk-application-development-platform-billing-model). The rate is one of each API
(how-to-process-api-throttling-on-the-dingtalk-server), per minute too, whose figure is not published. Beyond
10,000 calls in 20 s the firewall shuts the address out for 5 minutes (call-frequency-limit).
"""

import time
from collections import Counter, defaultdict, deque
from collections.abc import Callable
from datetime import datetime, timedelta, timezone
from typing import Any, Final

from dingbridge.dingtalk.budget import FREE_PUSHES
from dingbridge.simulator.errors import REFUSED, PlatformError

_SHANGHAI: Final = timezone(timedelta(hours=8))  # no summer time since 1991
_DAY_S: Final = 86_400.0
_FREE_CALLS: Final = ("gettoken", "v2/", "user/", "role/")

_BAN_WINDOW_S: Final = 20.0
_BAN_S: Final = 300.0
LIMITS: Final = ("calls", "pushes", "qps", "qpm", "ban_after", "grace_days")
"""The names of the limits."""


class _Rate:
    """The calls of one API in the last ``window_s``."""

    def __init__(self, window_s: float) -> None:
        self._window_s = window_s
        self._recent: dict[str, deque[float]] = defaultdict(deque)

    def full(self, api: str, now: float, most: int) -> bool:
        recent = self._recent[api]
        while recent and recent[0] <= now - self._window_s:
            recent.popleft()
        return 0 < most <= len(recent)

    def add(self, api: str, now: float) -> None:
        self._recent[api].append(now)


class Limits:
    """``calls`` and ``pushes`` per month, ``qps`` calls per second and ``qpm`` per minute of each API,
    ``ban_after`` calls in 20 s; 0 for none. ``grace_days`` for which calls go on when those of the month are
    gone. ``clock`` is epoch s."""

    def __init__(
        self, *, calls: int = 0, pushes: int = 0, qps: int = 0, clock: Callable[[], float] = time.time
    ) -> None:
        self.calls, self.pushes, self.qps, self.qpm, self.ban_after = calls, pushes, qps, 0, 0
        self.grace_days = 5
        self._clock = clock
        self._month = ""
        self._spent: Counter[str] = Counter()
        self._gone_at: float | None = None
        self._second, self._minute = _Rate(1.0), _Rate(60.0)
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
        if not free and self._months_calls_are_over(now):
            raise PlatformError(90020)
        if self._second.full(api, now, self.qps):
            raise PlatformError(90018)
        if self._minute.full(api, now, self.qpm):
            raise PlatformError(90018, newer_code=REFUSED + "QpmLimitForAppkeyAndApi")
        for rate, limit in ((self._second, self.qps), (self._minute, self.qpm)):
            if limit:
                rate.add(api, now)
        self._spent["free_calls" if free else "calls"] += 1

    def _months_calls_are_over(self, now: float) -> bool:
        if not self.calls or self._spent["calls"] < self.calls:
            self._gone_at = None
            return False
        if self._gone_at is None:
            self._gone_at = now
        return now >= self._gone_at + self.grace_days * _DAY_S

    def push(self, event_type: str) -> bool:
        """Count one event that is to be pushed; false when the plan has none left, and it is not pushed."""
        self._begin()
        if event_type in FREE_PUSHES:
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
            self._gone_at = None
        return now

    def as_json(self) -> dict[str, Any]:
        """The limits, and what of them is spent this month."""
        self._begin()
        names = ("calls", "free_calls", "pushes", "free_pushes", "withheld")
        return {name: getattr(self, name) for name in LIMITS} | {
            "month": self._month,
            "spent": {name: self._spent[name] for name in names},
        }
