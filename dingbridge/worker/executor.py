"""One attempt to handle one event: inbox, ``prepare``, transaction, ``handle``, and the outcome's name.

The worker and the in-memory runtime both call ``Executor.attempt``; it knows nothing of Kafka's topics, of
queues, or of when an event is tried again. An event that is given up is ``dead_letters.py``'s.
"""

import asyncio
from collections.abc import Coroutine, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import cached_property
from typing import Any, Literal

import structlog

from dingbridge.apps.company import Companies
from dingbridge.dingtalk.errors import ApiError
from dingbridge.errors import BridgeError, SettingsError
from dingbridge.events.control import RESYNC_REQUESTED
from dingbridge.events.event import Event
from dingbridge.settings.apps import companies
from dingbridge.tracing import Tracer
from dingbridge.worker.consumer import Consumer
from dingbridge.worker.context import Context
from dingbridge.worker.delivery import Delivery
from dingbridge.worker.handlers.marks import Handler, Prepare, bound_handlers
from dingbridge.worker.outcomes import Conflict, Failure, HandlerOutcome, Reject, Retry
from dingbridge.worker.store import inbox, outbox
from dingbridge.worker.store.database import ANSWER_TIMEOUT_S, Database
from dingbridge.worker.store.errors import DatabaseDown, answered
from dingbridge.worker.store.transaction import Transaction
from dingbridge.worker.store.without_database import no_reader, no_transaction

log = structlog.get_logger(__name__)

MAX_CONFLICTS = 10
"""``Conflict`` in a row before it counts as a ``Retry``: the state changes too fast for the handler."""

PING_TIMEOUT_S = 5
"""How long the database may take to answer a ``SELECT 1`` after a handler ran out of time, in s."""

CANCEL_GRACE_S = 5
"""How long a handler may take to end once it is cancelled, in s. Past it, it is left alone without its
transaction, and its key goes on."""

OutcomeKind = Literal["done", "seen", "retry", "reject", "unavailable", "not_an_event", "given_up"]

