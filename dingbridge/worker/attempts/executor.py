"""One attempt to handle one event: ``prepare``, then ``handle`` in a transaction, and the outcome's name.

The worker and the in-memory runtime both come here; it knows nothing of Kafka's topics, of queues, or of when
an event is tried again. What several events' transactions have in common is ``transactions.py``'s, an event
that is given up ``dead_letters.py``'s.
"""

import asyncio
import random
from collections.abc import Collection, Sequence
from copy import deepcopy
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import cached_property
from typing import Literal

import structlog

from dingbridge.apps.company import Companies
from dingbridge.dingtalk.errors import ApiError
from dingbridge.errors import BridgeError, SettingsError
from dingbridge.events.control import RESYNC_REQUESTED
from dingbridge.events.event import Event
from dingbridge.settings.apps import companies
from dingbridge.tracing import Tracer
from dingbridge.worker.attempts.transactions import PING_TIMEOUT_S, GroupTransactions, Job
from dingbridge.worker.attempts.watchdog import SelfCancelled, TooLong, Turn, Watchdog
from dingbridge.worker.consumer import Consumer
from dingbridge.worker.context import Context
from dingbridge.worker.delivery import Delivery
from dingbridge.worker.handlers.marks import Prepare, bound_handlers
from dingbridge.worker.outcomes import Conflict, Failure, HandlerOutcome, Reject, Retry
from dingbridge.worker.store import inbox, outbox
from dingbridge.worker.store.database import ANSWER_TIMEOUT_S, Database
from dingbridge.worker.store.errors import DatabaseDown
from dingbridge.worker.store.transaction import Transaction, no_reader, no_transaction

log = structlog.get_logger(__name__)

MAX_CONFLICTS = 10
"""``Conflict`` in a row before it counts as a ``Retry``: the state changes too fast for the handler."""

CONFLICT_PAUSE_S = (0.02, 0.1)
"""The shortest and the longest pause after a ``Conflict``, in s, or two members would keep step."""

OutcomeKind = Literal["done", "seen", "partly", "retry", "reject", "unavailable", "not_an_event", "given_up"]

