"""Ends handlers that take too long. One timer looks at all tasks, so a handler costs neither a task nor a
timer of its own. While no handler runs there is no timer.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import Any

import structlog

from dingbridge.worker.outcomes import Retry

log = structlog.get_logger(__name__)

LOOKS_EVERY_S = 0.25
"""The longest time between two looks, in s; a quarter of a shorter time limit."""

CANCEL_GRACE_S = 5
"""How long a handler may take to end once it is cancelled, in s. Past it, its task is left behind."""


class Turn:
    """The work of one task, which awaits the halves of handlers, each in turn. ``on_stuck`` is called when a
    half ignores being cancelled; the turn is ``stuck`` then, and its task is to do nothing more."""

    __slots__ = ("began", "cut_at", "half", "limit_s", "on_stuck", "revoked", "stuck", "task", "watchdog")

    def __init__(self, watchdog: "Watchdog", on_stuck: Callable[["Turn"], None]) -> None:
        self.task: asyncio.Task[Any] | None = None
        self.watchdog, self.on_stuck = watchdog, on_stuck
        self.half = ""
        self.began = self.limit_s = 0.0
        self.cut_at: float | None = None
        self.revoked = self.stuck = False

    async def run(self, half: str, work: Awaitable[Any], limit_s: float) -> Any:
        """Await ``work``, which is the ``half`` of a handler. Raises ``TooLong`` past ``limit_s``, whatever
        the handler then raises, and ``SelfCancelled`` when the handler cancelled itself."""
        self.half, self.began, self.limit_s = half, time.monotonic(), limit_s
        if not self.watchdog.armed:
            self.watchdog.arm()
        try:
            result = await work
            if self.cut_at is None and (self.task is None or not self.task.cancelling()):
                return result
            await asyncio.sleep(0)  # it swallowed the cancellation, or it is raised here, at the next await
            raise asyncio.CancelledError
        except (Exception, asyncio.CancelledError) as error:
            if self.stuck or self.revoked:
                raise asyncio.CancelledError from error
            cut, own = self.cut_at is not None, isinstance(error, asyncio.CancelledError)
            self.restore()
            if cut:
                raise TooLong(half, limit_s) from None
            if own and self.task is not None:
                raise SelfCancelled from error
            raise
        finally:
            self.half = ""

    def restore(self) -> None:
        """Leave nothing of a cancellation that has ended: the task goes on."""
        self.cut_at, self.revoked = None, False
        while self.task is not None and self.task.cancelling():
            self.task.uncancel()

    def cut(self) -> None:
        """Cancel what runs, because its partition goes to another member."""
        self.revoked, self.cut_at = True, time.monotonic()
        if self.task is not None:
            self.task.cancel()


class SelfCancelled(Exception):
    """The handler cancelled the task that it runs in, or awaited a task that was cancelled."""


class TooLong(Retry):
    """A half of a handler took longer than it may."""

    def __init__(self, half: str, limit_s: float) -> None:
        super().__init__(f"{half} took longer than handler_timeout_s ({limit_s:g} s)")


class Watchdog:
    """Looks at ``turns``. ``limit_s`` is the shortest time limit that they have."""

    def __init__(self, consumer: str, limit_s: float) -> None:
        self._consumer, self._every_s = consumer, min(LOOKS_EVERY_S, limit_s / 4)
        self.turns: set[Turn] = set()
        self.armed = False

    def arm(self) -> None:
        """Look after a while, and again while a handler runs."""
        self.armed = True
        asyncio.get_running_loop().call_later(self._every_s, self._look_at_all)

    def _look_at_all(self) -> None:
        self.armed = False
        now = time.monotonic()
        for turn in tuple(self.turns):
            self._look(turn, now)
        if any(turn.half for turn in self.turns):
            self.arm()

    def _look(self, turn: Turn, now: float) -> None:
        if not turn.half or turn.task is None:
            return
        if turn.cut_at is None:
            if now - turn.began > turn.limit_s:
                turn.cut_at = now
                turn.task.cancel()
        elif now - turn.cut_at > CANCEL_GRACE_S:
            self.turns.discard(turn)
            turn.stuck = True
            log.error(
                "consumer.handler_stuck",
                consumer=self._consumer,
                half=turn.half,
                meaning="cancelled, it does not end; its key goes on without it",
            )
            turn.on_stuck(turn)