HELD_MOST_S = 3600
"""A resync request that is due even later comes from a wrong clock, and is done at once."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """How an attempt ended.

    ``done``: the effect is committed. ``seen``: an earlier delivery committed it. ``retry``: later, ``after``
    s (None: as the worker likes). ``reject`` and ``not_an_event``: to the dead letters. ``given_up``: it was
    given up before, for ``failure``; its dead letter may not have been sent. ``unavailable``: a dependency is
    down. ``error`` is what was raised, if anything. ``counts``: of a retry, whether it is one of the
    attempts. ``asked``: what the handler asked (``Context.asks``).
    """

    kind: OutcomeKind
    error: BaseException | None = None
    after: float | None = None
    counts: bool = True
    failure: Failure | None = None
    asked: frozenset[str] = frozenset()


_DONE, _SEEN = Outcome("done"), Outcome("seen")
_ORDINARY = Delivery()

Came = tuple[Event, Delivery]
"""One event, and how it came."""

_MOST_PATIENT_FIRST: tuple[OutcomeKind, ...] = ("unavailable", "retry", "reject")


class _NotFresh(Exception):
    """One of the records is in the inbox already, or was given up before it came again."""


class Executor:
    """Runs the handler of ``consumer`` against ``database``, one attempt at a time; safe to call concurrently
    for different keys. ``database`` is None for a consumer that uses none, ``tracer`` where nothing is
    traced."""

    def __init__(self, consumer: Consumer, database: Database | None, tracer: Tracer | None = None) -> None:
        self._consumer, self.database, self._tracer = consumer, database, tracer
        self._reader = no_reader() if database is None else database.reader()
        self._own_reader = no_reader() if database is None else database.reader(ANSWER_TIMEOUT_S)
        # waits for another process that handles the same event, and if that is frozen, for the server's limit
        self._enter_within_s = consumer.handler_timeout_s + ANSWER_TIMEOUT_S
        prepare = None if type(consumer).prepare is Consumer.prepare else consumer.prepare
        self._without_handler = (prepare, consumer.handle)
        self._handlers = bound_handlers(consumer, prepare)

    def context(
        self,
        event: Event,
        delivery: Delivery = _ORDINARY,
        attempt: int = 1,
        together: tuple[Event, ...] = (),
    ) -> Context:
        """What the handler is given with ``event``."""
        consumer = self._consumer
        return Context(
            self._reader,
            lambda: consumer.dingtalk_of(event.app, event.corp_id),
            attempt,
            delivery.position,
            delivery.replay_id,
            together or (event,),
        )

    async def attempt(self, event: Event, delivery: Delivery = _ORDINARY, number: int = 1) -> Outcome:
        """Try ``event``, for the ``number``-th time (``Conflict`` repeats it at once). Raises nothing but
        ``CancelledError``; a cancelled attempt has no effect, or the whole effect."""
        return await self.attempt_together([(event, delivery)], number)

    async def attempt_together(self, came: Sequence[Came], number: int = 1) -> Outcome:
        """``attempt`` for events that share a fetch, oldest first: the handler is called with the newest. Of
        several events only ``done`` is an outcome of all; any other is an outcome of none."""
        try:
            came = [(self._of_its_company(event), delivery) for event, delivery in came]
        except SettingsError as error:  # the apps file was broken after the start
            return classify(error)
        event, delivery = came[-1]
        if self._tracer is None:
            return await self._attempt(came, number)
        with self._tracer.attempt(self._consumer.name, event, delivery.position, number) as span:
            outcome = await self._attempt(came, number)
            if span is not None:
                span.end(outcome.kind, None if outcome.error is None else type(outcome.error).__name__)
        return outcome

    @cached_property
    def _companies(self) -> Companies:
        """Read when an event comes, since the consumer has its settings by then."""
        return companies(self._consumer.settings)

    def _of_its_company(self, event: Event) -> Event:
        """Return ``event`` under the company of its app, whatever company it names."""
        # Invariant 8: an approval that is known under two companies would run its action twice
        corp_id = self._companies.of(event.app, event.corp_id)
        return event if corp_id == event.corp_id else replace(event, corp_id=corp_id)

    async def _attempt(self, came: Sequence[Came], number: int) -> Outcome:
        event, delivery = came[-1]
        ctx = self.context(event, delivery, number, tuple(one for one, _ in came))
        outcome = await self._outcome(came, ctx)
        if isinstance(outcome.error, ApiError):  # the handler may have used another client than the context's
            ctx.asks("dingtalk")
        return replace(outcome, asked=frozenset(ctx.asked)) if ctx.asked else outcome

    async def _outcome(self, came: Sequence[Came], ctx: Context) -> Outcome:
        conflict: Conflict | None = None
        event, _ = came[-1]
        try:
            if event.type == RESYNC_REQUESTED:
                _hold_back(event)
            for _ in range(MAX_CONFLICTS + 1):
                try:
                    if self.database is None:
                        return await self._without_database(event, ctx)
                    return await self._with_database(self.database, came, ctx)
                except Conflict as error:
                    conflict = error
            return Outcome("retry", conflict)
        except asyncio.CancelledError as error:
            task = asyncio.current_task()
            if task is None or task.cancelling():
                raise
            return Outcome("retry", error)  # nobody cancelled us: a task that the handler awaited was
        except Exception as error:
            return classify(error, self._consumer.not_retryable)

    def _halves(self, event: Event) -> tuple[Prepare | None, Handler]:
        """The functions that prepare (None: nothing does) and handle ``event``."""
        return self._handlers.get(event.type, self._without_handler)

    async def _without_database(self, event: Event, ctx: Context) -> Outcome:
        """In this very task: no transaction can be left open by a handler that hangs, and a task for each
        half would double the cost."""
        prepare, handle = self._halves(event)
        prepared = None if prepare is None else await self._in_time("prepare", prepare(event, ctx))
        await self._in_time("handle", handle(event, no_transaction(ctx), prepared))
        return _DONE

    async def _in_time(self, half: str, work: Coroutine[Any, Any, Any]) -> Any:
        try:
            async with asyncio.timeout(self._consumer.handler_timeout_s) as limit:
                outcome = await work
        except TimeoutError:
            if not limit.expired():
                raise
        else:
            if not limit.expired():  # otherwise the handler swallowed the cancellation
                return outcome
        raise self._too_long(half)

    def _too_long(self, half: str) -> Retry:
        return Retry(f"{half} took longer than handler_timeout_s ({self._consumer.handler_timeout_s:g} s)")

    async def _with_database(self, database: Database, came: Sequence[Came], ctx: Context) -> Outcome:
        event, _ = came[-1]
        prepare, handle = self._halves(event)
        prepared = None
        if prepare is not None:  # otherwise a check first would save nothing: the transaction checks as well
            # a redelivery brings the older ones too, so the oldest decides for all
            if not await self._is_fresh(*came[0]):
                return await self._seen(came[0][1])
            prepared = await self._limited("prepare", prepare(event, ctx))
        try:
            async with database.transaction(ctx) as tx:
                async with answered(self._enter_within_s):
                    # Invariant 5: the inbox row stands in the transaction of the effect
                    await self._enter(tx, came, ctx.attempt)
                await self._limited("handle", handle(event, tx, prepared), tx)
        except _NotFresh:
            return await self._seen(came[-1][1])
        return _DONE

    async def _is_fresh(self, event: Event, delivery: Delivery) -> bool:
        known_as = event.source, event.id
        return not await inbox.seen(self._own_reader, self._consumer.name, known_as, delivery.replay_id)

    async def _enter(self, tx: Transaction, came: Sequence[Came], attempt: int) -> None:
        """Raises ``_NotFresh``."""
        name = self._consumer.name
        rows = [((event.source, event.id), by.replay_id, by.position.topic) for event, by in came]
        if len(rows) == 1:
            fresh = await inbox.enter(tx, name, *rows[0], attempt)
        else:
            fresh = await inbox.enter_all(tx, name, rows, attempt)
        if not fresh:
            raise _NotFresh

    async def _seen(self, delivery: Delivery) -> Outcome:
        """The event is in the inbox: its offset may be committed, unless it was given up and the process died
        before it sent the dead letter."""
        failure = await outbox.find(self._own_reader, self._consumer.name, delivery.position)
        return _SEEN if failure is None else Outcome("given_up", failure=failure)

    async def _limited(self, half: str, work: Coroutine[Any, Any, Any], tx: Transaction | None = None) -> Any:
        """Await ``work`` within the consumer's time limit, as a task of its own: it may not heed being
        cancelled, and is then left behind without its transaction ``tx``."""
        task = asyncio.create_task(work)
        try:
            await asyncio.wait((task,), timeout=self._consumer.handler_timeout_s)
            if task.done():
                return task.result()
        finally:
            if not task.done():
                await self._cut_off(task, half, tx)
        # a database that hangs makes every handler hang; the event does not cause it
        if self.database is not None and not await self.database.answers(PING_TIMEOUT_S):
            raise DatabaseDown("the database does not answer")
        raise self._too_long(half)

    async def _cut_off(self, task: asyncio.Task[Any], half: str, tx: Transaction | None) -> None:
        task.cancel()
        task.add_done_callback(_never_mind)
        try:
            await asyncio.wait({task}, timeout=CANCEL_GRACE_S)
        finally:
            if not task.done():
                if tx is not None:
                    tx.abandon()
                log.error(
                    "consumer.handler_stuck",
                    consumer=self._consumer.name,
                    half=half,
                    meaning="cancelled, it does not end; its key goes on without it",
                )


def _hold_back(request: Event) -> None:
    """Raises ``Retry`` before it is due: one request covers everything that happens until then."""
    early_s = (request.time - datetime.now(UTC)).total_seconds()
    if 0 < early_s <= HELD_MOST_S:
        raise Retry("it is done once for all events that name nobody", after=early_s, counts=False)


def _never_mind(task: asyncio.Task[Any]) -> None:
    """Fetch the exception of an abandoned task, so that asyncio does not log it."""
    if not task.cancelled():
        task.exception()


def classify(error: Exception, not_retryable: tuple[type[Exception], ...] = ()) -> Outcome:
    """The outcome that ``error``, raised by a handler or by what it called, stands for; ``not_retryable`` are
    those after which another attempt would fail the same way. For a group of errors it is the outcome that
    waits longest."""
    if isinstance(error, ExceptionGroup):
        outcomes = [classify(member, not_retryable) for member in error.exceptions]
        return min(outcomes, key=lambda outcome: _MOST_PATIENT_FIRST.index(outcome.kind))
    if isinstance(error, Reject):
        return Outcome("reject", error)
    if isinstance(error, Retry):
        return Outcome("retry", error, error.retry_after_s, error.counts)
    if isinstance(error, BridgeError) and error.unavailable:
        return Outcome("unavailable", error, error.retry_after_s)
    # settings that are missing would send every event to the dead letters
    if isinstance(error, SettingsError):
        return Outcome("unavailable", error)
    if isinstance(error, not_retryable) and not isinstance(error, HandlerOutcome):
        return Outcome("reject", error)
    if isinstance(error, ApiError):
        if error.about == "right":
            return Outcome("unavailable", error, error.retry_after_s)
        return Outcome("retry", error, error.retry_after_s)
    return Outcome("retry", error)