HELD_MOST_S = 3600
"""A resync request that is due even later comes from a wrong clock, and is done at once."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """How an attempt ended.

    ``done``: the effect is committed. ``seen``: an earlier delivery committed it. ``partly``: of several
    events, some were. ``retry``: later, ``after`` s (None: as the worker likes). ``reject`` and
    ``not_an_event``: to the dead letters. ``given_up``: it was given up before, for ``failure``; its dead
    letter may not have been sent. ``unavailable``: a dependency is down. ``error`` is what was raised, if
    anything. ``counts``: of a retry, whether it is one of the attempts. ``asked``: the dependencies that it
    called (``Context.asks``).
    """

    kind: OutcomeKind
    error: BaseException | None = None
    after: float | None = None
    counts: bool = True
    failure: Failure | None = None
    asked: frozenset[str] = frozenset()


DONE, SEEN = Outcome("done"), Outcome("seen")
_ORDINARY = Delivery()

Delivered = tuple[Event, Delivery]
"""One event, and how it came."""

_LONGEST_WAIT_FIRST: tuple[OutcomeKind, ...] = ("unavailable", "retry", "reject")


class Executor:
    """Runs the handlers of ``consumer`` against ``database``; safe to call concurrently for different keys.
    ``database`` is None for a consumer that uses none, ``tracer`` where nothing is traced."""

    def __init__(self, consumer: Consumer, database: Database | None, tracer: Tracer | None = None) -> None:
        self._consumer, self.database, self._tracer = consumer, database, tracer
        self._name = consumer.name
        self.watchdog = Watchdog(consumer.name, consumer.handler_timeout_s)
        self._transactions: GroupTransactions | None = None
        if database is not None:
            self._transactions = GroupTransactions(consumer, database, self.watchdog)
        self._reader = no_reader() if database is None else database.reader()
        self._own_reader = no_reader() if database is None else database.reader(ANSWER_TIMEOUT_S)
        prepare = None if type(consumer).prepare is Consumer.prepare else consumer.prepare
        self._without_handler = (prepare, consumer.handle)
        self._handlers = bound_handlers(consumer, prepare)
        all_halves = (self._without_handler, *self._handlers.values())
        self.asks_inbox_first = database is not None and any(before is not None for before, _ in all_halves)
        """Whether something prepares: what is in the inbox table then must not cost a call. Otherwise the
        transaction finds it soon enough."""

    @property
    def _limit_s(self) -> float:
        return self._consumer.handler_timeout_s

    async def close(self) -> None:
        """End the transactions that run; their events have no effect."""
        if self._transactions is not None:
            await self._transactions.close()

    def applied_lately(self) -> frozenset[bytes]:
        """Hashes of inbox rows that were committed since ``forget_applied``; the newest, not all."""
        return frozenset() if self._transactions is None else frozenset(self._transactions.applied_lately)

    def forget_applied(self, hashes: Collection[bytes]) -> None:
        """What was committed after ``hashes`` shows in another way that the database has not lost them."""
        if self._transactions is not None:
            lately = self._transactions.applied_lately
            for hash_ in hashes:
                if hash_ in lately:
                    lately.remove(hash_)

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

    async def known(self, delivered: Sequence[Delivered]) -> list[Outcome | None]:
        """For each event how it ended, if the inbox table has it: ``seen`` or ``given_up``. Raises
        ``DatabaseDown``."""
        hashes = [self._hash(*one) for one in delivered]
        attempts = await inbox.attempts_of(self._own_reader, set(hashes))
        return [
            None if hash_ not in attempts else await self._seen(delivery, attempts[hash_] is None)
            for hash_, (_, delivery) in zip(hashes, delivered, strict=True)
        ]

    async def attempt(self, event: Event, delivery: Delivery = _ORDINARY, number: int = 1) -> Outcome:
        """Try ``event``, for the ``number``-th time, beside a scheduler. Raises nothing but
        ``CancelledError``."""
        kept = deepcopy(event)
        delivery = replace(delivery, again=lambda: deepcopy(kept))
        stuck = asyncio.get_running_loop().create_future()
        turn = Turn(self.watchdog, lambda _: stuck.set_result(None))
        work = turn.task = asyncio.create_task(self._attempt_alone((event, delivery), number, turn))
        self.watchdog.turns.add(turn)
        try:
            await asyncio.wait((work, stuck), return_when=asyncio.FIRST_COMPLETED)
            return work.result() if work.done() else Outcome("retry", TooLong(turn.half, self._limit_s))
        finally:
            self.watchdog.turns.discard(turn)
            if not work.done():
                turn.cut()
                await asyncio.wait((work,), timeout=0 if turn.stuck else self._limit_s)

    async def _attempt_alone(self, one: Delivered, number: int, turn: Turn) -> Outcome:
        if self.asks_inbox_first:
            try:
                [known] = await self.known([one])
            except DatabaseDown as error:
                return classify(error)
            if known is not None:
                return known
        return await self.attempt_together([one], number, turn)

    async def attempt_together(self, delivered: Sequence[Delivered], number: int, turn: Turn) -> Outcome:
        """Try events that share a fetch, oldest first, in the task of ``turn``: the handler is called with
        the newest. ``Conflict`` repeats it at once. Of several events only ``done`` and ``seen`` are outcomes
        of all; any other is an outcome of none. Raises nothing but ``CancelledError``; a cancelled attempt
        has no effect, or the whole effect."""
        try:
            delivered = self._distinct(delivered)
        except SettingsError as error:  # the apps file was broken after the start
            return classify(error)
        if self._tracer is None:
            return await self._attempt(delivered, number, turn)
        event, delivery = delivered[-1]
        with self._tracer.attempt(self._name, event, delivery.position, number) as span:
            outcome = await self._attempt(delivered, number, turn)
            if span is not None:
                span.end(outcome.kind, None if outcome.error is None else type(outcome.error).__name__)
        return outcome

    def _distinct(self, delivered: Sequence[Delivered]) -> list[Delivered]:
        """Return ``delivered`` under the companies of their apps, each event once: a run of records may have
        been published twice."""
        ours = [(self._of_its_company(event), delivery) for event, delivery in delivered]
        if len(ours) == 1:
            return ours
        # Invariant 5: a handler may write something for each event of a group
        found: dict[bytes, Delivered] = {}
        for one in ours:
            found.setdefault(self._hash(*one), one)
        return list(found.values())

    @cached_property
    def _companies(self) -> Companies:
        """Read when an event comes, since the consumer has its settings by then."""
        return companies(self._consumer.settings)

    def again(self, delivered: Sequence[Delivered]) -> tuple[Event, ...]:
        """Decode the events of ``delivered`` anew."""
        return tuple(
            event if delivery.again is None else self._of_its_company(delivery.again())
            for event, delivery in delivered
        )

    def _of_its_company(self, event: Event) -> Event:
        """Return ``event`` under the company of its app, whatever company it names."""
        # Invariant 8: an approval that is known under two companies would run its action twice
        corp_id = self._companies.of(event.app, event.corp_id)
        return event if corp_id == event.corp_id else replace(event, corp_id=corp_id)

    async def _attempt(self, delivered: Sequence[Delivered], number: int, turn: Turn) -> Outcome:
        event, _ = delivered[-1]
        calls = _Calls(self, delivered, number)
        prepare, handle = self._handlers.get(event.type, self._without_handler)
        try:
            if event.type == RESYNC_REQUESTED:
                _hold_back(event)
            if self._transactions is None:
                prepared = None
                if prepare is not None:
                    prepared = await turn.run("prepare", prepare(*calls.next()), self._limit_s)
                event, ctx = calls.next()
                await turn.run("handle", handle(event, no_transaction(ctx), prepared), self._limit_s)
                outcome = DONE
            else:
                outcome = await self._with_database(self._transactions, delivered, calls, turn)
        except SelfCancelled as error:
            outcome = Outcome("retry", error.__cause__)
        except Exception as error:
            outcome = classify(error, self._consumer.not_retryable)
            if isinstance(error, ApiError):  # the handler may have used another client than the context's
                calls.first.asks("dingtalk")
        asked = calls.first.asked
        return replace(outcome, asked=frozenset(asked)) if asked else outcome

    async def _with_database(
        self, transactions: GroupTransactions, delivered: Sequence[Delivered], calls: "_Calls", turn: Turn
    ) -> Outcome:
        event, delivery = delivered[-1]
        prepare, handle = self._handlers.get(event.type, self._without_handler)
        hashes = [self._hash(*one) for one in delivered]
        prepared: object = None

        async def work(tx: Transaction) -> None:
            event, ctx = calls.next()
            own = tx.of(ctx)
            with transactions.database.within_handler(own):
                await handle(event, own, prepared)

        for _ in range(MAX_CONFLICTS + 1):
            try:
                if prepare is not None:
                    prepared = await self._prepare(prepare, calls, turn)
                result = await transactions.apply(Job(calls.first.attempt, event.type, hashes, work))
            except Conflict as error:
                conflict = error
                await asyncio.sleep(random.uniform(*CONFLICT_PAUSE_S))  # noqa: S311 - no secret hangs on it
                continue
            if result in ("seen", "given_up"):
                return await self._seen(delivery, result == "given_up")
            return DONE if result == "done" else Outcome("partly")
        return Outcome("retry", conflict)

    async def _prepare(self, prepare: Prepare, calls: "_Calls", turn: Turn) -> object:
        try:
            return await turn.run("prepare", prepare(*calls.next()), self._limit_s)
        except TooLong:
            # a database that hangs makes every handler hang; the event does not cause it
            if self.database is not None and not await self.database.answers(PING_TIMEOUT_S):
                raise DatabaseDown("the database does not answer") from None
            raise

    def _hash(self, event: Event, delivery: Delivery) -> bytes:
        return inbox.hash_of(self._name, (event.source, event.id), delivery.replay_id)

    async def _seen(self, delivery: Delivery, was_given_up: bool) -> Outcome:
        """The event is in the inbox: its offset may be committed, unless it was given up and the process died
        before it sent the dead letter."""
        failure = None
        if was_given_up:
            failure = await outbox.find(self._own_reader, self._name, delivery.position)
        return SEEN if failure is None else Outcome("given_up", failure=failure)


class _Calls:
    """The arguments of the calls that one attempt makes. Each call has its own copies of the
    events, since a handler may change them. ``first`` is the context of the first call."""

    def __init__(self, executor: Executor, delivered: Sequence[Delivered], number: int) -> None:
        self._executor, self._delivered = executor, delivered
        event, delivery = delivered[-1]
        self.first = executor.context(event, delivery, number, tuple(one for one, _ in delivered))
        self._called = False

    def next(self) -> tuple[Event, Context]:
        """The event and the context for a call of ``prepare`` or ``handle``."""
        if not self._called:
            self._called = True
            return self.first.together[-1], self.first
        events = self._executor.again(self._delivered)
        return events[-1], replace(self.first, together=events)


def _hold_back(request: Event) -> None:
    """Raises ``Retry`` before it is due: one request covers everything that happens until then."""
    early_s = (request.time - datetime.now(UTC)).total_seconds()
    if 0 < early_s <= HELD_MOST_S:
        raise Retry("it is done once for all events that name nobody", after=early_s, counts=False)


def classify(error: Exception, not_retryable: tuple[type[Exception], ...] = ()) -> Outcome:
    """The outcome that ``error``, raised by a handler or by what it called, stands for; ``not_retryable`` are
    those after which another attempt would fail the same way. For a group of errors it is the outcome that
    waits longest."""
    if isinstance(error, ExceptionGroup):
        outcomes = [classify(member, not_retryable) for member in error.exceptions]
        return min(outcomes, key=lambda outcome: _LONGEST_WAIT_FIRST.index(outcome.kind))
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
