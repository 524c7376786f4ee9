"""Which partitions wait because a dependency is down, and which of their records is tried meanwhile.

While a partition is paused, one of its records at a time is tried, each time another, and those that were not
tried yet come first. When one works, the pause ends, and the others' failures count as their own
(``dingbridge/availability.py``). It counts as working only if its attempt called at least the dependencies of
the failed one: an event that was filtered out called none.
"""

import asyncio
import time
from collections import deque
from collections.abc import Callable, Collection
from dataclasses import dataclass, field
from itertools import chain
from typing import Final

import structlog
from aiokafka import TopicPartition

from dingbridge.availability import Availability, own_delay_s, spread_s
from dingbridge.dingtalk.errors import ApiError
from dingbridge.error_location import error_location
from dingbridge.errors import SettingsError
from dingbridge.retry import ASKED_MAX_S, delay
from dingbridge.worker.outcomes import DependencyUnavailable
from dingbridge.worker.queues.offset_tracker import QueuedRecord
from dingbridge.worker.store.errors import DatabaseDown

log = structlog.get_logger(__name__)

Asked = frozenset[str]
"""The dependencies that an attempt called, by name; ``HANDLER`` if it named none."""

HANDLER: Final[Asked] = frozenset({"handler"})
DEAD_LETTERS: Final[Asked] = frozenset({"dead letters"})


_OF_ALL: Final = ("address", "month", "token")
"""A refusal about one of these concerns every record. One about a ``right`` does not depend on the record
either, but other events of the partition may not need that right."""


@dataclass(slots=True, eq=False)
class Pause:
    """Why and since when a partition waits. ``probe`` is the record being tried; ``waiting`` are heads of
    keys that were not tried yet, ``tried`` those that were. ``since`` is of ``time.monotonic``, ``next_at``
    epoch s. ``certain``: the error itself shows that it concerns every record."""

    reason: str
    asked: Asked
    certain: bool
    since: float = field(default_factory=time.monotonic)
    failures: int = 0
    probe: QueuedRecord | None = None
    waiting: deque[QueuedRecord] = field(default_factory=deque)
    tried: deque[QueuedRecord] = field(default_factory=deque)
    next_at: float | None = None
    timer: asyncio.TimerHandle | None = None

    @property
    def next(self) -> QueuedRecord | None:
        """The record that is tried, or is the next one to be."""
        return self.probe or next(chain(self.waiting, self.tried), None)

    def take_next(self) -> QueuedRecord | None:
        """``next``, no longer among those that wait; None when there is none."""
        queue = self.waiting or self.tried
        return queue.popleft() if queue else None


