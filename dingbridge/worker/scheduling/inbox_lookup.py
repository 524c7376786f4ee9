"""Asks the inbox table which of the waiting records are known, many in one statement, before anything is
prepared for them: a run that was published twice then costs no call, and a restart behind many known records
is quick.
"""

import asyncio
from collections.abc import Callable, Iterable
from itertools import chain
from typing import cast

from dingbridge.events.event import Event
from dingbridge.worker.attempts.executor import Executor
from dingbridge.worker.delivery import Delivery
from dingbridge.worker.queues.key_queue import KeyQueues
from dingbridge.worker.queues.offset_tracker import QueuedRecord
from dingbridge.worker.scheduling.together import MOST_TOGETHER, Together


class InboxLookup:
    """One statement at a time; whoever comes meanwhile waits for it, and mostly has the answer then.

    ``heads`` returns the first records of the key queues that are worked on now or next."""

    def __init__(
        self,
        executor: Executor,
        together: Together,
        queues: KeyQueues,
        heads: Callable[[], Iterable[QueuedRecord]],
    ) -> None:
        self._executor, self._together, self._queues, self._heads = executor, together, queues, heads
        self.repeats = False
        """Whether the last record was known: those behind it probably are, too."""
        self._asking: asyncio.Event | None = None

    def needed(self, head: QueuedRecord) -> bool:
        """Return whether to ask before ``head`` is attempted; else its transaction finds out."""
        return head.known is None and (self.repeats or head.careful or self._executor.asks_inbox_first)

    async def ask(self, head: QueuedRecord) -> None:
        """Find out whether ``head`` is known, and the records behind it. Raises ``DatabaseDown``."""
        while head.known is None:
            if self._asking is not None:
                await self._asking.wait()
                continue
            self._asking = asyncio.Event()
            try:
                await self._ask_for(self._next(head))
            finally:
                self._asking.set()
                self._asking = None
        self.repeats = bool(head.known)

    def _next(self, head: QueuedRecord) -> list[QueuedRecord]:
        found: dict[QueuedRecord, None] = {}
        for first in chain((head,), self._heads()):
            for queued in self._queues.from_head(first) if not first.finished else ():
                if queued.known is None:
                    found[queued] = None
                    if len(found) == MOST_TOGETHER:
                        return list(found)
        return list(found)

    async def _ask_for(self, records: list[QueuedRecord]) -> None:
        readable = [one for one in records if self._together.decode(one) is None and one.failure is None]
        outcomes = await self._executor.known(
            [(cast(Event, one.event), cast(Delivery, one.delivery)) for one in readable]
        )
        for queued in records:
            queued.known = False
        for queued, outcome in zip(readable, outcomes, strict=True):
            queued.known = outcome is not None
            if outcome is not None and outcome.failure is not None and not queued.finished:
                queued.failure = outcome.failure
