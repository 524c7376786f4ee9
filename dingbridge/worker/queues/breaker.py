"""One circuit breaker per dependency: a database, DingTalk's API, a system that a handler calls.

A breaker opens after three failures in a row. While it is open, one record at a time is tried, each time of
another key; records that were not tried yet come first. Records of EventTypes that never called the
dependency go on. A success that called the dependency closes its breaker, and the others' failures count as
their own (``dingbridge/availability.py``).
"""

import asyncio
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final

import structlog

from dingbridge.availability import Availability, own_delay_s, spread_s
from dingbridge.dingtalk.errors import ApiError
from dingbridge.error_location import error_location
from dingbridge.errors import SettingsError
from dingbridge.retry import ASKED_MAX_S, delay
from dingbridge.worker.outcomes import DependencyUnavailable
from dingbridge.worker.queues.offset_tracker import QueuedRecord
from dingbridge.worker.store.errors import DatabaseDown

log = structlog.get_logger(__name__)

Dependency = frozenset[str]
"""The names of what an attempt called; nearly always one. ``HANDLER`` if the handler named none."""

HANDLER: Final[Dependency] = frozenset({"handler"})
DATABASE: Final[Dependency] = frozenset({"database"})
DINGTALK: Final[Dependency] = frozenset({"dingtalk"})
SETTINGS: Final[Dependency] = frozenset({"settings"})
DEAD_LETTERS: Final[Dependency] = frozenset({"dead letters"})

_CERTAIN: Final = (DATABASE, SETTINGS, DEAD_LETTERS)
"""A failure of one of these does not depend on the record."""

_OF_ALL_CALLS: Final = ("address", "month", "token")
"""A refusal about one of these concerns every call. One about a ``right`` does not depend on the record
either, but other events may not need that right."""

MOST_DEPENDENCIES: Final = 100
"""Dependencies that are remembered; an author may name one for each customer."""


@dataclass(slots=True, eq=False)
class Breaker:
    """The state of one dependency, and the records that wait for it while the breaker is open.

    ``probe`` is the record being tried. ``waiting`` are heads of keys that were not tried yet, ``tried`` are
    heads that were. ``since`` (None: closed) is of ``time.monotonic``, ``next_at`` epoch s. ``certain``: the
    error itself shows that it concerns every record.
    """

    dependency: Dependency
    available: Availability = field(default_factory=Availability)
    callers: set[tuple[str, str]] = field(default_factory=set)
    """App and type of the events for which it failed since it worked last."""
    since: float | None = None
    reason: str = ""
    certain: bool = False
    failures: int = 0
    probe: QueuedRecord | None = None
    waiting: deque[QueuedRecord] = field(default_factory=deque)
    tried: deque[QueuedRecord] = field(default_factory=deque)
    next_at: float | None = None
    timer: asyncio.TimerHandle | None = None

    @property
    def name(self) -> str:
        """The dependency, for a person."""
        return " and ".join(sorted(self.dependency))

    def concerns(self, queued: QueuedRecord) -> bool:
        """Whether ``queued`` calls this dependency, as far as is known."""
        if self.dependency == DEAD_LETTERS:
            return queued.failure is not None
        if self.dependency == DATABASE:
            return True
        event = queued.event
        return queued.failure is None and event is not None and (event.app, event.type) in self.callers


