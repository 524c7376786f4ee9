"""One attempt to handle one event: inbox, ``prepare``, transaction, ``handle``, and the outcome's name.

The worker and the in-memory runner both call ``Processor.attempt``; it knows nothing of Kafka, of keys, or of
how often an event has been tried.
"""

import asyncio
import hashlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any, Literal

from bridge.errors import SettingsError
from consumers.runtime import inbox
from consumers.runtime.consumer import Consumer
from consumers.runtime.database import Database
from consumers.runtime.database_errors import DatabaseDown
from consumers.runtime.outcomes import Again, Reject, Retry, WorldDown
from dingtalk.errors import ApiError
from schemas.event import Event

MAX_AGAIN = 10
"""``Again`` in a row before it counts as a ``Retry``: by then the world moves faster than the handler."""

PING_TIMEOUT_S = 5
"""How long the database may take to answer a ``SELECT 1`` after a handler ran out of time, in s."""

OutcomeKind = Literal["done", "seen", "retry", "reject", "world_down", "not_an_event"]


@dataclass(frozen=True, slots=True)
class Outcome:
    """How an attempt ended.

    ``done``: the effect is committed. ``seen``: it was, by an earlier delivery. ``retry``: later, ``after`` s
    (None: as the worker likes). ``reject`` and ``not_an_event``: to the dead letters. ``world_down``: no
    event's fault. ``error`` is what was raised, None for the first two.
    """

    kind: OutcomeKind
    error: BaseException | None = None
    after: float | None = None


_PATIENCE: tuple[OutcomeKind, ...] = ("world_down", "retry", "reject")


class Processor:
    """Runs the handler of ``consumer`` against ``database``, one attempt at a time; safe to call concurrently
    for different keys."""

    def __init__(self, consumer: Consumer, database: Database) -> None:
        self._consumer, self._database = consumer, database
        self._reader = database.reader()
        self._prepares = type(consumer).prepare is not Consumer.prepare

    async def attempt(self, event: Event, replay_id: str = "") -> Outcome:
        """Try ``event`` once (``Again`` repeats it at once). Raises nothing but ``CancelledError``; a
        cancelled attempt has no effect, or the whole effect."""
        again: Again | None = None
        try:
            for _ in range(MAX_AGAIN + 1):
                try:
                    return Outcome("done" if await self._once(event, replay_id) else "seen")
                except Again as error:
                    again = error
            return Outcome("retry", again)
        except asyncio.CancelledError as error:
            task = asyncio.current_task()
            if task is None or task.cancelling():
                raise
            return Outcome("retry", error)  # nobody cancelled us: a task that the handler awaited was
        except Exception as error:
            return classify(error)

    async def _once(self, event: Event, replay_id: str) -> bool:
        consumer = self._consumer
        prepared = None
        if self._prepares:  # else looking into the inbox would save nothing: ``enter`` looks too
            if await inbox.seen(self._reader, consumer.name, event, replay_id):
                return False
            async with self._time_limit("prepare"):
                prepared = await consumer.prepare(event, self._reader)
        async with self._database.transaction() as tx:
            if not await inbox.enter(tx, consumer.name, event, replay_id):
                return False
            async with self._time_limit("handle"):
                await consumer.handle(event, tx, prepared)
        return True

    @asynccontextmanager
    async def _time_limit(self, half: str) -> AsyncIterator[None]:
        limit = self._consumer.handler_timeout_s
        try:
            async with asyncio.timeout(limit) as timeout:
                yield
        except TimeoutError as error:
            if not timeout.expired():
                raise
            # a database that hangs makes every handler hang; that is not the event's fault
            if not await self._database.answers(PING_TIMEOUT_S):
                raise DatabaseDown("the database does not answer") from error
            raise Retry(f"{half} took longer than handler_timeout_s ({limit:g} s)") from error


def classify(error: Exception) -> Outcome:
    """The outcome that ``error``, raised by a handler or by what it called, stands for. Of a group of errors
    it is the outcome of the one that asks for most patience."""
    if isinstance(error, ExceptionGroup):
        outcomes = [classify(member) for member in error.exceptions]
        return min(outcomes, key=lambda outcome: _PATIENCE.index(outcome.kind))
    if isinstance(error, Reject):
        return Outcome("reject", error)
    if isinstance(error, Retry):
        return Outcome("retry", error, error.after)
    if isinstance(error, ApiError) and error.world_down:
        return Outcome("world_down", error, getattr(error, "retry_after_s", None))
    if isinstance(error, WorldDown):
        return Outcome("world_down", error, error.after)
    # settings that are missing would send every event to the dead letters
    if isinstance(error, SettingsError):
        return Outcome("world_down", error)
    return Outcome("retry", error)


def place(error: BaseException | None, package: str) -> str:
    """Type of ``error`` and where it was raised, without its text, which may hold personal values.

    The place is the deepest frame within ``package`` (the consumer's own code) if there is one.
    """
    if error is None:
        return "none"
    name = type(error).__qualname__
    module = type(error).__module__
    found: tuple[Any, int] | None = None
    deepest: tuple[Any, int] | None = None
    trace = error.__traceback__
    while trace is not None:
        deepest = (trace.tb_frame, trace.tb_lineno)
        if str(trace.tb_frame.f_globals.get("__name__", "")).split(".")[0] == package:
            found = deepest
        trace = trace.tb_next
    kind = name if module == "builtins" else f"{module}.{name}"
    where = found or deepest
    if where is None:
        return kind
    frame, line = where
    return f"{kind} at {frame.f_globals.get('__name__', '?')}:{line} in {frame.f_code.co_name}"


def key_hash(key: bytes | None) -> str:
    """Names a key in logs: the same for the same key, and the user id in it cannot be read off."""
    return hashlib.sha256(key or b"").hexdigest()[:12]
