"""The named outcomes of a handler, as exceptions. Returning means done; any other exception a ``Retry()``.

::

    HandlerOutcome
    ├── Retry          later; counts as an attempt, unless ``counts=False``
    ├── Reject         never: to the dead letters at once
    ├── Conflict          at once, from ``prepare``; no attempt
    │   └── TransactionRace   the database rolled back because of another transaction
    └── DependencyUnavailable      the record waits until it works; no attempt
        └── DatabaseDown      the database does not answer, refuses us, or cannot write
"""

import math
from dataclasses import dataclass, field

from dingbridge.error_location import error_frames, error_location
from dingbridge.errors import BridgeError
from dingbridge.events.event import NotAnEvent


class HandlerOutcome(BridgeError):
    """Root of what a handler raises to name its outcome. Returning means done; any exception that is no
    ``HandlerOutcome`` means ``Retry()``."""


class Retry(HandlerOutcome):
    """Try this event again later; later events of the same key wait, other keys go on.

    ``after`` is the delay in s; None leaves it to the worker (growing, jittered). There is no upper limit.
    The wait is in memory: a process that takes the partition over tries at once, and until then no later
    offset of the partition is committed. So wait for minutes, not for hours. It counts as an attempt;
    after ``Consumer.max_attempts`` the record goes to the dead letters. ``counts=False`` is for long work in
    slices, each a ``prepare`` that made progress: no attempt, and between two slices the partition may move.
    Raised ``from`` an error, it is shown as a failure all the same.
    """

    def __init__(
        self,
        reason: str = "the handler asked for a retry",
        *,
        after: float | None = None,
        counts: bool = True,
    ) -> None:
        super().__init__(reason)
        self.retry_after_s = _seconds(after)
        self.counts = counts


class Reject(HandlerOutcome):
    """This event can never be handled: to the dead letters at once. ``reason`` is in the log and with the
    dead letter: no names, no values."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


class Conflict(HandlerOutcome):
    """The state changed since ``prepare``: roll back and begin with ``prepare`` at once.

    No attempt is counted; after ten in a row it becomes a ``Retry``.
    """

    def __init__(self, reason: str = "the state changed since prepare") -> None:
        super().__init__(reason)


class DependencyUnavailable(HandlerOutcome):
    """A dependency is down: a database, DingTalk, another system.

    A breaker opens after three failures in a row, and what calls the dependency waits until it works. Nothing
    is counted as an attempt. Only a record that fails for an hour while others work is given up. ``reason``
    is for the log: no values. ``after`` is the least time until the next try, in s; None leaves it to the
    worker.
    """

    unavailable = True

    def __init__(self, reason: str, *, after: float | None = None) -> None:
        super().__init__(reason)
        self.reason = reason
        self.retry_after_s = _seconds(after)


def _seconds(after: float | None) -> float | None:
    """``after``, checked here so that the author sees the mistake where it was made."""
    if after is None:
        return None
    if not isinstance(after, int | float):
        raise TypeError(f"after is a number of seconds, as 30, and no {type(after).__name__}")
    if not (math.isfinite(after) and after >= 0):
        raise ValueError(f"after is a number of seconds from 0 on, and not {after}")
    return after


LONGEST_REASON = 1_000
"""Characters of a handler's own words that are logged, and kept with a dead letter."""


def own_words(error: BaseException | None) -> str:
    """The handler's text of ``error``, in one line, or why a record is no event. Empty for any other
    exception, whose text may hold values."""
    if not isinstance(error, HandlerOutcome | NotAnEvent):
        return ""
    return "".join(c if c.isprintable() else " " for c in str(error))[:LONGEST_REASON]


@dataclass(frozen=True, slots=True)
class Failure:
    """Why a record is given up, in words that hold none of its values.

    ``error`` is the exception's type and place. ``reason`` is the handler's own text (of ``Reject`` or
    ``Retry``), or why the record is no event; empty for any other exception, whose text may hold values.
    ``frames`` of any other exception: file, line and function of its traceback, the deepest last, one a line.

    ``exception`` is what was raised, and may hold values; None when another process saw it.
    """

    error: str
    attempts: int
    reason: str = ""
    frames: str = ""
    exception: BaseException | None = field(default=None, repr=False, compare=False)

    @classmethod
    def of(cls, error: BaseException | None, package: str, attempts: int) -> "Failure":
        """``package`` holds the consumer's own code; ``attempts`` is how often the record was tried."""
        where = error_location(error, package)
        if isinstance(error, HandlerOutcome | NotAnEvent):
            return cls(where, attempts, reason=own_words(error), exception=error)
        return cls(where, attempts, frames="\n".join(error_frames(error)), exception=error)