class Breakers:
    """The breakers of one scheduler. ``put`` queues a record for a runner. ``on_change`` is called when a
    breaker has opened or closed. ``package`` holds the consumer's code."""

    def __init__(
        self, put: Callable[[QueuedRecord], None], on_change: Callable[[], None], package: str
    ) -> None:
        self._put, self._on_change, self._package = put, on_change, package
        self._known: dict[Dependency, Breaker] = {}
        self.open: list[Breaker] = []

    def down(self) -> dict[str, str]:
        """The dependencies that are down, and why."""
        return {breaker.name: breaker.reason for breaker in self.open}

    def down_for_s(self) -> float:
        """For how long, in s, the breaker has been open that is open longest; 0 if none is."""
        now = time.monotonic()
        return max((now - (breaker.since or now) for breaker in self.open), default=0.0)

    def must_wait(self, queued: QueuedRecord) -> bool:
        """Whether ``queued`` may not be tried now; if so, it waits here."""
        for breaker in self.open:
            if breaker.probe is queued or not breaker.concerns(queued):
                continue
            fresh = queued.trouble is None or queued.trouble.failed_at is None
            if fresh and not breaker.certain and breaker.probe is None and not breaker.waiting:
                self._stop_timer(breaker)  # all other records were tried and failed: try this record now
                breaker.probe = queued
                continue
            self.ended(queued)  # it may be the probe of another breaker
            (breaker.waiting if fresh else breaker.tried).append(queued)
            return True
        return False

    def failed(
        self, queued: QueuedRecord, error: BaseException | None, asked: Dependency, after: float | None
    ) -> float | None:
        """An attempt at ``queued`` failed for a dependency, of those that it had ``asked``; decide whether
        the record itself caused it, and note that in it. ``after`` is the least delay that was asked for, in
        s. Returns for how long it waits alone, in s; None when it waits for the breaker."""
        now = time.monotonic()
        about = error.about if isinstance(error, ApiError) else None
        dependency = _of_app(queued, _failed_dependency(error, asked))
        certain = about in _OF_ALL_CALLS or dependency in _CERTAIN
        breaker = self._breaker(dependency)
        trouble = queued.troubled
        before, trouble.failed_at, trouble.failed_asking = trouble.failed_at, now, asked
        own = breaker.available.failed(before, now)
        if own and not (certain or about == "right"):
            trouble.own_failures += 1
            trouble.own_since = trouble.own_since or before
        elif trouble.own_since is not None and before is not None:
            trouble.own_since += now - before  # it worked for no record in this time
        if trouble.own_failures and not certain:
            return max(own_delay_s(trouble.own_failures), min(after or 0, ASKED_MAX_S))
        if about == "right":
            return max(delay(1, asked_s=after), spread_s(time.time() - queued.fetched_at))
        if queued.event is not None:
            breaker.callers.add((queued.event.app, queued.event.type))
        if certain or breaker.available.is_down or breaker.since is not None:
            self._hold(
                breaker, queued, _reason(error, self._package), certain, after, isinstance(error, ApiError)
            )
            self.ended(queued)  # it may be the probe of another breaker
            return None
        return delay(1, asked_s=after)

    def worked(self, queued: QueuedRecord, asked: Dependency) -> None:
        """An attempt at ``queued`` got an answer from every dependency in ``asked``."""
        if not self._known:
            return
        now, asked = time.monotonic(), _of_app(queued, asked)
        for breaker in [one for dependency, one in self._known.items() if dependency <= asked]:
            breaker.available.worked(now)
            if breaker.since is None:
                breaker.callers.clear()
            elif breaker.probe is queued or not breaker.certain:
                self._close(breaker)

    def ended(self, queued: QueuedRecord) -> None:
        """An attempt at ``queued`` has ended. Where it was the probe, the next record is tried."""
        for breaker in tuple(self.open):
            if breaker.probe is queued:
                breaker.probe = None
                self._try_next(breaker, 0 if breaker.waiting else delay(breaker.failures))

    def close(self) -> None:
        """Nothing is tried any more."""
        for breaker in self.open:
            self._stop_timer(breaker)

    def _breaker(self, dependency: Dependency) -> Breaker:
        if dependency not in self._known:
            if len(self._known) >= MOST_DEPENDENCIES:
                closed = next((d for d, one in self._known.items() if one.since is None), dependency)
                self._known.pop(closed, None)
            self._known[dependency] = Breaker(dependency)
        return self._known[dependency]

    def _hold(
        self,
        breaker: Breaker,
        queued: QueuedRecord,
        reason: str,
        certain: bool,
        after: float | None,
        calls: bool,
    ) -> None:
        if breaker.since is None:
            breaker.since = time.monotonic()
            breaker.failures = 0
            self.open.append(breaker)
        elif breaker.probe is not queued:
            breaker.tried.append(queued)  # it was running when the breaker opened
            return
        breaker.tried.append(queued)
        breaker.reason, breaker.certain, breaker.probe = reason, certain, None
        breaker.failures += 1
        wait = delay(breaker.failures, asked_s=after)
        if calls:
            wait = max(wait, spread_s(time.monotonic() - breaker.since))
        log.warning(
            "consumer.paused",
            dependency=breaker.name,
            topic=queued.partition.topic,
            partition=queued.partition.partition,
            offset=queued.offset,
            reason=reason,
            retry_in_s=round(wait, 2),
        )
        self._try_next(breaker, wait)
        self._on_change()

    def _try_next(self, breaker: Breaker, wait_s: float) -> None:
        self._stop_timer(breaker)
        breaker.next_at = time.time() + wait_s
        breaker.timer = asyncio.get_running_loop().call_later(wait_s, self._try, breaker)

    def _try(self, breaker: Breaker) -> None:
        breaker.next_at = breaker.timer = None
        queue = breaker.waiting or breaker.tried
        if not queue:  # no record is left that could close it
            self._close(breaker)
            return
        breaker.probe = queue.popleft()
        self._put(breaker.probe)

    def _stop_timer(self, breaker: Breaker) -> None:
        if breaker.timer is not None:
            breaker.timer.cancel()
            breaker.next_at = breaker.timer = None

    def _close(self, breaker: Breaker) -> None:
        self._stop_timer(breaker)
        self.open.remove(breaker)
        log.info(
            "consumer.resumed",
            dependency=breaker.name,
            after_s=round(time.monotonic() - (breaker.since or 0), 1),
        )
        held = (*breaker.waiting, *breaker.tried)
        breaker.since, breaker.probe = None, None
        breaker.callers.clear()
        breaker.waiting.clear()
        breaker.tried.clear()
        for queued in held:
            self._put(queued)
        self._on_change()


def _failed_dependency(error: BaseException | None, asked: Dependency) -> Dependency:
    """Which of the dependencies that an attempt had ``asked`` has failed."""
    if isinstance(error, DatabaseDown):
        return DATABASE
    if isinstance(error, SettingsError):
        return SETTINGS
    if isinstance(error, ApiError):
        return DINGTALK
    return asked


def _of_app(queued: QueuedRecord, asked: Dependency) -> Dependency:
    """``asked``, with DingTalk's API as that of the event's app: each has rights and a budget of its own."""
    if queued.event is None or not queued.event.app or DINGTALK.isdisjoint(asked):
        return asked
    return asked - DINGTALK | {f"dingtalk of {queued.event.app}"}


def _reason(error: BaseException | None, package: str) -> str:
    """Why records wait, in words that hold no values."""
    if isinstance(error, DependencyUnavailable):
        return error.reason
    if isinstance(error, SettingsError):  # these say what to set
        return "; ".join(error.problems)
    where = error_location(error, package)
    return f"{where}, about the {error.about}" if isinstance(error, ApiError) else where
