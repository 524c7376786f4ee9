"""What follows from an attempt: the record is at its end, is tried again, waits, or is to be given up."""

import asyncio
import time
from collections.abc import Callable
from functools import partial

import structlog

from dingbridge.availability import is_given_up
from dingbridge.dingtalk.errors import ApiError
from dingbridge.error_location import error_location
from dingbridge.retry import delay
from dingbridge.worker.attempts.executor import Outcome
from dingbridge.worker.consumer import Consumer
from dingbridge.worker.outcomes import Failure, own_words
from dingbridge.worker.queues.breaker import DATABASE, HANDLER, SETTINGS, Breakers, Dependency
from dingbridge.worker.queues.in_flight import words_of
from dingbridge.worker.queues.offset_tracker import QueuedRecord

log = structlog.get_logger(__name__)


class Retries:
    """``put`` queues a record to be worked on."""

    def __init__(self, consumer: Consumer, breakers: Breakers, put: Callable[[QueuedRecord], None]) -> None:
        self._consumer, self._breakers, self._put = consumer, breakers, put
        self._package = type(consumer).__module__.split(".")[0]
        self._words = partial(words_of, consumer.name)
        self._answered = HANDLER | SETTINGS | (DATABASE if consumer.uses_database else frozenset())

    def settle(self, queued: QueuedRecord, outcome: Outcome) -> bool:
        """Do what ``outcome`` asks for; whether ``queued`` is at its end, well or to be given up."""
        kind = outcome.kind
        if kind == "done":
            self.worked(queued, outcome)
        elif kind == "unavailable":
            self.unavailable(queued, outcome.error, outcome.asked or HANDLER, outcome.after)
        elif kind == "given_up":
            queued.failure = outcome.failure
        elif kind != "seen":
            if isinstance(outcome.error, ApiError):  # DingTalk answered
                self._breakers.worked(queued, outcome.asked)
            trouble = queued.troubled
            trouble.attempts += outcome.counts
            most = self._consumer.max_attempts
            last = outcome.counts and most is not None and trouble.attempts >= most
            if kind == "retry" and not last:
                self._later(queued, outcome)
                return False
            queued.failure = self.failure(queued, outcome.error)
        return kind != "unavailable" or queued.failure is not None

    def worked(self, queued: QueuedRecord, outcome: Outcome) -> None:
        asked = outcome.asked | self._answered
        if queued.trouble is not None:
            asked |= queued.trouble.failed_asking
        self._breakers.worked(queued, asked)

    def failure(self, queued: QueuedRecord, error: BaseException | None) -> Failure:
        trouble = queued.troubled
        return Failure.of(error, self._package, max(1, trouble.attempts + trouble.own_failures))

    def _later(self, queued: QueuedRecord, outcome: Outcome) -> None:
        consumer, trouble = self._consumer, queued.troubled
        wait = outcome.after
        if wait is None:
            wait = delay(trouble.attempts, consumer.retry_first_s, consumer.retry_max_s)
        if outcome.counts or (outcome.error and outcome.error.__cause__):
            trouble.outcome, trouble.error = outcome.kind, error_location(outcome.error, self._package)
        else:  # it made progress, or waits as planned: nothing failed
            trouble.outcome = trouble.error = ""
        if outcome.counts:
            self._log_retry(queued, outcome.error, wait)
        self._put_after(wait, queued)
        self._breakers.ended(queued)

    def unavailable(
        self, queued: QueuedRecord, error: BaseException | None, asked: Dependency, after: float | None
    ) -> None:
        """A dependency failed, perhaps not because of ``queued``. The record waits, alone or for the
        dependency, or is given up."""
        trouble = queued.troubled
        trouble.outcome, trouble.error = "unavailable", error_location(error, self._package)
        own_before = trouble.own_failures
        wait = self._breakers.failed(queued, error, asked, after)
        if wait is None:
            return
        gives_up = trouble.own_failures > own_before and self._consumer.max_attempts is not None
        if gives_up and queued.failure is None and is_given_up(trouble.own_since, time.monotonic()):
            queued.failure = self.failure(queued, error)
            return
        self._log_retry(queued, error, wait)
        self._put_after(wait, queued)
        self._breakers.ended(queued)

    def _log_retry(self, queued: QueuedRecord, error: BaseException | None, wait_s: float) -> None:
        log.warning(
            "consumer.retry",
            **self._words(queued),
            error=queued.troubled.error,
            reason=own_words(error) or None,
            retry_in_s=round(wait_s, 2),
        )

    def _put_after(self, wait_s: float, queued: QueuedRecord) -> None:
        queued.timer = asyncio.get_running_loop().call_later(wait_s, self._put_again, queued)

    def _put_again(self, queued: QueuedRecord) -> None:
        queued.timer = None
        self._put(queued)