class Pauses:
    """The pauses of one scheduler. ``put`` queues a record for a runner, ``on_change`` is called when
    ``not_to_fetch`` or ``down`` may have changed, ``package`` holds the consumer's code."""

    def __init__(
        self, put: Callable[[QueuedRecord], None], on_change: Callable[[], None], package: str
    ) -> None:
        self._put, self._on_change, self._package = put, on_change, package
        self._available: dict[tuple[str, Asked], Availability] = {}
        self.of: dict[TopicPartition, Pause] = {}

    def down(self) -> dict[TopicPartition, str]:
        """Partitions that wait, and for what."""
        return {partition: pause.reason for partition, pause in self.of.items()}

    def not_to_fetch(self) -> dict[TopicPartition, str]:
        """Those of ``down`` with records that were not tried yet, or where no record can be at fault."""
        return {p: pause.reason for p, pause in self.of.items() if pause.certain or pause.waiting}

    def down_for_s(self) -> float:
        """For how long, in s, the partition has waited that waits longest; 0 if none does."""
        return max((time.monotonic() - pause.since for pause in self.of.values()), default=0.0)

    def must_wait(self, queued: QueuedRecord) -> bool:
        """Whether ``queued`` may not be tried now; if so, it is put in line here."""
        pause = self.of.get(queued.partition)
        if pause is None or pause.probe is queued:
            return False
        fresh = queued.failed_at is None
        if fresh and not pause.certain and pause.probe is None and not pause.waiting:
            self._stop_timer(pause)  # all others were tried and failed, so try this one now
            pause.probe = queued
            return False
        (pause.waiting if fresh else pause.tried).append(queued)
        self._on_change()
        return True

    def failed(
        self, queued: QueuedRecord, error: BaseException | None, asked: Asked, after: float | None
    ) -> float | None:
        """An attempt at ``queued`` failed; decide whether the record itself caused it, and note that in it.
        ``after`` is the least delay that was asked for, in s. Returns for how long it waits alone, in s; None
        when its whole partition is paused."""
        now = time.time()
        about = error.about if isinstance(error, ApiError) else None
        certain = about in _OF_ALL or asked == DEAD_LETTERS or isinstance(error, DatabaseDown | SettingsError)
        available = self._available.setdefault((queued.partition.topic, asked), Availability())
        own = available.failed(queued.failed_at, now)
        queued.failed_at, before = now, queued.failed_at
        queued.failed_asking = asked
        if own and not (certain or about == "right"):
            queued.own_failures += 1
            queued.own_since = queued.own_since or before
        elif queued.own_since is not None and before is not None:
            queued.own_since += now - before  # it worked for nobody in this time
        if queued.own_failures and not certain:
            return max(own_delay_s(queued.own_failures), min(after or 0, ASKED_MAX_S))
        if about != "right" and (certain or available.is_down or queued.partition in self.of):
            calls = isinstance(error, ApiError)
            self._pause(queued, _reason(error, self._package), asked, certain, after, calls=calls)
            return None
        wait = delay(1, asked_s=after)
        return max(wait, spread_s(now - queued.fetched_at)) if about == "right" else wait

    def worked(self, queued: QueuedRecord, asked: Asked) -> None:
        """An attempt at ``queued`` got an answer from every dependency in ``asked``: the pauses of its topic
        that wait for no other end."""
        if not self._available:
            return
        topic, now = queued.partition.topic, time.time()
        for (of_topic, of_asked), available in self._available.items():
            if of_topic == topic and of_asked <= asked:
                available.worked(now)
        for partition, pause in list(self.of.items()):
            serves = partition.topic == topic and pause.asked <= asked
            if serves and (pause.probe is queued or not pause.certain):
                self._resume(partition)

    def ended(self, queued: QueuedRecord) -> None:
        """An attempt at ``queued`` has ended. If it was the probe of a paused partition, the next record is
        tried."""
        pause = self.of.get(queued.partition)
        if pause is not None and pause.probe is queued:
            pause.probe = None
            self._try_next(queued.partition, 0 if pause.waiting else delay(pause.failures))

    def drop(self, partitions: Collection[TopicPartition]) -> None:
        """``partitions`` are being handed over."""
        for partition in partitions:
            if (pause := self.of.pop(partition, None)) is not None:
                self._stop_timer(pause)

    def _pause(
        self,
        queued: QueuedRecord,
        reason: str,
        asked: Asked,
        certain: bool,
        after: float | None,
        *,
        calls: bool,
    ) -> None:
        pause = self.of.get(queued.partition)
        if pause is None:
            pause = self.of[queued.partition] = Pause(reason, asked, certain)
        elif pause.probe is not queued:
            pause.tried.append(queued)  # it was running when the pause began
            return
        pause.tried.append(queued)
        pause.reason, pause.asked, pause.certain, pause.probe = reason, asked, certain, None
        pause.failures += 1
        wait = delay(pause.failures, asked_s=after)
        if calls:
            wait = max(wait, spread_s(time.monotonic() - pause.since))
        log.warning(
            "consumer.paused",
            topic=queued.partition.topic,
            partition=queued.partition.partition,
            offset=queued.offset,
            reason=reason,
            retry_in_s=round(wait, 2),
        )
        self._try_next(queued.partition, wait)
        self._on_change()

    def _try_next(self, partition: TopicPartition, wait_s: float) -> None:
        pause = self.of[partition]
        self._stop_timer(pause)
        pause.next_at = time.time() + wait_s
        pause.timer = asyncio.get_running_loop().call_later(wait_s, self._try, partition)

    def _try(self, partition: TopicPartition) -> None:
        pause = self.of[partition]
        pause.next_at = pause.timer = None
        pause.probe = pause.take_next()
        if pause.probe is None:  # no record is left that could end the pause
            self._resume(partition)
            return
        self._put(pause.probe)
        self._on_change()

    def _stop_timer(self, pause: Pause) -> None:
        if pause.timer is not None:
            pause.timer.cancel()
            pause.next_at = pause.timer = None

    def _resume(self, partition: TopicPartition) -> None:
        pause = self.of.pop(partition)
        self._stop_timer(pause)
        log.info(
            "consumer.resumed",
            topic=partition.topic,
            partition=partition.partition,
            after_s=round(time.monotonic() - pause.since, 1),
        )
        for queued in (*pause.waiting, *pause.tried):
            self._put(queued)
        self._on_change()


def _reason(error: BaseException | None, package: str) -> str:
    """Why a partition waits, in words that hold no values."""
    if isinstance(error, DependencyUnavailable):
        return error.reason
    if isinstance(error, SettingsError):  # and these say what to set
        return "; ".join(error.problems)
    where = error_location(error, package)
    return f"{where}, about the {error.about}" if isinstance(error, ApiError) else where
