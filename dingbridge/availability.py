"""Distinguishes the failure of one entity from a dependency that is down. Pure: the caller brings the time.

A 5xx, a time-out or "try again" may concern one user, one approval, one receiver, or all of them. The answer
does not show which, but another entity does: so an entity that fails is put back with a delay, and another
one is tried. A failure counts as the entity's own if another one has worked since the entity's last failure.

Not here: refusals whose code shows what they concern (``dingbridge/dingtalk/error_meanings.py``), and where
an entity's failures are kept: beside its record (``dingbridge/worker``) or in its row
(``dingbridge/work_queue.py``).
"""

from typing import Final

GIVE_UP_AFTER_S: Final = 3600.0
"""An entity is given up when its own failures have lasted so long, in s: half an outage must not fill the
dead letters."""

LONGEST_PAUSE_S: Final = 60.0
_NEVER: Final = float("-inf")
_LONGEST_SPREAD_S: Final = 3600.0
_LONGEST_OWN_DELAY_S: Final = 600.0
_UNTIL_PAUSE: Final = 3
"""Failures in a row, of one entity or of several, after which a loop waits: fewer delay nobody else."""


class Availability:
    """The latest successes and failures of one dependency. Times are epoch s."""

    def __init__(self) -> None:
        self._worked_at = _NEVER
        self._failures, self._failing_since, self._failed_at = 0, 0.0, 0.0

    def worked(self, now: float) -> bool:
        """An entity was served at ``now``. Return whether it is the first ever, or the first since a
        failure."""
        first = self._failures > 0 or self._worked_at == _NEVER
        self._worked_at, self._failures = max(self._worked_at, now), 0
        return first

    def failed(self, before: float | None, now: float) -> bool:
        """An entity was not served at ``now``; ``before`` is when it failed last (None: it has not). Whether
        the failure is its own, since another was served in between."""
        own = self.is_own_again(before) and self._worked_at <= now
        if not own:
            self._failing_since = self._failing_since if self._failures else now
            self._failures, self._failed_at = self._failures + 1, now
        return own

    def is_own_again(self, before: float | None) -> bool:
        """Whether another entity was served since a failure at ``before``."""
        return before is not None and before < self._worked_at

    def has_counted(self, before: float | None) -> bool:
        """Whether a failure at ``before`` is among those in a row: the same entity's next one then proves
        nothing more."""
        return before is not None and self._failures > 0 and before >= self._failing_since

    @property
    def is_down(self) -> bool:
        """Whether so many have failed in a row that the dependency counts as down."""
        return self._failures >= _UNTIL_PAUSE

    def pause_s(self) -> float:
        """How long to wait before the next entity is tried, in s: 0 while the dependency works."""
        return (
            min(2.0 ** min(self._failures - _UNTIL_PAUSE, 12), self.longest_s(self._failed_at)) * self.is_down
        )

    def longest_s(self, now: float) -> float:
        """The longest that an entity waits at ``now`` for a dependency that is down, in s."""
        return max(LONGEST_PAUSE_S, spread_s(now - self._failing_since))


def spread_s(lasted_s: float) -> float:
    """The least time to the next call, in s, of what has failed for ``lasted_s``: a sixtieth of that, up to
    an hour. DingTalk may count calls that fail, and what fails for a month costs about a thousand of them."""
    return min(lasted_s / 60, _LONGEST_SPREAD_S)


def own_delay_s(failures: int) -> float:
    """How long an entity waits after its own failure number ``failures`` (from 1), in s."""
    return min(2.0 ** min(failures, 20), _LONGEST_OWN_DELAY_S)


def is_given_up(first_own: float | None, now: float) -> bool:
    """Whether an entity's own failures, the first of them at ``first_own`` (epoch s), have lasted too
    long."""
    return first_own is not None and now - first_own >= GIVE_UP_AFTER_S
