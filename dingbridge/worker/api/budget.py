"""What an app may spend at DingTalk's Open API, counted for all processes that call in its name.

DingTalk's free plan has 5,000 calls a month, and the last one spent stops everything at once. So our own
budget ends earlier, and for what can wait before what cannot; it does not build on the up to 5 days of grace
that DingTalk may give. Calls about contacts, roles and tokens are exempt from the month, at DingTalk and
here, but not from the rate: 20 calls a second of each API. The counts are kept in PostgreSQL where
``DATABASE_URL`` names one, else in one small file (``call_counts.py``); the pace is each process's own.
Which calls count, and what a priority means, is ``dingtalk``'s business (``dingbridge.dingtalk.budget``).
"""

import time
from collections.abc import Awaitable, Callable
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any, Final, Protocol, TypeVar

import structlog

from dingbridge.dingtalk.pace import MARGIN, PER_S, OwnPace
from dingbridge.errors import CallsSpent
from dingbridge.worker.api.call_counts import CallCounts, StoreFailed

log = structlog.get_logger(__name__)
T = TypeVar("T")

FILE: Final = "api-calls.db"
SHARES: Final = {"event": 1.0, "recovery": 0.9, "resync": 0.8, "reconcile": 0.6}
"""The share of the budget that calls of each priority may use up, by the names of
``dingbridge.dingtalk.budget.Priority``, in its order."""
PRIORITIES: Final = ("always", *SHARES)
"""``always`` has no share: it is counted, and never ends."""
KEPT_MONTHS: Final = 13
FAILED_S: Final = 10.0
"""A store that failed is not asked for so long, in s: a database that does not answer must not delay each
call."""
_SHANGHAI: Final = timezone(timedelta(hours=8))  # no summer time since 1991


class _Settings(Protocol):
    data_dir: Path
    dingtalk_app_key: str | None
    api_monthly_budget: int
    api_calls_per_s: float

    @property
    def shared_database(self) -> str | None: ...


class ApiCalls:
    """The budget of one app (``app``: its appKey): calls in DingTalk's month, which begins at midnight in
    Shanghai, and calls a second of each API.

    ``limit`` is the month's budget in calls, 0 for none: then it only counts. ``per_s``: calls of one API a
    second that the plan allows. Counts that cannot be read or written stop no call: that is logged
    (``api_calls.not_counted``).
    """

    def __init__(
        self,
        counts: CallCounts,
        *,
        app: str,
        limit: int,
        per_s: float = PER_S,
        clock: Callable[[], float] = time.time,
    ) -> None:
        """Opens nothing yet. ``clock`` is epoch seconds."""
        self.limit = limit
        self._counts, self._app, self._clock = counts, app, clock
        self._pace = OwnPace(per_s=per_s * MARGIN)
        self._failed_until: float | None = None
        self._forgotten = False

    @classmethod
    def of(cls, settings: _Settings, app_key: str | None = None) -> "ApiCalls":
        """The budget of ``app_key`` (the environment's app unless given): in the PostgreSQL of
        ``DATABASE_URL``, else in ``$DATA_DIR/api-calls.db``."""
        url = settings.shared_database
        return cls(
            CallCounts(url or f"sqlite:///{settings.data_dir / FILE}"),
            app=app_key or settings.dingtalk_app_key or "",
            limit=settings.api_monthly_budget,
            per_s=settings.api_calls_per_s,
        )

    async def turn(self, api: str) -> float:
        """Take the next turn of ``api`` (such as ``v2/user/get``); returns the s until it begins."""
        return await self._pace.turn(api)

    async def hold(self, api: str, wait_s: float) -> None:
        """DingTalk refused a call of ``api`` for its rate: no turn of it begins for ``wait_s``."""
        await self._pace.hold(api, wait_s)

    async def spend(self, api: str, priority: int) -> None:
        """Count one call of ``api`` at ``priority`` (0 always … 4 reconcile) before it is made.

        Raises ``CallsSpent``, and counts nothing, when the priority's share is spent.
        """
        month, until = self._month()
        name = PRIORITIES[priority]
        most = int(self.limit * SHARES[name]) if self.limit and name in SHARES else None
        await self._ask(self._forget_old_months)
        total = await self._ask(lambda: self._counts.count(self._app, month, priority, api, most))
        if total is None or most is None:
            return
        share = f" ({SHARES[name]:.0%} of the budget)" if SHARES[name] < 1 else ""
        raise CallsSpent(
            f"{total} of API_MONTHLY_BUDGET={self.limit} calls are spent in {month}, and {name} calls end at "
            f"{most}{share}. They go on by themselves on {until:%Y-%m-%d %H:%M} Shanghai time; a larger "
            "API_MONTHLY_BUDGET lets them go on now, if DingTalk's plan has that many.",
            retry_after_s=max(1.0, until.timestamp() - self._clock()),
        )

    async def spent(self) -> dict[str, Any]:
        """This month's calls: ``app``, ``month`` (``2026-11``), ``limit``, ``calls``, ``by_priority`` and
        ``by_api`` (counts by name), ``left`` (by priority; ``None`` without a limit), ``until`` (ISO, when
        the next month begins). All zero when nothing was counted."""
        month, until = self._month()
        rows = await self._ask(lambda: self._counts.counts(self._app, month)) or []
        by_priority = dict.fromkeys(PRIORITIES, 0)
        by_api: dict[str, int] = {}
        for priority, api, calls in rows:
            name = PRIORITIES[priority] if 0 <= priority < len(PRIORITIES) else str(priority)
            by_priority[name] = by_priority.get(name, 0) + calls
            by_api[api] = by_api.get(api, 0) + calls
        total = sum(by_api.values())
        left = {name: max(0, int(self.limit * share) - total) for name, share in SHARES.items()}
        return {
            "app": self._app,
            "month": month,
            "limit": self.limit,
            "calls": total,
            "by_priority": by_priority,
            "by_api": dict(sorted(by_api.items())),
            "left": left if self.limit else None,
            "until": until.isoformat(),
        }

    async def close(self) -> None:
        """Close the connection; the next use opens it again."""
        await self._counts.close()

    async def _forget_old_months(self) -> None:
        if not self._forgotten:
            self._forgotten = True
            oldest = datetime.fromtimestamp(self._clock(), _SHANGHAI) - timedelta(days=31 * KEPT_MONTHS)
            await self._counts.forget(f"{oldest:%Y-%m}")

    def _month(self) -> tuple[str, datetime]:
        """This month's name, and when the next one begins."""
        now = datetime.fromtimestamp(self._clock(), _SHANGHAI)
        first = now.replace(day=1, hour=0, minute=0, second=0, microsecond=0)
        following = (first + timedelta(days=31)).replace(day=1)
        return f"{now:%Y-%m}", following

    async def _ask(self, ask: Callable[[], Awaitable[T]]) -> T | None:
        """What the store answers; None while it fails."""
        if self._failed_until is not None and self._clock() < self._failed_until:
            return None
        try:
            answer = await ask()
        except StoreFailed as error:
            if self._failed_until is None:  # once, not for each call
                log.error("api_calls.not_counted", reason=str(error), retry_in_s=FAILED_S)
            self._failed_until = self._clock() + FAILED_S
            return None
        if self._failed_until is not None:
            self._failed_until = None
            log.info("api_calls.counted_again")
        return answer
